"""Small helpers for arrays and for text, for the stages and for readers."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


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
    X: ArrayLike, y: ArrayLike, test_size: float = 0.2, *, rng: np.random.Generator | int
) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """Split rows at random, class by class, so that each class has its share on both sides.

    Args:
        X: (rows, ...); y: (rows,) labels.
        test_size: the share of rows held out, strictly between 0 and 1; each class holds out the nearest whole number
            of its rows, and never its last one.
        rng: the generator that shuffles, or its seed.

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
    rng, held_out = np.random.default_rng(rng), np.zeros(len(y), dtype=bool)
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


def wilson(right: ArrayLike, n: ArrayLike, z: float = 1.96) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The interval of a share, ``right`` of ``n``, each (k,): low and high, from 0 to 1; z = 1.96 gives 95 %.

    ``(p + z^2/2n -+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n)`` with ``p = right / n``. Unlike the textbook interval
    it stays within 0 to 1, and has a width where all are right. Source: Wilson 1927, JASA 22, 209-212.
    """
    n = np.asarray(n, dtype=np.float64)
    p = np.asarray(right) / n
    middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * np.sqrt(p * (1 - p) / n + (z / (2 * n)) ** 2) / (1 + z**2 / n)
    return np.maximum(middle - half, 0), np.minimum(middle + half, 1)


def log_loss(p: ArrayLike, y: ArrayLike) -> float:
    """The plain cross-entropy, without label smoothing: the mean of ``-log p[y]``.

    Args:
        p: (rows, classes) probabilities; y: (rows,) the true classes, from 0.
    """
    p = np.asarray(p, dtype=np.float64)
    true = p[np.arange(len(p)), np.asarray(y)]
    return float(0.0 - np.log(np.maximum(true, np.finfo(np.float64).tiny)).mean())  # 0.0 for sure, not -0.0


def temperature_fault(value: object) -> str:
    """What is wrong with the temperature of a saved model; empty if it is a number from 0.001 to 1000."""
    if isinstance(value, int | float) and 0.001 <= value <= 1000:
        return ""
    return f"temperature is no number from 0.001 to 1000: {one_line(repr(value), 60)}"


def printable(text: object) -> str:
    """Text that may come from a file or a request, with ``?`` for all that a terminal could act on."""
    return "".join(letter if letter.isprintable() else "?" for letter in str(text))


def one_line(text: object, most: int = 600) -> str:
    """Text in one printable line of ``most`` characters at most."""
    shown = printable(" ".join(str(text).split()))
    return shown if len(shown) <= most else shown[: most - 3] + "..."
