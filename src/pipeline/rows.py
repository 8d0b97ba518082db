"""Write and read rows of the data set: the arrays in data/split."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from neural_net.npz import NpzError, npz_bytes, read_npz
from pen.strokes import Strokes, check_strokes
from utils import one_line

from .errors import StageError
from .paths import SPLIT


class Rows(NamedTuple):
    """Some rows of the data set, as the network reads them."""

    X: NDArray[np.float32]  # (n, size of the features): (n, 16), from -1 to 1, of the table
    y: NDArray[Any]  # (n,): the class's number, int64; the scaled label of a regression, float64
    writer: NDArray[Any]  # (n,): the group that is held out whole: the number of a digit's writer, or a text
    row: NDArray[np.int64]  # (n,): its number in the file of origin, from 0
    strokes: Strokes | None = None  # the ink that augmentation makes new rows from; None: none are made

    def take(self, chosen: NDArray[Any]) -> "Rows":
        """Some of the rows, by a mask or by their numbers."""
        strokes = None if self.strokes is None else self.strokes.take(chosen)
        return Rows(self.X[chosen], self.y[chosen], self.writer[chosen], self.row[chosen], strokes)

    def and_also(self, others: "Rows") -> "Rows":
        """These rows and then the others."""
        strokes = None
        if self.strokes is not None and others.strokes is not None:
            strokes = self.strokes.and_also(others.strokes)
        return Rows(
            np.concatenate([self.X, others.X]),
            np.concatenate([self.y, others.y]),
            np.concatenate([self.writer, others.writer]),
            np.concatenate([self.row, others.row]),
            strokes,
        )


def rows_npz(rows: Rows | None) -> bytes:
    """The rows without their ink as an npz file, which has no arrays for None. Equal rows give equal bytes."""
    arrays = {} if rows is None else rows._asdict()
    return npz_bytes({name: array for name, array in arrays.items() if name != "strokes"})


def strokes_npz(strokes: Strokes | None) -> bytes:
    """Strokes as the content of an npz file, without any array if there is no ink. Equal strokes give equal bytes."""
    return npz_bytes({} if strokes is None else strokes._asdict())


def read_rows(name: str, size: int, *, with_ink: bool = False, n_classes: int = 10) -> Rows:
    """Read a part of data/split: ``train``, ``validation`` or ``test``.

    Args:
        size: how many features a row must have.
        with_ink: whether to read the ink too.
        n_classes: how many classes there are; 0: the labels are numbers of a regression.

    Raises:
        StageError: if a file is damaged, or holds something else.
    """
    path, ink = SPLIT / f"{name}.npz", SPLIT / f"{name}_ink.npz"
    X, y, writer, row = _arrays(path, Rows._fields[:4])
    rows, n = Rows(X, y, writer, row), y.size
    kinds = (np.int64 if n_classes else np.float64, writer.dtype if writer.dtype.kind == "U" else np.int64, np.int64)
    right = all(array.shape == (n,) and array.dtype == kind for array, kind in zip(rows[1:4], kinds, strict=True))
    if not n or not right or rows.X.dtype != np.float32 or rows.X.shape != (n, size):
        raise StageError(f"{path} holds no rows of {size} features; `dvc repro` makes it again")
    labelled = np.isin(rows.y, range(n_classes)) if n_classes else np.isfinite(rows.y)
    if not np.isfinite(rows.X).all() or not labelled.all():
        raise StageError(f"{path} holds values that are not features or labels; `dvc repro` makes it again")
    return rows._replace(strokes=read_strokes(ink, n)) if with_ink else rows


def read_drawings(name: str, size: int, *, with_ink: bool = False) -> Rows | None:
    """Read the user's drawings, ``drawings`` or ``drawings_test``, as ``read_rows`` does; None if there are none."""
    return read_rows(name, size, with_ink=with_ink) if _read(SPLIT / f"{name}.npz") else None


def read_strokes(path: Path, n: int) -> Strokes:
    """Read the strokes of n digits.

    Raises:
        StageError: if the file is damaged, or holds something else.
    """
    strokes = Strokes(*_arrays(path, Strokes._fields))
    try:
        check_strokes(strokes, n)
    except ValueError as error:
        raise StageError(f"{path}: {error}; `dvc repro` makes it again") from None
    return strokes


def _arrays(path: Path, names: tuple[str, ...]) -> list[NDArray[Any]]:
    arrays = _read(path)
    if lacking := [name for name in names if name not in arrays]:
        raise StageError(f"{path} is damaged ({lacking[0]} is missing); `dvc repro` makes it again")
    return [arrays[name] for name in names]


def _read(path: Path) -> dict[str, NDArray[Any]]:
    try:
        return read_npz(path.read_bytes())
    except NpzError as error:
        raise StageError(f"{path} is damaged ({one_line(error, 200)}); `dvc repro` makes it again") from None
