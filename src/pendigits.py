"""The data set: digits written with a pen by 44 people; where it comes from, and how its files are read and written.

Each of its two parts, training and test, is two text files with the same digits in the same order. The *ink* is what
the tablet recorded: the strokes of the pen, in tablet units, with digit and writer. The *table* is what is left of it:
a row a digit, eight points of the pen's path, as x1, y1, ..., x8, y8 from 0 to 100, y upwards, and the digit.

Source: E. Alpaydin and F. Alimoglu (1996), Pen-Based Recognition of Handwritten Digits, UCI Machine Learning
Repository.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray

CITATION = (
    "E. Alpaydin and F. Alimoglu (1996), Pen-Based Recognition of Handwritten Digits, "
    "UCI Machine Learning Repository, https://doi.org/10.24432/C5MG6K"
)
LICENSE = "CC BY 4.0, https://creativecommons.org/licenses/by/4.0/"

# The archive that UCI serves. A copy packed anew has another sum: what is inside decides, this sum explains.
ARCHIVE = "pen+based+recognition+of+handwritten+digits.zip"
ARCHIVE_URL = f"https://archive.ics.uci.edu/static/public/81/{ARCHIVE}"
ARCHIVE_SHA256 = "1e02bea023613c2b11c9492f6f34caf975420455934f3527d270cee9a1f03b64"


class Member(NamedTuple):
    """A file of the data set, as it is when unpacked."""

    name: str
    size: int  # bytes
    sha256: str


MEMBERS = (
    Member("pendigits.tra", 502_098, "e2b9eb9f0d0467e2b64a4816a3420edf2b8043447576f4b84337aba44a9f97d3"),
    Member("pendigits.tes", 234_366, "8bd03229c5c5291fefe43e45465dd948d2645bf23328b9d993e0b777666b2015"),
    Member("pendigits-orig.tra", 3_641_673, "a66225d68d7d68591e62944df1ad33b3f5aa608e2df2505844b41f5568a80da4"),
    Member("pendigits-orig.tes", 1_661_044, "ddb1c19e277a56c7ffe682cc024d6ab73696f9adcc1643ef9ed5aa753007e081"),
)


class Part(NamedTuple):
    """The training or the test part: its two files, and what the real ones hold."""

    table: str
    ink: str
    rows: int
    writers: int  # numbered from 1 in each part; no writer is in both


TRAINING = Part("pendigits.tra", "pendigits-orig.tra", rows=7494, writers=30)
TEST = Part("pendigits.tes", "pendigits-orig.tes", rows=3498, writers=14)

N_POINTS = 8
FEATURES = tuple(f"{axis}{point}" for point in range(1, N_POINTS + 1) for axis in "xy")  # x1, y1, ..., x8, y8
COLUMNS = (*FEATURES, "digit", "writer")  # of the tables in data/processed


class DataError(ValueError):
    """A data file is not what it should be; the message names the file, the line and what is wrong with it."""


# --- Ink ------------------------------------------------------------------------------------------


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


# --- From ink to eight points ---------------------------------------------------------------------


def eight_points(ink: Ink) -> NDArray[np.int64]:
    """Do what the data set's authors did: eight points at equal steps along the path, each axis stretched to 0..100.

    The points are cut down to whole tablet units before the axes are stretched. With that the ink of all 10,992 digits
    gives the rows of the tables exactly, to the last number.

    Returns:
        (n, 16) integers from 0 to 100, as in the table.
    """
    # The margin keeps a point that lies on a whole unit from falling to the one below by a rounding error.
    paths = np.floor(resample(ink, N_POINTS) + 1e-6)
    return np.rint(stretch(paths)).astype(np.int64).reshape(len(ink), 2 * N_POINTS)


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


def stretch(paths: NDArray[np.float64]) -> NDArray[np.float64]:
    """Map each path's smallest x to 0 and its largest to 100, and y likewise: (n, points, 2) to the same shape.

    An axis along which a path does not move at all becomes 50.
    """
    low, span = paths.min(axis=1, keepdims=True), np.ptp(paths, axis=1, keepdims=True)
    share = np.full(paths.shape, 0.5)
    np.divide(paths - low, span, out=share, where=np.broadcast_to(span > 0, paths.shape))
    return share * 100.0


# --- The table ------------------------------------------------------------------------------------

_COORDINATE = rb" *+(?:100|[0-9]{1,2}) *+"  # *+ does not backtrack: a line takes time in proportion to its length
_ROW = re.compile(rb"(?:" + _COORDINATE + rb",){16} *+[0-9] *+")


def parse_table(content: bytes, name: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Read a table: a line a row, 16 coordinates from 0 to 100 and a digit, separated by commas.

    Args:
        name: the file's name, for messages.

    Returns:
        The coordinates (n, 16) and the digits (n,).

    Raises:
        DataError: naming the first line that is no such row.
    """
    lines = content.splitlines()
    if not lines:
        raise DataError(f"{name} is empty")
    for number, line in enumerate(lines, start=1):
        if not _ROW.fullmatch(line):
            raise DataError(f"{name}, line {number}: {_row_fault(line)}")
    values = _integers(b",".join(lines), separator=",").reshape(len(lines), 17)
    return values[:, :16].copy(), values[:, 16].copy()


