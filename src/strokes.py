"""Pen paths: the augmentation that makes new ones from old ones.

A path is eight points (x, y); a row of the data set is one path, x1, y1, ..., x8, y8, each axis stretched to its whole
range. Whatever is done to a path, its axes are stretched again afterwards, as the data set's authors did.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

N_POINTS = 8


@dataclass(frozen=True)
class Augmentation:
    """Makes of every path another one that the same person, or another, might have written.

    Each number is the standard deviation of a normal variable that is drawn for every path; 0 switches it off.

    Attributes:
        warp: of the logarithm of the pen's speed between two points: the points move along the path.
        trim: of the share of the path that is left out at the start, and at the end (its absolute value).
        rotation: of the angle, in radians.
        shear: of how far x moves for every unit of y.
        aspect: of the logarithm of width by height; it matters together with rotation or shear.
        bend: of a smooth displacement, half a wave over the path, in units of half an axis's range; two more, of two
            and three half waves, have a half and a third of it.
        jitter: of every coordinate alone, in the same units.
    """

    warp: float = 0.0
    trim: float = 0.0
    rotation: float = 0.0
    shear: float = 0.0
    aspect: float = 0.0
    bend: float = 0.0
    jitter: float = 0.0

    def __bool__(self) -> bool:
        """Whether it does anything."""
        return any((self.warp, self.trim, self.rotation, self.shear, self.aspect, self.bend, self.jitter))

    def __call__(self, X: Floats, rng: np.random.Generator) -> Floats:
        """Draw a new path for each row: (rows, 16), scaled to -1..1, to the same in a new array."""
        paths = X.reshape(len(X), N_POINTS, 2)
        if self.warp or self.trim:
            paths = points_at(paths, self._moments(len(X), rng))
        if self.rotation or self.shear or self.aspect:
            paths = paths @ self._transforms(len(X), rng)
        if self.bend:
            paths = paths + self._bends(len(X), rng)
        if self.jitter:
            paths = paths + _normal(rng, self.jitter, paths.shape)
        return stretch(paths).reshape(len(X), -1)

    def _moments(self, n: int, rng: np.random.Generator) -> Floats:
        """Where on the path to put the points: (n, 8), from 0, its start, to 7, its end."""
        durations = np.exp(_normal(rng, self.warp, (n, N_POINTS - 1)))
        moments = np.zeros((n, N_POINTS), np.float32)
        np.cumsum(durations, axis=1, out=moments[:, 1:])
        moments /= moments[:, -1:]
        start, end = np.abs(_normal(rng, self.trim, (2, n, 1)))
        return np.clip(start + (1 - start - end) * moments, 0, 1) * (N_POINTS - 1)

    def _transforms(self, n: int, rng: np.random.Generator) -> Floats:
        """One matrix a path, (n, 2, 2), to be multiplied from the right: aspect and shear first, then rotation."""
        angle, shear, aspect = _normal(rng, 1.0, (3, n))
        cos, sin = np.cos(self.rotation * angle), np.sin(self.rotation * angle)
        width, slant = np.exp(self.aspect * aspect), self.shear * shear
        matrices = np.empty((n, 2, 2), np.float32)
        matrices[:, 0, 0], matrices[:, 0, 1] = cos * width, sin * width
        matrices[:, 1, 0], matrices[:, 1, 1] = slant * cos * width - sin, slant * sin * width + cos
        return matrices

    def _bends(self, n: int, rng: np.random.Generator) -> Floats:
        """A smooth displacement of each point: (n, 8, 2)."""
        waves = np.arange(1, 4)
        shapes = np.sin(np.pi * np.outer(np.arange(N_POINTS) / (N_POINTS - 1), waves)) / waves
        return shapes.astype(np.float32) @ _normal(rng, self.bend, (n, len(waves), 2))


def stretch(paths: Floats) -> Floats:
    """Stretch each axis of each path, (n, points, 2), to -1..1; an axis without extent becomes -1."""
    low = paths.min(axis=1, keepdims=True)
    extent = paths.max(axis=1, keepdims=True) - low
    return (paths - low) * (2 / np.maximum(extent, np.float32(1e-6))) - 1


def points_at(paths: Floats, moments: Floats) -> Floats:
    """The points at given places of paths, on the straight lines between the points that are there.

    Args:
        paths: (n, points, 2).
        moments: (n, m), from 0, the first point, to points - 1, the last.

    Returns:
        (n, m, 2).
    """
    before = np.minimum(moments.astype(np.intp), paths.shape[1] - 2)
    share = (moments - before)[..., None].astype(paths.dtype)
    path = np.arange(len(paths))[:, None]
    first = paths[path, before]
    return first + (paths[path, before + 1] - first) * share


def _normal(rng: np.random.Generator, deviation: float, shape: tuple[int, ...]) -> Floats:
    return rng.standard_normal(shape, dtype=np.float32) * np.float32(deviation)
