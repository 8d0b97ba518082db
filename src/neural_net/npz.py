"""Files of arrays, as ``np.savez`` writes them, read as what may come from anywhere.

Nothing in them can run code, and nothing is ever larger than the file: a header of a few bytes can claim any shape, and
a compressed one unfold to any size. Ours are not compressed, and an array is a view of its bytes.
"""

import io
import tokenize
import zipfile
import zlib
from collections.abc import Iterator

import numpy as np

from .base import Array, RefusalError

UNREADABLE = (  # what zipfile and NumPy's readers raise
    *(ValueError, TypeError, LookupError, AttributeError, ArithmeticError, EOFError, RuntimeError, OSError),
    *(SyntaxError, tokenize.TokenError),  # NumPy takes a damaged header apart as if an old Python had written it
    *(zipfile.BadZipFile, zlib.error),
)


class NpzError(RefusalError):
    """An npz file cannot be read; the message says what is wrong with it, and where."""


def read_npz(content: bytes) -> dict[str, Array]:
    """The arrays of an npz file's content, by their names; they cannot be written to.

    Raises:
        NpzError: if it is none, or damaged, or larger when it is unfolded, or has arrays of Python's objects.
    """
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
    except UNREADABLE as error:
        raise NpzError(f"it is not a whole npz file: {error}") from None
    with archive:
        members = archive.infolist()
        if sum(member.file_size for member in members) > len(content):
            raise NpzError("its arrays are larger than the file; ours are not compressed")
        arrays = dict(_arrays(archive))
    if len(arrays) < len(members):
        raise NpzError("an array is there twice")
    return arrays


def _arrays(archive: zipfile.ZipFile) -> Iterator[tuple[str, Array]]:
    for member in archive.infolist():
        name = member.filename.removesuffix(".npy")
        try:
            yield name, _array(archive.read(f"{name}.npy"))
        except UNREADABLE as error:
            raise NpzError(f"the array {name} cannot be read: {error}") from None


def _array(data: bytes) -> Array:
    """What ``np.save`` has written, if the bytes are just as many as its header says."""
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, in_fortran_order, dtype = read(stream)
    if min(shape, default=0) < 0:
        raise ValueError(f"its shape is {shape}")
    return np.frombuffer(data, dtype, offset=stream.tell()).reshape(shape, order="F" if in_fortran_order else "C")
