"""Arrays that an earlier stage wrote, read as what may come from anywhere: nothing in them is trusted or runs."""

import io
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stage import StageError, one_line, read_bytes

UNREADABLE = (  # as in the library, of which a stage that splits rows should not depend
    *(ValueError, TypeError, LookupError, AttributeError, ArithmeticError, EOFError, RuntimeError, OSError),
    *(SyntaxError, tokenize.TokenError, zipfile.BadZipFile, zlib.error),
)


def load_npz(path: Path, names: tuple[str, ...]) -> list[NDArray[Any]]:
    """Arrays, as many rows each, of a file that an earlier stage wrote with ``np.savez``; they cannot be written to.

    Raises:
        StageError: if the file is damaged, or an array is missing, or not like the others.
    """
    content = read_bytes(path)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if sum(member.file_size for member in archive.infolist()) > len(content):
                raise ValueError("its arrays are larger than the file")
            found = [_array(archive.read(f"{name}.npy")) for name in names]
        if len({len(array) for array in found}) > 1:
            raise ValueError("its arrays are not of the same length")
    except UNREADABLE as error:
        raise StageError(f"{path} is damaged ({one_line(error, 200)}); `dvc repro` makes it anew") from None
    return found


def _array(data: bytes) -> NDArray[Any]:
    """What ``np.save`` has written, as a view of it: a header that claims more than there is costs no memory."""
    stream = io.BytesIO(data)
    np.lib.format.read_magic(stream)
    shape, in_fortran_order, dtype = np.lib.format.read_array_header_1_0(stream)
    if min(shape, default=0) < 0:
        raise ValueError(f"an array has the shape {shape}")
    return np.frombuffer(data, dtype, offset=stream.tell()).reshape(shape, order="F" if in_fortran_order else "C")


def load_rows(path: Path, width: int, names: tuple[str, ...]) -> list[NDArray[Any]]:
    """Arrays of a file of data/split: ``X``, features (n, width), the digits ``y``, and other whole numbers (n,).

    Raises:
        StageError: as ``load_npz``, or if the arrays are something else.
    """
    found = dict(zip(names, load_npz(path, names), strict=True))
    X, y = found["X"], found["y"]
    others = all(array.ndim == 1 and array.dtype == np.int64 for name, array in found.items() if name != "X")
    if X.dtype != np.float32 or X.shape != (len(y), width) or not np.isfinite(X).all():
        raise StageError(f"{path} holds no rows of {width} numbers for the network; `dvc repro` makes it anew")
    if not len(y) or not others or y.min() < 0 or y.max() > 9:
        raise StageError(f"{path} does not say which digits its rows are; `dvc repro` makes it anew")
    return list(found.values())
