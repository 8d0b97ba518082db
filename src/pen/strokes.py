"""Pen strokes: the ink of digits as points at equal steps, in their true proportions, stroke by stroke."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .ink import Ink

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

N_DENSE = 64  # points that a digit's strokes are kept with


class Strokes(NamedTuple):
    """The strokes of n digits, each with ``N_DENSE`` points in the order in which they were written.

    Attributes:
        points: (n, points, 2) x and y, y upwards; the middle of a digit is 0, and its longer side goes from -1 to 1.
        stroke: (n, points) int8: the stroke that a point belongs to, from 0. Between strokes the pen was up.
    """

    points: Floats
    stroke: NDArray[np.int8]

    def take(self, rows: NDArray) -> "Strokes":
        """Some of the digits, by their numbers or a mask."""
        return Strokes(self.points[rows], self.stroke[rows])

    def and_also(self, others: "Strokes") -> "Strokes":
        """These digits and then the others."""
        return Strokes(np.concatenate([self.points, others.points]), np.concatenate([self.stroke, others.stroke]))


def strokes_of(ink: Ink) -> Strokes:
    """Place ``N_DENSE`` points on each digit's strokes, on each in proportion to its length, at equal steps.

    Every stroke has two points at least; of more than half as many strokes as there are points, the last are left out.
    """
    points = np.empty((len(ink), N_DENSE, 2), np.float32)
    stroke = np.empty((len(ink), N_DENSE), np.int8)
    for i in range(len(ink)):
        digit = ink[i][: N_DENSE // 2]
        counts = _shares([_length(part) for part in digit], N_DENSE)
        points[i] = np.concatenate([_evenly(part, count) for part, count in zip(digit, counts, strict=True)])
        stroke[i] = np.repeat(np.arange(len(digit)), counts)
    low, high = points.min(axis=1, keepdims=True), points.max(axis=1, keepdims=True)
    longer = np.maximum((high - low).max(axis=2, keepdims=True), 1)
    return Strokes((points - (low + high) / 2) * (2 / longer), stroke)


def check_strokes(strokes: Strokes, n: int) -> None:
    """Raise ValueError unless these are the strokes of n digits, as ``strokes_of`` makes them."""
    points, stroke = strokes
    if points.shape != (n, N_DENSE, 2) or points.dtype != np.float32:
        raise ValueError(f"expected points of {n} digits, got shape {points.shape}, dtype {points.dtype}")
    if stroke.shape != (n, N_DENSE) or stroke.dtype != np.int8:
        raise ValueError(f"expected the strokes of {n} digits, got shape {stroke.shape}, dtype {stroke.dtype}")
    numbered = (stroke[:, :1] == 0).all() and np.isin(np.diff(stroke, axis=1), (0, 1)).all()
    if not np.isfinite(points).all() or np.abs(points).max(initial=0) > 2 or not numbered:
        raise ValueError("expected strokes numbered from 0, with points from -1 to 1")


def _length(stroke: NDArray) -> float:
    return float(np.hypot(*np.diff(stroke, axis=0).T).sum())


def _shares(lengths: list[float], total: int) -> NDArray[np.intp]:
    """Cut ``total`` into whole numbers of at least 2, nearly in proportion to lengths."""
    ends = np.cumsum(lengths)
    free = total - 2 * len(lengths)
    ends = np.rint(ends / ends[-1] * free) if ends[-1] > 0 else np.full(len(lengths), free)
    return (np.diff(ends, prepend=0) + 2).astype(np.intp)


def _evenly(stroke: NDArray, count: int) -> NDArray[np.float64]:
    """``count`` points at equal steps along a stroke, (points, 2)."""
    arc = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(stroke, axis=0).T))])
    wanted = np.linspace(0, arc[-1], count)
    return np.column_stack([np.interp(wanted, arc, axis) for axis in stroke.T])
