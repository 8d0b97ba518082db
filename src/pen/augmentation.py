"""New rows from the ink of old ones: what the same hand, or another, might have written.

A row of the data set is eight points of the pen's path, each axis stretched to its whole range. The ink has the strokes
one by one, in their true proportions. So augmentation changes the ink, in the order, direction and form of its strokes,
and the changed ink is reduced to a row again.
"""

from itertools import permutations, product
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from .features import FEATURE_SETS, FeatureSet
from .ink import N_POINTS
from .strokes import Floats, Mask, Strokes

N_WAVES = 3  # of a bend
DIGITS_AT_ONCE = 512  # half a megabyte of points

EXCLUSIVE = ("backwards", "reordered", "joined", "ornamented", "plain")  # at most one is done to a digit

Paths = NDArray[np.complex64]  # (n, points): each point is one number, x + i y
Share = Annotated[float, Field(strict=True, ge=0, le=1)]
Deviation = Annotated[float, Field(strict=True, ge=0, le=2)]


class Augmentation(BaseModel):
    """Makes of every digit's strokes a row that the same person, or another, might have written.

    These are the keys of ``augment`` in params.yaml. The first seven are shares of the digits to which each is done, as
    far as it can be: they change the strokes, their order and their direction, in which people differ most. The others
    are the standard deviations of normal variables that are drawn for every digit. 0, the default, switches a kind off.

    Attributes:
        backwards: the whole digit is written from its end to its start.
        reordered: the strokes are written in the opposite order, each in its own direction.
        joined: two or three strokes are written as one, in the order and directions that make the lines between them
            shortest, from the higher of the two ends.
        ornamented: a digit of one stroke gets another: a slash through 0, a foot under 1, a bar through 7.
        plain: a 0, 1 or 7 of more than one stroke keeps only the longest.
        restarted: a loop, one stroke that ends near its start, is begun at another of its points.
        hooked: a short straight line is added: a share of the starts, and of the ends.
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

    model_config = ConfigDict(extra="forbid", frozen=True)

    backwards: Share = 0.0
    reordered: Share = 0.0
    joined: Share = 0.0
    ornamented: Share = 0.0
    plain: Share = 0.0
    restarted: Share = 0.0
    hooked: Share = 0.0
    apart: Deviation = 0.0
    bend: Deviation = 0.0
    rotation: Deviation = 0.0
    shear: Deviation = 0.0
    aspect: Deviation = 0.0
    warp: Deviation = 0.0
    trim: Annotated[Deviation, Field(le=0.2)] = 0.0
    jitter: Deviation = 0.0

    @model_validator(mode="after")
    def _check_shares(self) -> "Augmentation":
        total = sum(getattr(self, name) for name in EXCLUSIVE)
        if total > 1:
            names = f"{', '.join(EXCLUSIVE[:-1])} and {EXCLUSIVE[-1]}"
            raise ValueError(f"{names} must add up to 1 at most, got {total:g}")
        return self

    def __bool__(self) -> bool:
        """Whether it does anything."""
        return any(dict(self).values())

    def __call__(
        self,
        strokes: Strokes,
        digit: NDArray[np.int64],
        rng: np.random.Generator,
        features: FeatureSet = FEATURE_SETS["table"],
    ) -> Floats:
        """Draw a new row for each digit: (n, features.size).

        Nearly all is drawn first. The points are then moved for some digits at a time, whose arrays stay in the cache.
        """
        strokes = self._written_otherwise(strokes, digit, rng)
        n, n_strokes = len(digit), int(strokes.stroke.max(initial=0)) + 1
        moves = _normal(rng, self.apart, (n, n_strokes, 2)) if self.apart else None
        waves = _normal(rng, self.bend, (n, N_WAVES, 2)) if self.bend else None
        transforms = self._transforms(n, rng) if self.rotation or self.shear or self.aspect else None
        moments = self._moments(n, features.n_points, rng)
        rows = np.empty((n, features.size), np.float32)
        for start in range(0, n, DIGITS_AT_ONCE):
            some = slice(start, start + DIGITS_AT_ONCE)
            points, stroke = strokes.points[some], strokes.stroke[some]
            if moves is not None:
                points += _of_strokes(moves[some], stroke)
            if waves is not None:
                points += _bends(waves[some], points.shape[1])
            if transforms is not None:
                points = points @ transforms[some]
            paths = features.at(Strokes(points, stroke), moments[some])
            if self.jitter:
                paths[..., :2] += _normal(rng, self.jitter, (len(paths), features.n_points, 2))
            rows[some] = features.rows(paths)
        return rows

    def _written_otherwise(self, strokes: Strokes, digit: NDArray[np.int64], rng: np.random.Generator) -> Strokes:
        """The digits with their strokes in another order or direction, one more or fewer of them, loops restarted."""
        chances = np.cumsum([getattr(self, name) for name in EXCLUSIVE])
        drawn = np.searchsorted(chances, rng.random(len(digit)), side="right")
        chosen = {name: drawn == i for i, name in enumerate(EXCLUSIVE)}
        hook, ornament = int(self.hooked > 0), 2 * int(self.ornamented > 0)  # points to fill: at each end, at the end
        inner, room = slice(hook, hook + strokes.stroke.shape[1]), ((0, 0), (hook, ornament + hook))
        all_xy = np.pad(strokes.points.view(np.complex64)[..., 0], room, "empty")
        all_stroke = np.pad(strokes.stroke, room, "empty")
        xy, stroke = all_xy[:, inner], all_stroke[:, inner]
        several = stroke[:, -1] > 0
        if self.restarted:
            loops = ~several & is_loop(strokes.points) & ~chosen["ornamented"]
            _restart(xy, loops & (rng.random(len(digit)) < self.restarted), rng)
        turned = np.flatnonzero(chosen["backwards"])
        xy[turned], stroke[turned] = xy[turned, ::-1], stroke[turned, ::-1]
        _reorder(xy, stroke, several & chosen["reordered"])
        _join(xy, stroke, several & chosen["joined"])
        _leave_longest(xy, stroke, several & np.isin(digit, ORNAMENTED) & chosen["plain"])
        if self.ornamented:
            longer, may_have = slice(hook, inner.stop + ornament), ~several & chosen["ornamented"]
            _ornament(all_xy[:, longer], all_stroke[:, longer], np.where(may_have, digit, -1), rng)
        if self.hooked:
            _hook(all_xy, all_stroke, rng.random((len(digit), 2)) < self.hooked, rng)
        return Strokes(all_xy[..., None].view(np.float32), all_stroke)

    def _moments(self, n: int, n_points: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Where on the path to put the points: (n, n_points) shares of its length."""
        moments = np.tile(np.linspace(0.0, 1.0, N_POINTS), (n, 1))
        if self.warp:
            durations = np.exp(_normal(rng, self.warp, (n, N_POINTS - 1)))
            np.cumsum(durations, axis=1, out=moments[:, 1:])
            moments /= moments[:, -1:]
        if self.trim:
            start, end = np.abs(_normal(rng, self.trim, (2, n, 1)))
            moments *= 1 - start - end
            moments += start
            np.clip(moments, 0, 1, out=moments)
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


