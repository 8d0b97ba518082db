"""How good predictions are, on the rows of a table."""

import numpy as np
from numpy.typing import NDArray


def balanced_accuracy(predicted: NDArray, y: NDArray) -> float:
    """The mean, over the classes that occur, of the share of a class's rows that is predicted right."""
    right, n = np.bincount(y, weights=predicted == y), np.bincount(y)
    return float((right[n > 0] / n[n > 0]).mean())


def regression(predicted: NDArray, y: NDArray) -> dict[str, float]:
    """``rmse``, the root of the mean squared error; ``mae``, the mean absolute error; and ``r2``.

    R2 is ``1 - sum (y - predicted)^2 / sum (y - mean(y))^2``: 1 for a perfect prediction, 0 for the mean of these rows.
    """
    error = predicted - y
    squares, spread = float((error**2).sum()), float(((y - y.mean()) ** 2).sum())
    return {
        "rmse": float(np.sqrt(squares / len(y))),
        "mae": float(np.abs(error).mean()),
        "r2": 1 - squares / spread if spread else 0.0,
    }


def prefixed(values: dict[str, float], prefix: str) -> dict[str, float]:
    """The same under names that begin with ``prefix``."""
    return {f"{prefix}_{name}": value for name, value in values.items()}
