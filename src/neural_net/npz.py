"""Files of arrays: npz files whose bytes depend on the arrays alone, read without trusting their content.

Reading runs no code from the file and never needs more memory than the file's size, whatever its headers claim: the
arrays are not compressed, and each is a view of the file's bytes. This module imports no other one of the package.
"""

import hashlib
import io
import json
import tokenize
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

LONGEST_HEADER = 1000  # letters; ours have 118
UNREADABLE = (  # the errors of zipfile and of NumPy's readers
    *(ValueError, TypeError, LookupError, AttributeError, ArithmeticError, EOFError, RuntimeError, OSError),
    *(zipfile.BadZipFile, SyntaxError, tokenize.TokenError, Warning),
)


class NpzError(ValueError):
    """An npz file cannot be read; the message says what is wrong, and in which array."""


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
    """The arrays of an npz file's content, by name; they are read-only.

    Raises:
        NpzError: if the content is damaged, compressed or no npz file, or has arrays of Python objects.
    """
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
    except UNREADABLE as error:
        raise NpzError(f"it is not a whole npz file: {error}") from None
    with archive:
        members = archive.infolist()
        packed = any(member.compress_type or member.file_size != member.compress_size for member in members)
        if packed or sum(member.file_size for member in members) > len(content):
            raise NpzError("its arrays are larger than the file; ours are not compressed")
        arrays: dict[str, NDArray[Any]] = {}
        for name, array in _arrays(archive):
            if name in arrays:
                raise NpzError(f"the array {name} is there twice")
            arrays[name] = array
    return arrays


def _arrays(archive: zipfile.ZipFile) -> Iterator[tuple[str, NDArray[Any]]]:
    for member in archive.infolist():
        name = member.filename.removesuffix(".npy")
        try:
            yield name, _array(archive.read(f"{name}.npy"))
        except UNREADABLE as error:
            raise NpzError(f"the array {name} cannot be read: {error}") from None


def _array(data: bytes) -> NDArray[Any]:
    """The array in the content of a npy file, if it has exactly as many bytes as its header says."""
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    old = version == (1, 0)
    if (length := int.from_bytes(data[8 : 10 if old else 12], "little")) > LONGEST_HEADER:
        raise ValueError(f"its header has {length} letters")
    read = np.lib.format.read_array_header_1_0 if old else np.lib.format.read_array_header_2_0
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # NumPy warns about headers that it reads in the way of an old Python
        shape, in_fortran_order, dtype = read(stream)
    if min(shape, default=0) < 0:
        raise ValueError(f"its shape is {shape}")
    return np.frombuffer(data, dtype, offset=stream.tell()).reshape(shape, order="F" if in_fortran_order else "C")
