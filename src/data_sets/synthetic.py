"""The built-in data set: a generator of pen-written digits, in the form of the real one.

It stands in where the real data cannot be had, and feeds tests and benchmarks. A digit starts as one of a few hand-made
shapes. A *writer* has a favourite shape of each digit and bends it in their own way; slant, aspect, softness, size,
pace and tremor are the writer's too. A *sample* varies all this a little. So other writers are harder to read than
other samples of the same writers, as with real people.

All randomness comes from the generator that the caller hands in: the same seed gives the same digits.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pen.ink import Ink, eight_points, offsets
from pipeline.params import Params

from .pen_files import PenDigits
from .pendigits import TEST, TRAINING, format_table
from .unipen import format_ink

SEED = 0  # of the pipeline's data set: `seed` in params.yaml is the training's and must not change the data

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# --- Shapes ---------------------------------------------------------------------------------------
#
# How common the shape is among writers, and the knots `x y` of a smooth curve, y upwards, the digit 100 units high. `!`
# marks a corner, `/` a pen lift.

SHAPES = {
    0: [
        (6, "40 98 18 90 4 65 2 38 14 10 36 1 58 12 68 40 64 72 50 92 36 97"),  # against the clock, from the top
        (2, "60 86 44 98 20 90 4 62 4 30 22 4 44 3 62 24 68 54 62 80 44 96 28 93"),  # from the right, closing late
        (1, "30 97 54 92 67 66 68 36 56 10 34 1 12 12 2 40 5 72 20 92 40 98"),  # with the clock
    ],
    1: [
        (4, "36 100 35 66 33 33 32 0"),  # a line
        (4, "8 70 22 84 37 98! 36 66 35 33 34 0"),  # with a serif
        (1, "10 74 24 86 37 98! 36 50 35 2 / 8 1 35 2 62 3"),  # with serif and base
        (1, "2 58 20 78 38 98! 36 66 35 33 34 0"),  # with a long serif
    ],
    2: [
        (5, "6 78 18 94 38 99 58 90 62 72 52 50 30 26 6 3! 30 4 66 5"),  # with a corner
        (3, "6 80 20 96 42 99 60 86 58 64 40 38 20 14 8 3 5 10 14 17 30 10 46 2 70 6"),  # with a loop
        (1, "8 92 34 98 60 90 62 74 44 48 22 20 4 2! 36 3 70 2"),  # flat
    ],
    3: [
        (5, "8 86 22 97 42 98 56 86 52 68 38 58 24 54! 42 50 58 38 60 20 46 4 24 1 4 12"),  # round
        (2, "6 96 34 97 62 96! 46 78 28 60! 50 54 64 36 58 14 36 2 6 8"),  # with a flat top
        (2, "8 84 24 98 46 96 56 80 44 62 26 56 22 61 32 61 52 48 62 28 50 6 26 0 4 10"),  # with a loop
    ],
    4: [
        (5, "22 98 14 72 6 44! 36 44 68 47 / 50 76 47 40 45 0"),  # open
        (3, "16 94 8 66 18 48 38 48 54 64 60 92! 57 50 54 0"),  # open, in one stroke
        (2, "52 98 28 66 4 34! 36 34 70 36 / 53 72 50 40 48 0"),  # pointed
        (1, "68 34 36 33 4 35! 30 68 54 98! 51 50 48 0"),  # closed, in one stroke
    ],
    5: [
        (5, "14 96 12 76 10 56! 30 62 52 54 62 34 54 10 32 0 4 8 / 14 97 38 97 66 99"),  # the bar last
        (2, "62 97 38 97 14 96! 12 76 10 57! 32 63 54 54 62 32 52 8 28 0 4 10"),  # in one stroke
        (1, "60 94 38 98 18 88 14 70 30 58 50 46 58 26 46 6 24 1 4 10"),  # like an S
        (1, "14 96 38 97 64 98 / 14 97 12 78 9 57! 32 63 54 54 62 32 52 8 28 0 4 10"),  # the bar first
    ],
    6: [
        (5, "50 98 30 84 12 58 4 30 14 6 36 0 56 12 60 32 46 48 26 46 8 28"),  # round
        (3, "42 100 24 68 8 36 10 10 32 0 54 10 58 30 42 44 22 38 10 20"),  # from a straight stem
        (1, "62 90 46 99 24 86 8 54 4 24 20 2 44 4 56 24 44 42 22 40 8 26"),  # with a hook
    ],
    7: [
        (4, "4 94 34 95 64 97! 48 64 34 32 24 0 / 16 50 38 51 62 53"),  # with a bar
        (3, "4 94 34 95 64 97! 48 64 34 32 24 0"),  # without
        (2, "4 80 8 95! 36 93 66 97! 48 62 34 30 26 0 / 18 46 38 49 60 52"),  # with bar and serif
        (1, "4 88 22 98 44 94 66 96 58 74 44 44 34 0"),  # curved
    ],
    8: [
        (5, "54 86 38 99 16 92 12 74 32 55 54 38 58 16 38 0 14 8 10 28 28 48 48 64 56 84 48 95"),  # like an S first
        (2, "14 88 34 99 54 88 52 70 32 54 10 36 8 14 30 0 52 10 56 30 38 48 18 64 10 82 22 95"),  # mirrored
        (1, "34 54 12 66 10 86 32 98 54 88 52 66 34 54 10 38 6 14 30 0 56 12 56 36 36 54"),  # two circles
    ],
    9: [
        (4, "56 84 38 98 14 90 6 68 20 52 42 56 54 74 58 90! 55 50 52 0"),  # with a straight stem
        (3, "58 86 40 98 16 92 6 70 18 54 40 56 54 74 58 88! 58 52 48 16 26 0 6 8"),  # with a hook
        (2, "54 72 44 52 18 54 6 74 20 96 44 97 58 78 58 44 50 14 34 0"),  # in one sweep, from the middle
        (1, "46 84 56 98 34 98 16 84 24 70 44 78 56 94! 54 60 50 28 44 0"),  # small-headed
    ],
}

_PATH_POINTS = 64  # a path's points, at equal steps along its strokes


class _Shapes(NamedTuple):
    """All shapes as arrays, one after the other; lengths are in heights of a digit."""

    digit: Ints  # (shapes,)
    popularity: Ints  # (shapes,)
    path: Floats  # (shapes, points, 2)
    softening: Floats  # (shapes, points, 2): what to add to a path for softer corners and flatter bends
    stroke: Ints  # (shapes, points): the stroke that a point belongs to, from 0
    length: Floats  # (shapes,): of all strokes


@cache
def _read_shapes() -> _Shapes:
    """Turn ``SHAPES`` into arrays."""
    rows = [(digit, popularity, *_path(text)) for digit in SHAPES for popularity, text in SHAPES[digit]]
    return _Shapes(*(np.array(column) for column in zip(*rows, strict=True)))


def _path(text: str) -> tuple[Floats, Floats, Ints, float]:
    """A shape's path, softening, strokes and length, from its knots."""
    curves = [np.concatenate([_curve(piece) for piece in _pieces(stroke)]) for stroke in text.split("/")]
    arcs = [np.concatenate([[0.0], np.cumsum(_lengths(curve))]) for curve in curves]
    ends = np.cumsum([0.0] + [arc[-1] for arc in arcs])
    counts = np.diff(np.rint(ends / ends[-1] * _PATH_POINTS).astype(int))
    strokes = [
        np.column_stack([np.interp(np.linspace(0, arc[-1], count), arc, axis) for axis in curve.T])
        for curve, arc, count in zip(curves, arcs, counts, strict=True)
    ]
    path = np.concatenate(strokes)
    softer = np.concatenate([_mean_around(stroke) for stroke in strokes])
    return path, softer - path, np.repeat(np.arange(len(counts)), counts), float(ends[-1])


