"""The data set: digits written with a pen by 44 people; where it comes from, and how its files are read and written.

Each of its two parts, training and test, is two text files with the same digits in the same order. The *ink* is what
the tablet recorded: the strokes of the pen, in tablet units, with digit and writer. The *table* is what is left of it:
a row a digit, eight points of the pen's path, as x1, y1, ..., x8, y8 from 0 to 100, y upwards, and the digit.

Source: E. Alpaydin and F. Alimoglu (1996), Pen-Based Recognition of Handwritten Digits, UCI Machine Learning
Repository.
"""

import hashlib
import re
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pen.ink import N_POINTS, DataError

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

    def is_in(self, content: bytes) -> bool:
        """Whether a content is that of the file."""
        return len(content) == self.size and hashlib.sha256(content).hexdigest() == self.sha256


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
FEATURES = tuple(f"{axis}{point}" for point in range(1, N_POINTS + 1) for axis in "xy")  # x1, y1, ..., x8, y8
COLUMNS = (*FEATURES, "digit", "writer")  # of the tables in data/processed


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
    values = integers(b",".join(lines), separator=",").reshape(len(lines), 17)
    return values[:, :16].copy(), values[:, 16].copy()


def _row_fault(line: bytes) -> str:
    """What is wrong with a line that is not a row of the table."""
    fields = line.split(b",", maxsplit=1000)
    if len(fields) != 17:
        return f"{len(fields) if line.strip() else 'no'} values instead of 17"
    for column, field in zip(COLUMNS[:17], fields, strict=True):
        highest = 9 if column == "digit" else 100
        if not re.fullmatch(rb" *+[0-9]{1,4} *+", field) or int(field) > highest:
            return f"{column} must be a whole number from 0 to {highest}, got {shown(field.strip(b' '))}"
    return f"not written as a row of the table: {shown(line)}"


def format_table(X: NDArray[np.int64], digit: NDArray[np.int64]) -> bytes:
    """Write a table in the form of the real files: the inverse of ``parse_table``."""
    rows = np.column_stack([X, digit]).tolist()
    return "".join(map((16 * "%3d," + "%2d\n").__mod__, map(tuple, rows))).encode()


def integers(text: bytes, separator: str = " ") -> NDArray[np.int64]:
    """Read whole numbers that were found to be well written before."""
    return np.fromstring(text, dtype=np.int64, sep=separator)


def shown(text: bytes) -> str:
    """Text from a file, made fit for a message: short, and with nothing in it that a terminal would act on."""
    said = repr(text[:60].decode("utf-8", errors="replace"))
    return said if len(text) <= 60 else said[:-1] + "...'"
