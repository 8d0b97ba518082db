"""Copies of pendigits in other forms: the table as CSV or ARFF, with other line ends, and no ink.

OpenML's data set 32 holds the training rows and then the test rows, in columns input1 to input16 and class. Others add
a header or a byte order mark, or write numbers as 8.0. Such a copy is written as UCI's own table and then held against
its SHA-256, so one changed digit is found.
"""

import re
from collections.abc import Iterable

import numpy as np

from .pendigits import MEMBERS, TRAINING, Member, format_table

LIMIT = 2_000_000  # bytes of a file; OpenML's ARFF has 0.6 million
_BOM = b"\xef\xbb\xbf"


def official(content: bytes, member: Member) -> bytes:
    """A file of the data set as UCI has it, of a copy with other line ends, a header or the like.

    The content is returned as it is if it is no such copy.
    """
    plain = content.removeprefix(_BOM).replace(b"\r\n", b"\n")
    return plain if member.is_in(plain) else official_tables([content]).get(member.name, content)


def official_tables(contents: Iterable[bytes]) -> dict[str, bytes]:
    """The data set's two tables as UCI has them, by name: those that are in the files, apart or in one."""
    found: dict[str, bytes] = {}
    for content in contents:
        rows = _rows(content)
        for part in (rows, rows[: TRAINING.rows], rows[TRAINING.rows :]):
            table = format_table(part[:, :16], part[:, 16])
            found |= {member.name: table for member in MEMBERS if member.is_in(table)}
    return found


def count_rows(content: bytes) -> int:
    """How many rows in the form of the tables, whatever their values, a file holds; 0 if it is something else."""
    return len(_rows(content))


def _rows(content: bytes) -> np.ndarray:
    """The rows of a text file with 17 whole numbers in each, (n, 17); none if it is something else."""
    none = np.empty((0, 17), np.int64)
    if len(content) > LIMIT:
        return none
    text = re.sub(r"[,;\t]", " ", re.sub("[\"']", "", content.decode("utf-8-sig", errors="replace")))
    lines = [line for line in text.splitlines() if line.strip() and line.lstrip()[0] not in "@%"]  # ARFF's heading
    if lines and re.search("[A-Za-z]", lines[0]):
        del lines[0]
    try:
        values = np.array([line.split() for line in lines], dtype=np.float64)
    except ValueError:  # words, or rows of different lengths
        return none
    whole = values.ndim == 2 and values.shape[1] == 17 and bool((values == np.clip(np.rint(values), 0, 100)).all())
    return values.astype(np.int64) if whole else none