def _pieces(stroke: str) -> list[Floats]:
    """Cut a stroke's knots at its corners: each piece, (knots, 2), starts at the corner that ends the one before."""
    pieces, corner = [], np.empty((0, 2))
    for text in stroke.split("!"):
        piece = np.concatenate([corner, np.array(text.split(), dtype=np.float64).reshape(-1, 2) / 100])
        pieces.append(piece)
        corner = piece[-1:]
    return pieces


def _curve(knots: Floats) -> Floats:
    """A smooth curve through the knots, (points, 2), straight at its ends.

    Source: E. Catmull and R. Rom (1974), A Class of Local Interpolating Splines.
    """
    before, after = 2 * knots[:1] - knots[1:2], 2 * knots[-1:] - knots[-2:-1]
    p0, p1, p2, p3 = (np.concatenate([before, knots, after])[i : i + len(knots) - 1, None] for i in range(4))
    t = np.linspace(0, 1, 12)[:, None]
    curve: Floats = p1 + t / 2 * (p2 - p0 + t * (2 * p0 - 5 * p1 + 4 * p2 - p3 + t * (3 * (p1 - p2) + p3 - p0)))
    return curve.reshape(-1, 2)


def _mean_around(stroke: Floats, reach: int = 4) -> Floats:
    """Each point's mean with the ``reach`` points before and after it; the ends stay where they are."""
    padded = np.pad(stroke, ((reach, reach), (0, 0)), mode="reflect", reflect_type="odd")
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1, axis=0)
    return np.asarray(windows.mean(axis=-1))