def _of_strokes(moves: Floats, stroke: NDArray[np.int8]) -> Floats:
    """How far each point is moved, (n, points, 2): as far as its stroke, moves (n, strokes, 2)."""
    n, n_strokes, _ = moves.shape
    return moves.reshape(-1, 2).take(stroke + n_strokes * np.arange(n)[:, None], axis=0)


def _bends(waves: Floats, n_points: int) -> Floats:
    """A smooth displacement of each point, (n, n_points, 2): the sum of waves of these heights, (n, N_WAVES, 2)."""
    number = np.arange(1, N_WAVES + 1)
    shapes = np.sin(np.pi * np.outer(np.linspace(0, 1, n_points), number)) / number
    complex_waves = waves.view(np.complex64)[..., 0]  # x + i y, so that it is one product of two matrices
    return (complex_waves @ shapes.T.astype(np.complex64)).view(np.float32).reshape(-1, n_points, 2)


def _in_between(moments: NDArray[np.float64], n_points: int) -> NDArray[np.float64]:
    """More moments on straight lines between those that are there: (n, m) to (n, n_points)."""
    place = np.linspace(0, moments.shape[1] - 1, n_points)
    before = np.minimum(place.astype(np.intp), moments.shape[1] - 2)
    share = place - before
    return (1 - share) * moments[:, before] + share * moments[:, before + 1]


def _normal(rng: np.random.Generator, deviation: float, shape: tuple[int, ...]) -> Floats:
    return rng.standard_normal(shape, dtype=np.float32) * np.float32(deviation)


# --- Order and direction ----------------------------------------------------------------------------


def is_loop(points: Floats) -> Mask:
    """Whether a path, (n, points, 2), ends within 0.3 longer sides of its start: (n,)."""
    return np.asarray(np.linalg.norm(points[:, -1] - points[:, 0], axis=1) < 0.6)


def _restart(xy: Paths, rows: Mask, rng: np.random.Generator) -> None:
    """Begin the path of these rows at another of its points, in place, and go on from its end to its start."""
    chosen, n_points = np.flatnonzero(rows), xy.shape[1]
    start = rng.integers(1, n_points - 1, (len(chosen), 1))
    xy[chosen] = xy[chosen[:, None], (start + np.arange(n_points)) % n_points]


