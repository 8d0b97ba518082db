"""Files of arrays, as ``np.savez`` writes them, read as what may come from anywhere.

Nothing in them can run code, and nothing is ever larger than the file: a header of a few bytes can claim any shape, and
a compressed array unfold to any size. Ours are not compressed, and an array is a view of its bytes. This file needs
none of the others here, so that a stage can read arrays without depending on the network.
"""

import io
import tokenize
import warnings
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

LONGEST_HEADER = 1000  # letters; ours have 118
UNREADABLE = (  # what zipfile and NumPy's readers raise
    *(ValueError, TypeError, LookupError, AttributeError, ArithmeticError, EOFError, RuntimeError, OSError),
    *(zipfile.BadZipFile, SyntaxError, tokenize.TokenError, Warning),
)


class NpzError(ValueError):
    """An npz file cannot be read; the message says what is wrong with it, and where."""


def read_npz(content: bytes) -> dict[str, NDArray[Any]]:
    """The arrays of an npz file's content, by their names; they cannot be written to.

    Raises:
        NpzError: if it is none, or damaged, or compressed, or has arrays of Python's objects.
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
    """What ``np.save`` has written, if the bytes are just as many as its header says."""
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    old = version == (1, 0)
    if (length := int.from_bytes(data[8 : 10 if old else 12], "little")) > LONGEST_HEADER:
        raise ValueError(f"its header has {length} letters")
    read = np.lib.format.read_array_header_1_0 if old else np.lib.format.read_array_header_2_0
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # NumPy's, of a header that it had to take apart as old Pythons wrote it
        shape, in_fortran_order, dtype = read(stream)
    if min(shape, default=0) < 0:
        raise ValueError(f"its shape is {shape}")
    return np.frombuffer(data, dtype, offset=stream.tell()).reshape(shape, order="F" if in_fortran_order else "C")