def _lengths(path: Floats) -> Floats:
    """The lengths of the steps of paths (..., points, 2): (..., points - 1)."""
    step = np.diff(path, axis=-2)
    return np.hypot(step[..., 0], step[..., 1])


# --- Writers --------------------------------------------------------------------------------------

_BENDS = 6  # half waves along a path: the more, the finer the bend


class Writers(NamedTuple):
    """People, each with a hand of their own. Lengths are in heights of a digit, angles in radians."""

    favourite: Ints  # (writers, 10): the shape, by number, that they mostly give a digit
    loyalty: Floats  # (writers,): the share of samples that have it
    habit: Floats  # (writers, shapes, bends, 2): how they bend a shape
    slant: Floats  # (writers,): x gained over a height
    aspect: Floats  # (writers,): width, 1 for the shape's own
    turn: Floats  # (writers,): against the clock
    softness: Floats  # (writers,): of corners and bends, 0 for the shape's own, below for sharper ones
    tremor: Floats  # (writers,): how far the pen shakes
    unsteadiness: Floats  # (writers,): how much one sample differs from the next, 1 for most people
    size: Floats  # (writers,): height in tablet units
    pace: Floats  # (writers,): points that the tablet takes while the pen goes one height straight on


def draw_writers(n: int, rng: np.random.Generator) -> Writers:
    """Make n writers."""
    shapes = _read_shapes()
    return Writers(
        favourite=_pick_shapes(shapes, np.tile(np.arange(10), (n, 1)), rng),
        loyalty=rng.beta(12, 1, n),
        habit=0.07 * _bends((n, len(shapes.digit)), rng),
        slant=rng.normal(0.1, 0.16, n),
        aspect=np.exp(rng.normal(0, 0.2, n)),
        turn=rng.normal(0, 0.06, n),
        softness=rng.normal(0.3, 0.6, n),
        tremor=np.exp(rng.normal(np.log(0.004), 0.4, n)),
        unsteadiness=np.exp(rng.normal(0, 0.25, n)),
        size=np.exp(rng.normal(np.log(190), 0.2, n)),
        pace=np.exp(rng.normal(np.log(11), 0.25, n)),
    )


def _pick_shapes(shapes: _Shapes, digit: Ints, rng: np.random.Generator) -> Ints:
    """Draw a shape of each digit, by popularity: the numbers of shapes, in the form of ``digit``."""
    bounds = np.cumsum(np.where(shapes.digit == np.arange(10)[:, None], shapes.popularity, 0), axis=1)  # (10, shapes)
    drawn = rng.random(digit.shape) * bounds[digit, -1]
    return np.asarray(np.sum(drawn[..., None] >= bounds[digit], axis=-1))


def _bends(form: tuple[int, ...], rng: np.random.Generator) -> Floats:
    """Random amplitudes (*form, bends, 2) of waves along a path; the finer the wave, the smaller."""
    return rng.normal(0, 1, (*form, _BENDS, 2)) / np.arange(1, _BENDS + 1)[:, None]