def _row_fault(line: bytes) -> str:
    """What is wrong with a line that is not a row of the table."""
    fields = line.split(b",", maxsplit=1000)
    if len(fields) != 17:
        return f"{len(fields) if line.strip() else 'no'} values instead of 17"
    for column, field in zip(COLUMNS[:17], fields, strict=True):
        highest = 9 if column == "digit" else 100
        if not re.fullmatch(rb" *+[0-9]{1,4} *+", field) or int(field) > highest:
            return f"{column} must be a whole number from 0 to {highest}, got {_shown(field.strip(b' '))}"
    return f"not written as a row of the table: {_shown(line)}"


def format_table(X: NDArray[np.int64], digit: NDArray[np.int64]) -> bytes:
    """Write a table in the form of the real files: the inverse of ``parse_table``."""
    rows = np.column_stack([X, digit]).tolist()
    return "".join(map((16 * "%3d," + "%2d\n").__mod__, map(tuple, rows))).encode()


# --- The ink's files: UNIPEN ----------------------------------------------------------------------

_SEGMENT = re.compile(rb'\.SEGMENT DIGIT +([0-9]{1,9})(?:-([0-9]{1,9}))? \? "([0-9])" *+')
_COMMENT = re.compile(rb"\.COMMENT +([0-9]) +([0-9]{1,9}) +([0-9]{1,9}) *+")
_POINT = re.compile(rb" *+-?[0-9]{1,6} ++-?[0-9]{1,6} *+")
_PEN_DOWN, _PEN_UP = re.compile(rb"\.PEN_DOWN *+"), re.compile(rb"\.PEN_UP *+")
_PAUSE = re.compile(rb"\.DT +[0-9]{1,9} *+")


def parse_ink(content: bytes, name: str) -> Ink:
    """Read a UNIPEN file of digits, laid out like this::

        .SEGMENT DIGIT    6-7 ? "4"         the digit 4, written in strokes 6 to 7 of the file
        .COMMENT 4  1  117                  the digit, its writer, the number of this writer's sample
        .PEN_DOWN
         240  310                           x and y, a line a point
        .PEN_UP
        .DT 100                             the pause after the stroke

    The time taken is in proportion to the file's length, whatever is in it.

    Args:
        name: the file's name, for messages.

    Raises:
        DataError: naming the first line that does not belong where it stands.
    """
    lines = _Lines(content, name)
    lines.skip(lambda line: not line or (line.startswith(b".") and not line.startswith(b".SEGMENT")))
    about, samples, strokes, points = [], [0], [0], []
    while not lines.at_end():
        digit, writer, number, n_strokes = _read_heading(lines, n_before=samples[-1])
        about.append((digit, writer, number))
        for _ in range(n_strokes):
            lines.take(_PEN_DOWN, "`.PEN_DOWN`")
            path = lines.take_all(_POINT, "a point such as ` 240  310`")
            points += path
            strokes.append(strokes[-1] + len(path))
            lines.take(_PEN_UP, "a point or `.PEN_UP`")
            lines.take(_PAUSE, "a pause such as `.DT 100`")
        samples.append(samples[-1] + n_strokes)
        lines.skip(lambda line: not line.strip())
    if not about:
        lines.fail('a digit such as `.SEGMENT DIGIT 6-7 ? "4"`')
    digits, writers, numbers = np.array(about, dtype=np.int64).T
    return Ink(
        _integers(b" ".join(points)).reshape(-1, 2), np.array(strokes), np.array(samples), digits, writers, numbers
    )


