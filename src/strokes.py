"""Pen strokes: what the network reads of them, and the augmentation that makes new rows from the ink of old ones.

A row of the data set is eight points of the pen's path, each axis stretched to its whole range. They do not tell what
else the same hand, or another, might have written; the ink does, which has the strokes one by one, in their true
proportions. So the ink is changed, in the order, direction and form of its strokes, and what comes out is reduced to
eight points in the way that the data set's authors went, or to more points that keep what those lose: `FEATURE_SETS`.
"""

from dataclasses import dataclass, fields
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from arrays import load_npz
from pendigits import N_POINTS, Ink
from stage import StageError

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


def format_strokes(strokes: Strokes) -> bytes:
    """Strokes as an npz file: no pickle and no time stamps, so the same strokes are the same bytes."""
    buffer = BytesIO()
    np.savez(buffer, allow_pickle=False, **strokes._asdict())
    return buffer.getvalue()


def read_strokes(path: Path) -> Strokes:
    """Read what ``format_strokes`` wrote.

    Raises:
        StageError: if it is something else.
    """
    points, stroke = load_npz(path, Strokes._fields)
    n = len(points)
    for array, like in ((points, np.empty((n, N_DENSE, 2), np.float32)), (stroke, np.empty((n, N_DENSE), np.int8))):
        if array.shape != like.shape or array.dtype != like.dtype:
            raise StageError(f"{path} is damaged (strokes of shape {array.shape}); `dvc repro` makes it anew")
    numbered = (stroke[:, :1] == 0).all() and np.isin(np.diff(stroke, axis=1), (0, 1)).all()
    if not np.isfinite(points).all() or np.abs(points).max(initial=0) > 2 or not numbered:
        raise StageError(f"{path} is damaged (no strokes); `dvc repro` makes it anew")
    return Strokes(points, stroke)


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


# --- Features ---------------------------------------------------------------------------------------


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
        return points_at(np.dstack([points, stroke[..., None]]) if self.keeps_ink else points, moments)

    def rows(self, paths: Floats) -> Floats:
        """The rows of what ``at`` gives: (n, size)."""
        if not self.keeps_ink:
            return stretch(paths).reshape(len(paths), self.size)
        up = paths[..., 2:] % 1 > 0
        return np.dstack([framed(paths[..., :2]), up]).reshape(len(paths), self.size)

    def drawn(self, rows: Floats) -> Floats:
        """The paths in rows, to be drawn: (n, n_points, 2), NaN where the pen is up."""
        paths = rows.reshape(len(rows), self.n_points, self.n_channels)
        return np.where(paths[..., 2:].any(axis=2, keepdims=True), np.float32(np.nan), paths[..., :2])


FEATURE_SETS = {
    "table": FeatureSet(N_POINTS, keeps_ink=False),
    "ink": FeatureSet(16, keeps_ink=True),
}  # by name in params.yaml