def _reorder(xy: Paths, stroke: NDArray[np.int8], rows: Mask) -> None:
    """Write the strokes of these rows, last first, in place."""
    chosen = np.flatnonzero(rows)
    order = np.argsort(-stroke[chosen], axis=1, kind="stable")
    for numbers in (xy, stroke):
        numbers[chosen] = numbers[chosen[:, None], order]


def _first_and_last(rows: Mask) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Where the first and the last True of each row, (n, points), are: (n,) each."""
    return rows.argmax(axis=1), rows.shape[1] - 1 - rows[:, ::-1].argmax(axis=1)


def _leave_longest(xy: Paths, stroke: NDArray[np.int8], rows: Mask) -> None:
    """Keep only the stroke of these rows that has the most points, in place: the others' points become its ends."""
    chosen = np.flatnonzero(rows)
    counts = np.stack([(stroke[chosen] == s).sum(axis=1) for s in range(stroke.max(initial=0) + 1)], axis=1)
    first, last = _first_and_last(stroke[chosen] == counts.argmax(axis=1)[:, None])
    xy[chosen] = xy[chosen[:, None], np.clip(np.arange(xy.shape[1]), first[:, None], last[:, None])]
    stroke[chosen] = 0


def _join(xy: Paths, stroke: NDArray[np.int8], rows: Mask) -> None:
    """Write the two or three strokes of these rows as one, in place.

    Of all orders and directions, that with the shortest lines between the strokes is taken; a line has two directions,
    and the pen begins at the higher end.
    """
    place = np.arange(xy.shape[1])
    for n_strokes in (2, 3):
        chosen = np.flatnonzero(rows & (stroke[:, -1] == n_strokes - 1))
        number = stroke[chosen]
        ways = list(product(permutations(range(n_strokes)), product((0, 1), repeat=n_strokes)))
        order, turned = (np.array(part) for part in zip(*ways, strict=True))  # (ways, strokes), as they are written
        ends = xy[chosen, np.stack([_first_and_last(number == s) for s in range(n_strokes)])]  # (strokes, 2, rows)
        start, end = ends[order, turned], ends[order, 1 - turned]  # (ways, strokes, rows)
        lines = start[:, 1:] - end[:, :-1]
        between = np.sqrt(lines.real**2 + lines.imag**2).sum(axis=1)
        between[start[:, 0].imag < end[:, -1].imag] = np.inf
        best = between.argmin(axis=0)[:, None]
        when = np.argsort(order, axis=1)  # (ways, strokes), as they are numbered
        sign = 1 - 2 * np.take_along_axis(turned, when, axis=1)
        sequence = np.argsort(2 * len(place) * when[best, number] + sign[best, number] * place, axis=1)
        xy[chosen], stroke[chosen] = xy[chosen[:, None], sequence], 0


# --- Hooks ------------------------------------------------------------------------------------------


def _hook(xy: Paths, stroke: NDArray[np.int8], ends: Mask, rng: np.random.Generator) -> None:
    """Fill the first and last point, in place: a line in any direction leads there at these ends, (n, 2), or none."""
    length = ends * np.exp(_normal(rng, 0.5, ends.shape)) * np.float32(0.2)  # a tenth of the digit's side
    angle = rng.uniform(0, 2 * np.pi, ends.shape).astype(np.float32)
    lines = np.stack([length * np.cos(angle), length * np.sin(angle)], axis=2).view(np.complex64)[..., 0]
    for end, beside in ((0, 1), (-1, -2)):
        xy[:, end], stroke[:, end] = xy[:, beside] + lines[:, end], stroke[:, beside]


# --- Ornaments --------------------------------------------------------------------------------------

ORNAMENTED = (0, 1, 7)  # the digits that some people slash, foot or cross


def _ornament(xy: Paths, stroke: NDArray[np.int8], digit: NDArray[np.int64], rng: np.random.Generator) -> None:
    """Fill the last two points, in place: a straight stroke on these digits; on others, -1, the point before again."""
    for end in (-2, -1):
        xy[:, end], stroke[:, end] = xy[:, -3], stroke[:, -3]
    for ornamented, middle_and_half in zip(ORNAMENTED, (_slash, _foot, _bar), strict=True):
        chosen = np.flatnonzero(digit == ornamented)
        middle, half = middle_and_half(xy[chosen, :-2, None].view(np.float32), rng)
        half *= rng.choice(np.array([-1, 1], np.float32), (len(chosen), 1))  # from either end
        xy[chosen, -2:] = np.concatenate([middle - half, middle + half], axis=1).view(np.complex64)
        stroke[chosen, -2:] = 1


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
