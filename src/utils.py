"""Small array helpers, for the stages and for readers."""

import io
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stage import StageError, one_line

_UNREADABLE = (  # what NumPy's and zipfile's readers raise
    *(ValueError, TypeError, LookupError, AttributeError, ArithmeticError, MemoryError, EOFError, RuntimeError),
    *(SyntaxError, tokenize.TokenError, zipfile.BadZipFile, zlib.error),
)


def load_npz(path: Path, names: tuple[str, ...]) -> list[NDArray[Any]]:
    """Arrays, as many rows each, of a file that an earlier stage wrote with ``np.savez``; pickles are refused.

    Raises:
        StageError: if the file is damaged, or an array is missing or larger than the file.
    """
    content = path.read_bytes()
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if sum(member.file_size for member in archive.infolist()) > len(content):
                raise ValueError("its arrays are larger than the file")
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            found = [np.asarray(arrays[name]) for name in names]
        if len({len(array) for array in found}) > 1:
            raise ValueError("its arrays are not of the same length")
    except _UNREADABLE as error:
        raise StageError(f"{path} is damaged ({one_line(error, 200)}); `dvc repro` makes it anew") from None
    return found


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


def scale_features(X: ArrayLike, low: float = 0.0, high: float = 100.0) -> NDArray[np.float64]:
    """Map the interval [low, high] linearly onto [-1, 1], by default the range of the pen's coordinates.

    The bounds are known beforehand and not taken from the rows, so nothing leaks from rows that validate or test.

    Args:
        X: any shape.

    Returns:
        ``(X - middle) / half``, of X's shape, with ``middle = (low + high) / 2`` and ``half = (high - low) / 2``.

    Raises:
        ValueError: if ``high`` is not greater than ``low``.
    """
    if not high > low:
        raise ValueError(f"scale_features: high must be greater than low, got low={low}, high={high}")
    return (np.asarray(X, dtype=np.float64) - (low + high) / 2) / ((high - low) / 2)


def split_data(
    X: ArrayLike, y: ArrayLike, test_size: float = 0.2, *, rng: np.random.Generator
) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """Split rows at random, class by class, so that each class has its share on both sides.

    Args:
        X: (rows, ...); y: (rows,) labels.
        test_size: the share of rows held out, strictly between 0 and 1; each class holds out the nearest whole number
            of its rows, and never its last one.
        rng: the generator that shuffles.

    Returns:
        ``X_train, X_test, y_train, y_test``, copies, in shuffled order.

    Raises:
        ValueError: if X and y differ in length, or ``test_size`` leaves one side without a row.
    """
    X, y = np.asarray(X), np.asarray(y)
    if len(X) != len(y):
        raise ValueError(f"split_data: X has {len(X)} rows and y has {len(y)}")
    if not 0 < test_size < 1:
        raise ValueError(f"split_data: test_size must lie strictly between 0 and 1, got {test_size}")
    held_out = np.zeros(len(y), dtype=bool)
    for label in np.unique(y):
        rows = rng.permutation(np.flatnonzero(y == label))
        held_out[rows[: min(round(test_size * len(rows)), len(rows) - 1)]] = True
    order = rng.permutation(len(y))
    test, train = order[held_out[order]], order[~held_out[order]]
    if not len(test) or not len(train):
        raise ValueError(f"split_data: test_size={test_size} of {len(y)} rows leaves one side without a row")
    return X[train], X[test], y[train], y[test]


def one_hot(y: ArrayLike, n_classes: int) -> NDArray[np.float64]:
    """Turn labels 0..n_classes-1 into rows of zeros with a single one: (rows,) -> (rows, n_classes).

    Raises:
        ValueError: if a label is not a whole number from 0 to n_classes - 1.
    """
    y = np.asarray(y)
    if y.ndim != 1 or not np.issubdtype(y.dtype, np.integer):
        raise ValueError(f"one_hot: labels must be a vector of integers, got shape {y.shape}, dtype {y.dtype}")
    if len(y) and (y.min() < 0 or y.max() >= n_classes):
        raise ValueError(f"one_hot: labels must lie in 0..{n_classes - 1}, got {y.min()}..{y.max()}")
    return np.eye(n_classes)[y]


def accuracy(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """The share of rows whose predicted class is the true one, from 0 to 1.

    Raises:
        ValueError: if the two differ in shape or have no row.
    """
    y_true, y_pred = np.asarray(y_true), np.asarray(y_pred)
    if y_true.shape != y_pred.shape or not y_true.size:
        raise ValueError(f"accuracy: labels of shape {y_true.shape} against predictions of shape {y_pred.shape}")
    return float(np.mean(y_true == y_pred))
