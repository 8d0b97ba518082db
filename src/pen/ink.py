"""Ink: pen-written digits as a tablet records them, and the eight points of the pen's path that the table keeps."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

N_POINTS = 8


class DataError(ValueError):
    """A data file is not what it should be; the message names the file, the line and what is wrong with it."""


@dataclass(frozen=True, eq=False)
class Ink:
    """Pen-written digits as recorded: n samples of one or more strokes of one or more points.

    All points lie in one array, and two arrays of offsets cut it up: stroke s has the points
    ``points[strokes[s]:strokes[s + 1]]``, and sample i the strokes from ``samples[i]`` to before ``samples[i + 1]``.
    ``ink[i]`` does the cutting. The pen was up from the end of one stroke to the start of the next.
    """

    points: NDArray[Any]  # (points, 2): x and y, in tablet units, y upwards
    strokes: NDArray[np.int64]  # (strokes + 1,)
    samples: NDArray[np.int64]  # (n + 1,)
    digit: NDArray[np.int64]  # (n,)
    writer: NDArray[np.int64]  # (n,) from 1
    number: NDArray[np.int64]  # (n,) from 1: which of the writer's samples it is

    def __len__(self) -> int:
        return len(self.digit)

    def __getitem__(self, i: int) -> list[NDArray[Any]]:
        """The strokes of sample i, each (its points, 2)."""
        cuts = self.strokes[self.samples[i] : self.samples[i + 1] + 1]
        return [self.points[start:end] for start, end in pairwise(cuts)]


def join_strokes(samples: Sequence[Sequence[ArrayLike]], digit: ArrayLike, writer: ArrayLike, number: ArrayLike) -> Ink:
    """Make Ink of lists: of n samples, each a list of strokes, each (its points, 2)."""
    strokes = [np.asarray(stroke) for sample in samples for stroke in sample]
    return Ink(
        points=np.concatenate(strokes) if strokes else np.empty((0, 2), dtype=np.int64),
        strokes=offsets([len(stroke) for stroke in strokes]),
        samples=offsets([len(sample) for sample in samples]),
        digit=np.asarray(digit, dtype=np.int64),
        writer=np.asarray(writer, dtype=np.int64),
        number=np.asarray(number, dtype=np.int64),
    )


def offsets(lengths: ArrayLike) -> NDArray[np.int64]:
    """Where pieces of these lengths start when they lie end to end, and where the last one ends."""
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])


def eight_points(ink: Ink) -> NDArray[np.int64]:
    """Do what the data set's authors did: eight points at equal steps along the path, each axis stretched to 0..100.

    The points are cut down to whole tablet units before the axes are stretched. With that the ink of all 10,992 digits
    gives the rows of the tables exactly, to the last number.

    Returns:
        (n, 16) integers from 0 to 100, as in the table.
    """
    # The margin keeps a point that lies on a whole unit from falling to the one below by a rounding error.
    paths = np.floor(resample(ink, N_POINTS) + 1e-6)
    return np.rint(to_table_range(paths)).astype(np.int64).reshape(len(ink), 2 * N_POINTS)


def resample(ink: Ink, n_points: int) -> NDArray[np.float64]:
    """Place points at equal steps of arc length along each sample's strokes, joined end to start by straight lines.

    Args:
        n_points: at least 2; the first and the last are the path's ends.

    Returns:
        (n, n_points, 2) in the units of the ink.
    """
    if not len(ink):
        return np.empty((0, n_points, 2))
    start = ink.strokes[ink.samples]  # the first point of each sample, and the end of the last
    step = np.hypot(*np.diff(ink.points.astype(np.float64), axis=0).T)
    step[start[1:-1] - 1] = 1.0  # a gap, so that no two samples share an arc length
    arc = np.concatenate([[0.0], np.cumsum(step)])  # along all samples, one after the other
    first, last = arc[start[:-1], None], arc[start[1:] - 1, None]
    # (n, n_points); the minimum keeps the last point from reaching into the gap by a rounding error.
    wanted = np.minimum(first + np.linspace(0.0, 1.0, n_points) * (last - first), last)
    return np.stack([np.interp(wanted, arc, ink.points[:, axis]) for axis in (0, 1)], axis=-1)


def to_table_range(paths: NDArray[np.float64]) -> NDArray[np.float64]:
    """Map each path's smallest x to 0 and its largest to 100, and y likewise: (n, points, 2) to the same shape.

    An axis along which a path does not move at all becomes 50.
    """
    low, span = paths.min(axis=1, keepdims=True), np.ptp(paths, axis=1, keepdims=True)
    share = np.full(paths.shape, 0.5)
    np.divide(paths - low, span, out=share, where=np.broadcast_to(span > 0, paths.shape))
    return share * 100.0