# --- Samples --------------------------------------------------------------------------------------


def _draw_paths(writers: Writers, digit: Ints, writer: Ints, rng: np.random.Generator) -> tuple[Floats, Ints]:
    """Let writers write digits.

    Args:
        digit, writer: (n,); writers count from 1.

    Returns:
        The pen's paths (n, points, 2), in heights, and the stroke that each point belongs to, (n, points).
    """
    shapes, n, who = _read_shapes(), len(digit), writer - 1
    vary = writers.unsteadiness[who]
    loyal = rng.random(n) < writers.loyalty[who]
    shape = np.where(loyal, writers.favourite[who, digit], _pick_shapes(shapes, digit, rng))
    stroke = shapes.stroke[shape]

    softness = writers.softness[who] + vary * rng.normal(0, 0.3, n)
    path = shapes.path[shape] + _each(softness) * shapes.softening[shape]
    bends = writers.habit[who, shape] + _each(vary) * 0.042 * _bends((n,), rng)
    waves = np.cos(np.pi * np.outer(np.arange(1, _BENDS + 1), np.linspace(0, 1, _PATH_POINTS)))
    path += _each(shapes.length[shape] / 2.5) * np.einsum("kp,nkc->npc", waves, bends)
    path += np.where(stroke[..., None] > 0, _each(vary) * rng.normal(0, 0.05, (n, 1, 2)), 0.0)  # later strokes stray
    path += _each(writers.tremor[who]) * _shaking(n, rng)

    aspect = writers.aspect[who] * np.exp(vary * rng.normal(0, 0.08, n))
    slant = writers.slant[who] + vary * rng.normal(0, 0.05, n)
    turn = writers.turn[who] + vary * rng.normal(0, 0.04, n)
    x, y = aspect[:, None] * path[..., 0] + slant[:, None] * path[..., 1], path[..., 1]
    cos, sin = np.cos(turn)[:, None], np.sin(turn)[:, None]
    return np.stack([cos * x - sin * y, sin * x + cos * y], axis=-1), stroke


def _shaking(n: int, rng: np.random.Generator) -> Floats:
    """Noise (n, points, 2) of unit variance that changes direction every few points."""
    noise = rng.normal(0, 1, (n, _PATH_POINTS + 3, 2))
    return (noise[:, :-3] + noise[:, 1:-2] + noise[:, 2:-1] + noise[:, 3:]) / 2


def _each(value: Floats) -> Floats:
    """One value a sample, (n,), in a form that goes with (n, points, 2)."""
    return value[:, None, None]


def draw_ink(writers: Writers, digit: Ints, writer: Ints, number: Ints, rng: np.random.Generator) -> Ink:
    """Let writers write digits on a tablet, which takes points at equal steps of time.

    Args:
        digit, writer, number: (n,), as in ``Ink``: writers count from 1.

    Returns:
        Ink of n samples, in whole tablet units, most of them from 0 to 500.
    """
    paths, stroke = _draw_paths(writers, digit, writer, rng)
    starts = np.diff(stroke, axis=1, prepend=-1) != 0  # (n, points): a stroke starts here
    first = np.flatnonzero(starts)
    last = np.append(first[1:], starts.size) - 1
    time = np.cumsum(np.column_stack([np.ones(len(digit)), _durations(paths, writers.pace[writer - 1])]))

    n_points = np.maximum(2, np.rint(time[last] - time[first]).astype(np.int64))
    strokes = offsets(n_points)
    place = np.arange(strokes[-1]) - np.repeat(strokes[:-1], n_points)  # of a point within its stroke, from 0
    tick = (time[last] - time[first]) / (n_points - 1)
    moment = np.repeat(time[first], n_points) + place * np.repeat(tick, n_points)

    size = writers.size[writer - 1] * np.exp(rng.normal(0, 0.06, len(digit)))
    corner = 250 + rng.normal(0, 15, (len(digit), 1, 2)) - _each(size) * (0.35, 0.5)
    tablet = (corner + _each(size) * paths).reshape(-1, 2)
    points = np.column_stack([np.rint(np.interp(moment, time, axis)).astype(np.int64) for axis in tablet.T])
    return Ink(points, strokes, offsets(starts.sum(axis=1)), digit, writer, number)