def _read_heading(lines: "_Lines", n_before: int) -> tuple[int, int, int, int]:
    """Read .SEGMENT and .COMMENT of a sample that ``n_before`` strokes precede: digit, writer, number, strokes."""
    first, last, digit = lines.take(_SEGMENT, 'a digit such as `.SEGMENT DIGIT 6-7 ? "4"`')
    n_strokes = int(last or first) - int(first) + 1
    if int(first) != n_before or n_strokes < 1:
        lines.fail(f"strokes numbered from {n_before}", back=1)
    same_digit, writer, number = lines.take(_COMMENT, "digit, writer and sample such as `.COMMENT 4 1 117`")
    if same_digit != digit:
        lines.fail(f"the digit of the line above, {int(digit)}", back=1)
    return int(digit), int(writer), int(number), n_strokes


class _Lines:
    """The lines of a file, taken one after the other."""

    def __init__(self, content: bytes, name: str) -> None:
        self._lines = content.splitlines()
        self._name = name
        self._at = 0

    def at_end(self) -> bool:
        return self._at == len(self._lines)

    def skip(self, unwanted: Callable[[bytes], bool]) -> None:
        while not self.at_end() and unwanted(self._lines[self._at]):
            self._at += 1

    def take(self, pattern: re.Pattern[bytes], expected: str) -> tuple[bytes, ...]:
        """Take the next line and return the groups of the pattern, which it must match."""
        match = None if self.at_end() else pattern.fullmatch(self._lines[self._at])
        if not match:
            self.fail(expected)
        self._at += 1
        return match.groups()

    def take_all(self, pattern: re.Pattern[bytes], expected: str) -> list[bytes]:
        """Take the lines from here on that match, at least one."""
        start = self._at
        self.skip(lambda line: pattern.fullmatch(line) is not None)
        if self._at == start:
            self.fail(expected)
        return self._lines[start : self._at]

    def fail(self, expected: str, back: int = 0) -> NoReturn:
        """Name the next line, or the one ``back`` lines before it, and what should stand there."""
        at = self._at - back
        found = _shown(self._lines[at]) if at < len(self._lines) else "the end of the file"
        raise DataError(f"{self._name}, line {at + 1}: expected {expected}, got {found}")


def format_ink(ink: Ink) -> bytes:
    """Write ink as a UNIPEN file in the form of the real ones: the inverse of ``parse_ink``."""
    parts = ['.LEXICON "0" "1" "2" "3" "4" "5" "6" "7" "8" "9"\n.HIERARCHY      DIGIT\n']
    numbers = ink.samples.tolist()
    about = zip(ink.digit.tolist(), ink.writer.tolist(), ink.number.tolist(), strict=True)
    for i, (digit, writer, number) in enumerate(about):
        first, last = numbers[i], numbers[i + 1] - 1
        strokes = f"{first:4d}" if first == last else f"{first:4d}-{last}"
        parts.append(f'\n.SEGMENT DIGIT {strokes} ? "{digit}"\n.COMMENT {digit} {writer:2d} {number:4d}\n')
        for stroke in ink[i]:
            points = (len(stroke) * "%4d %4d\n") % tuple(stroke.ravel().tolist())
            parts.append(f".PEN_DOWN\n{points}.PEN_UP\n.DT 100\n")
    return "".join(parts).encode()


def _integers(text: bytes, separator: str = " ") -> NDArray[np.int64]:
    """Read whole numbers that were found to be well written before."""
    return np.fromstring(text, dtype=np.int64, sep=separator)


def _shown(text: bytes) -> str:
    """Text from a file, made fit for a message: short, and with nothing in it that a terminal would act on."""
    shown = repr(text[:60].decode("utf-8", errors="replace"))
    return shown if len(text) <= 60 else shown[:-1] + "...'"
