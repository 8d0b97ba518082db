"""What the network reads of a pen's path: the table's eight points, or more points of the ink with pen lifts.

Both are made of a digit's strokes in the same way: in the pipeline, in augmentation and when a model is served.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .ink import N_POINTS
from .strokes import Floats, Strokes


class FeatureSet(NamedTuple):
    """What the network reads of a digit: points at equal steps along its strokes, joined end to start.

    Attributes:
        n_points: how many points.
        keeps_ink: False: x and y of each point, each axis stretched to -1..1 as in the table. True: x and y in their
            true proportions, the longer side from -1 to 1, and 1 where the pen is up on its way to the next stroke,
            else 0.
    """

    n_points: int
    keeps_ink: bool

    @property
    def n_channels(self) -> int:
        """Numbers a point."""
        return 3 if self.keeps_ink else 2

    @property
    def size(self) -> int:
        """Numbers a row."""
        return self.n_points * self.n_channels

    def of(self, strokes: Strokes) -> Floats:
        """The rows of digits as they are: (n, size)."""
        moments = np.tile(np.linspace(0.0, 1.0, self.n_points), (len(strokes.points), 1))
        return self.rows(self.at(strokes, moments))

    def at(self, strokes: Strokes, moments: NDArray[np.float64]) -> Floats:
        """x, y, and of ink the stroke's number, at shares of the way: (n, n_points, channels).

        The number goes from one whole number to the next while the pen is up.
        """
        points, stroke = strokes
        return points_at(points, moments, *([stroke] if self.keeps_ink else []))

    def rows(self, paths: Floats) -> Floats:
        """The rows of what ``at`` gives: (n, size)."""
        if not self.keeps_ink:
            return stretch(paths).reshape(len(paths), self.size)
        number = paths[..., 2:]
        up = number != np.floor(number)
        return np.dstack([framed(paths[..., :2]), up]).reshape(len(paths), self.size)

    def drawn(self, rows: Floats) -> Floats:
        """The paths in rows, to be drawn: (n, n_points, 2), NaN where the pen is up."""
        paths = rows.reshape(len(rows), self.n_points, self.n_channels)
        return np.where(paths[..., 2:].any(axis=2, keepdims=True), np.float32(np.nan), paths[..., :2])


FEATURE_SETS = {
    "table": FeatureSet(N_POINTS, keeps_ink=False),
    "ink": FeatureSet(16, keeps_ink=True),
}  # by name in params.yaml


def stretch(paths: Floats) -> Floats:
    """Stretch each axis of each path, (n, points, 2), to -1..1; an axis without extent becomes -1."""
    by_point = np.ascontiguousarray(paths.swapaxes(0, 1))  # the points one after the other: several times as fast
    low, high = by_point.min(axis=0), by_point.max(axis=0)
    return ((by_point - low) * (2 / np.maximum(high - low, np.float32(1e-6))) - 1).swapaxes(0, 1)


def framed(paths: Floats) -> Floats:
    """Move and scale each path, (n, points, 2), so that its middle is 0 and its longer side goes from -1 to 1."""
    by_point = np.ascontiguousarray(paths.swapaxes(0, 1))
    low, high = by_point.min(axis=0), by_point.max(axis=0)
    longer = np.maximum((high - low).max(axis=1, keepdims=True), np.float32(1e-6))
    return ((by_point - (low + high) / 2) * (2 / longer)).swapaxes(0, 1)


def points_at(points: Floats, moments: NDArray[np.float64], *others: NDArray) -> Floats:
    """The points at given places of paths, on the straight lines between the points that are there.

    Args:
        points: (n, points, 2).
        moments: (n, m) shares of a path's length, from 0 to 1, each row ascending.
        others: (n, points) each: what else to read there.

    Returns:
        (n, m, 2 + number of others).
    """
    xy = np.ascontiguousarray(points, np.float32).view(np.complex64)[..., 0]
    steps = xy[:, 1:] - xy[:, :-1]
    arcs = np.zeros(xy.shape)
    np.cumsum(np.sqrt(steps.real**2 + steps.imag**2), axis=1, out=arcs[:, 1:])
    arcs /= np.maximum(arcs[:, -1:], 1e-6)
    # All paths end to end, path i from 2 i to 2 i + 1, so that one call finds the places in all of them. It does so for
    # two numbers of a point, as the parts of a complex number.
    offset = 2.0 * np.arange(len(xy))[:, None]
    arcs += offset
    wanted = moments + offset
    found = np.empty((*moments.shape, 2 + len(others)), np.float32)
    found[..., :2] = np.interp(wanted, arcs.ravel(), xy.ravel())[..., None].view(np.float64)
    for i, other in enumerate(others, 2):
        found[..., i] = np.interp(wanted, arcs.ravel(), other.ravel())
    return found
