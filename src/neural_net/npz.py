"""Files of arrays: npz files whose bytes depend on the arrays alone, read without trusting their content.

This module imports no other one of the package, so that a stage can use it without depending on the network.
"""

import hashlib
import io
import json
import tokenize
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

UNREADABLE = (  # the errors of zipfile and of NumPy's readers
    *(ValueError, TypeError, LookupError, AttributeError, ArithmeticError, EOFError, RuntimeError, OSError),
    *(MemoryError, zipfile.BadZipFile, SyntaxError, tokenize.TokenError),
)


class NpzError(ValueError):
    """An npz file cannot be read; the message says why, and may repeat text from the file, printable or not."""


# Writing


def npz_bytes(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """The content of an uncompressed npz file, which ``np.load`` reads too.

    Equal arrays give equal bytes with every Python and on every platform: the zip's date and its notes about the system
    are constants, and arrays are written little-endian and in C order.
    """
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, array in arrays.items():
            member = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            member.create_system = 3  # Unix
            member.create_version = member.extract_version = 20  # zip 2.0
            member.external_attr = 0o600 << 16
            data = io.BytesIO()
            np.lib.format.write_array(data, _normal(array), version=(1, 0), allow_pickle=False)
            archive.writestr(member, data.getvalue())
    return content.getvalue()


def content_sha256(arrays: Mapping[str, NDArray[Any]]) -> str:
    """A checksum of names, dtypes, shapes and numbers, independent of the order of the names and of the file format."""
    checksum = hashlib.sha256()
    for name in sorted(arrays):
        array = _normal(arrays[name])
        checksum.update(json.dumps([name, np.lib.format.dtype_to_descr(array.dtype), array.shape]).encode())
        checksum.update(array.tobytes())
    return checksum.hexdigest()


def _normal(array: NDArray[Any]) -> NDArray[Any]:
    """The array little-endian and in C order; ValueError for Python objects, which have no bytes of their own."""
    array = np.asarray(array)
    if array.dtype.hasobject:
        raise ValueError("an array of Python objects cannot be written")
    return np.asarray(array, array.dtype.newbyteorder("<"), order="C")


# Reading


def read_npz(content: bytes) -> dict[str, NDArray[Any]]:
    """The arrays of an npz file's content, by name. Nothing in the file can run code.

    Raises:
        NpzError: if it is no npz file, is damaged or compressed, or holds Python objects.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.infolist()
            packed = any(member.compress_type for member in members)
            if packed or sum(member.file_size for member in members) > len(content):
                raise ValueError("its arrays are larger than the file; ours are not compressed")
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files}
    except UNREADABLE as error:
        raise NpzError(f"it is not a whole npz file: {error}") from None
    if strange := [name for name, array in found.items() if not isinstance(array, np.ndarray)]:
        raise NpzError(f"it is not a whole npz file: {strange[0]} is no array")
    return found