def _durations(paths: Floats, pace: Floats) -> Floats:
    """The time that each step takes, (n, points - 1): in proportion to its length, and longer where the pen turns."""
    step = np.diff(paths, axis=1)
    heading = np.unwrap(np.arctan2(step[..., 1], step[..., 0]))
    turn = np.abs(np.diff(heading, axis=1, append=heading[:, -1:]))
    return pace[:, None] * (_lengths(paths) + 0.1 * np.minimum(turn, 1.5))


def draw_rows(writers: Writers, digit: Ints, writer: Ints, rng: np.random.Generator) -> Ints:
    """Let writers write digits, and keep eight points of each, (n, 16), as in the table. Much faster than ink."""
    paths, _ = _draw_paths(writers, digit, writer, rng)
    tablet = (paths * _each(writers.size[writer - 1])).reshape(-1, 2)
    one_each = np.arange(len(digit) + 1)
    return eight_points(Ink(tablet, one_each * _PATH_POINTS, one_each, digit, writer, writer))


# --- Data sets -------------------------------------------------------------------------------------


class Synthetic(PenDigits):
    """The built-in data set, in the files and forms of the real one."""

    def __init__(self, params: Params) -> None:
        super().__init__("synthetic")
        self.params = params

    def files(self) -> dict[str, bytes]:
        contents, rng = {}, np.random.default_rng(SEED)
        inks = make_data_set(self.params.synthetic_rows_per_writer, rng)
        for part, ink in zip((TRAINING, TEST), inks, strict=True):
            contents[part.table] = format_table(eight_points(ink), ink.digit)
            contents[part.ink] = format_ink(ink)
        return contents


_CHUNK = 8192  # samples drawn at a time, which bounds the memory


def make_data_set(rows_per_writer: int, rng: np.random.Generator) -> tuple[Ink, Ink]:
    """Make a data set in the form of the real one: a training and a test part, by 30 writers and 14 others.

    All writers of a part write the same digits in the same order, each digit equally often (as far as 10 divides the
    rows). The samples are shuffled across writers.
    """
    return _make_part(TRAINING.writers, rows_per_writer, rng), _make_part(TEST.writers, rows_per_writer, rng)


def _make_part(n_writers: int, rows_per_writer: int, rng: np.random.Generator) -> Ink:
    writers = draw_writers(n_writers, rng)
    task = rng.permutation(np.arange(rows_per_writer) % 10)
    writer, number = np.divmod(rng.permutation(n_writers * rows_per_writer), rows_per_writer)
    chunks = [
        draw_ink(writers, task[number[rows]], writer[rows] + 1, number[rows] + 1, rng) for rows in _chunks(len(writer))
    ]
    return _joined(chunks)


def _joined(parts: list[Ink]) -> Ink:
    """Several inks as one."""
    strokes = offsets(np.concatenate([np.diff(part.strokes) for part in parts]))
    samples = offsets(np.concatenate([np.diff(part.samples) for part in parts]))
    points, digit, writer, number = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("points", "digit", "writer", "number")
    )
    return Ink(points, strokes, samples, digit, writer, number)


def make_rows(n: int, rng: np.random.Generator, n_writers: int = TRAINING.writers) -> tuple[Ints, Ints, Ints]:
    """Make n rows of the table fast: coordinates (n, 16), digits (n,) and writers (n,) from 1, both drawn evenly."""
    writers = draw_writers(n_writers, rng)
    digit, writer = rng.integers(0, 10, n), rng.integers(1, n_writers + 1, n)
    chunks = [draw_rows(writers, digit[rows], writer[rows], rng) for rows in _chunks(n)]
    return np.concatenate(chunks), digit, writer


def _chunks(n: int) -> list[slice]:
    """Cut n samples into slices of at most ``_CHUNK``; at least one slice."""
    return [slice(start, start + _CHUNK) for start in range(0, max(n, 1), _CHUNK)]