# --- Augmentation -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Augmentation:
    """Makes of every digit's strokes a row that the same person, or another, might have written.

    The first five are shares of the digits to which each is done, as far as it can be: the one or other to the strokes'
    order and direction, which people differ in most. The others are the standard deviations of normal variables that
    are drawn for every digit. 0 switches a kind off.

    Attributes:
        backwards: the whole digit is written from its end to its start.
        reordered: the strokes are written in the opposite order, each in its own direction.
        ornamented: a digit of one stroke gets another: a slash through 0, a foot under 1, a bar through 7.
        plain: a 0, 1 or 7 of more than one stroke keeps only the longest.
        restarted: a loop, one stroke that ends near its start, is begun at another of its points.
        apart: of how far each stroke is moved, in half sides of the digit.
        bend: of a smooth displacement, half a wave over the path, in half sides; two more, of two and of three half
            waves, have a half and a third of it.
        rotation: of the angle, in radians.
        shear: of how far x moves for every unit of y.
        aspect: of the logarithm of width by height; it matters together with rotation or shear.
        warp: of the logarithm of the pen's speed between two of eight points at equal steps.
        trim: of the share of the path that is left out at the start, and at the end (its absolute value).
        jitter: of every coordinate of the points that the network reads alone, in half sides.
    """

    backwards: float = 0.0
    reordered: float = 0.0
    ornamented: float = 0.0
    plain: float = 0.0
    restarted: float = 0.0
    apart: float = 0.0
    bend: float = 0.0
    rotation: float = 0.0
    shear: float = 0.0
    aspect: float = 0.0
    warp: float = 0.0
    trim: float = 0.0
    jitter: float = 0.0

    def __post_init__(self) -> None:
        exclusive = self.backwards + self.reordered + self.ornamented + self.plain
        if exclusive > 1:
            raise ValueError(f"backwards, reordered, ornamented and plain must add up to 1 at most, got {exclusive:g}")

    def __bool__(self) -> bool:
        """Whether it does anything."""
        return any(getattr(self, field.name) for field in fields(self))

    def __call__(
        self,
        strokes: Strokes,
        digit: NDArray[np.int64],
        rng: np.random.Generator,
        features: FeatureSet = FEATURE_SETS["table"],
    ) -> Floats:
        """Draw a new row for each digit: (n, features.size)."""
        points, stroke = self._written_otherwise(strokes, digit, rng)
        n = len(points)
        if self.apart:
            moves = _normal(rng, self.apart, (n, int(stroke.max(initial=0)) + 1, 2))
            points = points + moves[np.arange(n)[:, None], stroke]
        if self.bend:
            points = points + self._bends(n, points.shape[1], rng)
        if self.rotation or self.shear or self.aspect:
            points = points @ self._transforms(n, rng)
        paths = features.at(Strokes(points, stroke), self._moments(n, features.n_points, rng))
        if self.jitter:
            paths[..., :2] += _normal(rng, self.jitter, (n, features.n_points, 2))
        return features.rows(paths)

    def _written_otherwise(self, strokes: Strokes, digit: NDArray[np.int64], rng: np.random.Generator) -> Strokes:
        """The digits with their strokes in another order or direction, one more or fewer of them, loops restarted."""
        chances = np.cumsum([self.backwards, self.reordered, self.ornamented, self.plain])
        drawn = np.searchsorted(chances, rng.random(len(digit)), side="right")
        points, stroke = strokes.points.copy(), strokes.stroke.copy()
        several = stroke[:, -1] > 0
        if self.restarted:
            loops = ~several & is_loop(points) & (drawn != 2) & (rng.random(len(digit)) < self.restarted)
            points[loops] = _restarted(points[loops], rng)
        points[drawn == 0], stroke[drawn == 0] = points[drawn == 0, ::-1], stroke[drawn == 0, ::-1]
        _reorder(points, stroke, several & (drawn == 1))
        may_have_ornament = np.isin(digit, ORNAMENTED)
        _leave_longest(points, stroke, several & may_have_ornament & (drawn == 3))
        if self.ornamented:
            return _ornamented(points, stroke, ~several & may_have_ornament & (drawn == 2), digit, rng)
        return Strokes(points, stroke)

    def _moments(self, n: int, n_points: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Where on the path to put the points: (n, n_points) shares of its length."""
        moments = np.tile(np.linspace(0.0, 1.0, N_POINTS), (n, 1))
        if self.warp:
            durations = np.exp(_normal(rng, self.warp, (n, N_POINTS - 1)))
            np.cumsum(durations, axis=1, out=moments[:, 1:])
            moments /= moments[:, -1:]
        if self.trim:
            start, end = np.abs(_normal(rng, self.trim, (2, n, 1)))
            moments = np.clip(start + (1 - start - end) * moments, 0, 1)
        return moments if n_points == N_POINTS else _in_between(moments, n_points)

    def _transforms(self, n: int, rng: np.random.Generator) -> Floats:
        """One matrix a digit, (n, 2, 2), to be multiplied from the right: aspect and shear first, then rotation."""
        angle, shear, aspect = _normal(rng, 1.0, (3, n))
        cos, sin = np.cos(self.rotation * angle), np.sin(self.rotation * angle)
        width, slant = np.exp(self.aspect * aspect), self.shear * shear
        matrices = np.empty((n, 2, 2), np.float32)
        matrices[:, 0, 0], matrices[:, 0, 1] = cos * width, sin * width
        matrices[:, 1, 0], matrices[:, 1, 1] = slant * cos * width - sin, slant * sin * width + cos
        return matrices

    def _bends(self, n: int, n_points: int, rng: np.random.Generator) -> Floats:
        """A smooth displacement of each point: (n, n_points, 2)."""
        waves = np.arange(1, 4)
        shapes = np.sin(np.pi * np.outer(np.linspace(0, 1, n_points), waves)) / waves
        return shapes.astype(np.float32) @ _normal(rng, self.bend, (n, len(waves), 2))


# --- Order and direction ----------------------------------------------------------------------------


def is_loop(points: Floats) -> Mask:
    """Whether a path, (n, points, 2), ends within 0.3 longer sides of its start: (n,)."""
    return np.asarray(np.linalg.norm(points[:, -1] - points[:, 0], axis=1) < 0.6)


def _restarted(points: Floats, rng: np.random.Generator) -> Floats:
    """Begin each path, (n, points, 2), at another of its points, and go on from its end to its start."""
    n, n_points, _ = points.shape
    start = rng.integers(1, n_points - 1, (n, 1))
    return points[np.arange(n)[:, None], (start + np.arange(n_points)) % n_points]


def _reorder(points: Floats, stroke: NDArray[np.int8], rows: Mask) -> None:
    """Write the strokes of these rows, last first, in place."""
    order = np.argsort(-stroke[rows], axis=1, kind="stable")
    points[rows] = np.take_along_axis(points[rows], order[..., None], axis=1)
    stroke[rows] = np.take_along_axis(stroke[rows], order, axis=1)


def _leave_longest(points: Floats, stroke: NDArray[np.int8], rows: Mask) -> None:
    """Keep only the stroke of these rows that has the most points, in place: the others' points become its ends."""
    chosen = np.flatnonzero(rows)
    if not len(chosen):
        return
    counts = np.stack([(stroke[chosen] == s).sum(axis=1) for s in range(stroke.max() + 1)], axis=1)
    kept = stroke[chosen] == counts.argmax(axis=1)[:, None]
    first = kept.argmax(axis=1)
    last = kept.shape[1] - 1 - kept[:, ::-1].argmax(axis=1)
    place = np.clip(np.arange(kept.shape[1]), first[:, None], last[:, None])
    points[chosen] = points[chosen[:, None], place]
    stroke[chosen] = 0


# --- Ornaments --------------------------------------------------------------------------------------

ORNAMENTED = (0, 1, 7)  # the digits that some people slash, foot or cross


def _ornamented(
    points: Floats, stroke: NDArray[np.int8], rows: Mask, digit: NDArray[np.int64], rng: np.random.Generator
) -> Strokes:
    """Add a straight stroke to these rows. All rows get two points more: where nothing is added, the last one again."""
    points = np.concatenate([points, points[:, -1:], points[:, -1:]], axis=1)
    stroke = np.concatenate([stroke, stroke[:, -1:], stroke[:, -1:]], axis=1)
    for ornamented, middle_and_half in zip(ORNAMENTED, (_slash, _foot, _bar), strict=True):
        chosen = np.flatnonzero(rows & (digit == ornamented))
        middle, half = middle_and_half(points[chosen], rng)
        half *= rng.choice(np.array([-1, 1], np.float32), (len(chosen), 1))  # from either end
        points[chosen, -2], points[chosen, -1] = middle - half, middle + half
        stroke[chosen, -2:] = 1
    return Strokes(points, stroke)


def _slash(points: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Middle and half of a diagonal through each path, (n, 2): half to one and a third times as long as the path's."""
    low, high = points.min(axis=1), points.max(axis=1)
    share = rng.uniform(0.25, 0.65, (len(points), 1)).astype(np.float32)
    return (low + high) / 2, share * (high - low) * np.exp(_normal(rng, 0.15, low.shape))


def _foot(points: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Middle and half of a level stroke at each path's lower end, under its last point."""
    low = points[..., 1].min(axis=1)
    middle = np.stack([points[:, -1, 0], low + _normal(rng, 0.06, low.shape)], axis=1)
    return middle, _level(len(points), rng)


def _bar(points: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Middle and half of a level stroke across each path, at a height around its middle."""
    low, high = points[..., 1].min(axis=1), points[..., 1].max(axis=1)
    height = low + (high - low) * rng.uniform(0.35, 0.6, len(points)).astype(np.float32)
    nearest = np.abs(points[..., 1] - height[:, None]).argmin(axis=1)
    return points[np.arange(len(points)), nearest], _level(len(points), rng)


def _level(n: int, rng: np.random.Generator) -> Floats:
    half = np.zeros((n, 2), np.float32)
    half[:, 0] = rng.uniform(0.4, 0.8, n)
    return half


# --- Paths ------------------------------------------------------------------------------------------


def stretch(paths: Floats) -> Floats:
    """Stretch each axis of each path, (n, points, 2), to -1..1; an axis without extent becomes -1."""
    low, high = _extremes(paths)
    return (paths - low) * (2 / np.maximum(high - low, np.float32(1e-6))) - 1


def _extremes(paths: Floats) -> tuple[Floats, Floats]:
    """The least and the most of each axis of each path: twice (n, 1, 2)."""
    by_point = np.ascontiguousarray(paths.swapaxes(0, 1))  # the points one after the other: several times as fast
    return by_point.min(axis=0)[:, None], by_point.max(axis=0)[:, None]


def framed(paths: Floats) -> Floats:
    """Move and scale each path, (n, points, 2), so that its middle is 0 and its longer side goes from -1 to 1."""
    low, high = paths.min(axis=1, keepdims=True), paths.max(axis=1, keepdims=True)
    longer = np.maximum((high - low).max(axis=2, keepdims=True), np.float32(1e-6))
    return (paths - (low + high) / 2) * (2 / longer)


def _in_between(moments: NDArray[np.float64], n_points: int) -> NDArray[np.float64]:
    """More moments on straight lines between those that are there: (n, m) to (n, n_points)."""
    place = np.linspace(0, moments.shape[1] - 1, n_points)
    before = np.minimum(place.astype(np.intp), moments.shape[1] - 2)
    share = place - before
    return (1 - share) * moments[:, before] + share * moments[:, before + 1]


def points_at(paths: Floats, moments: NDArray[np.float64]) -> Floats:
    """The points at given places of paths, on the straight lines between the points that are there.

    Args:
        paths: (n, points, channels); the first two channels are x and y.
        moments: (n, m) shares of a path's length, from 0 to 1, each row ascending.

    Returns:
        (n, m, channels).
    """
    n, _, n_channels = paths.shape
    dx, dy = (np.diff(paths[..., axis], axis=1) for axis in (0, 1))  # one by one: along an axis of two NumPy is slow
    steps = np.sqrt(dx * dx + dy * dy)
    arcs = np.zeros(paths.shape[:2])
    np.cumsum(steps, axis=1, out=arcs[:, 1:])
    arcs /= np.maximum(arcs[:, -1:], 1e-6)
    # All paths end to end, path i from 2 i to 2 i + 1, so that one call finds the places in all of them.
    offset = 2.0 * np.arange(n)[:, None]
    wanted, known = (moments + offset).ravel(), (arcs + offset).ravel()
    found = [np.interp(wanted, known, paths[..., channel].ravel()) for channel in range(n_channels)]
    return np.stack(found, axis=1, dtype=np.float32).reshape(*moments.shape, n_channels)


def _normal(rng: np.random.Generator, deviation: float, shape: tuple[int, ...]) -> Floats:
    return rng.standard_normal(shape, dtype=np.float32) * np.float32(deviation)
