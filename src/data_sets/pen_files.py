"""Data sets in the four files of pendigits: a table and the ink of the training part, and of the test part."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pen.ink import DataError, Ink
from pen.strokes import strokes_of
from pipeline.schema import Schema
from utils import scale_features

from .data_set import Part as Rows
from .pendigits import FEATURES, TEST, TRAINING, Part, parse_table
from .unipen import parse_ink

if TYPE_CHECKING:
    import pandas as pd


class PenDigits:
    """Pen-written digits.

    Args:
        name: of the data set.
        rows: how many rows the two parts must have; None: as many as there is ink.
    """

    def __init__(self, name: str, rows: Sequence[int] | None = None) -> None:
        self.name, self.rows = name, rows

    def files(self) -> dict[str, bytes] | None:
        return None

    def parts(self, folder: Path) -> tuple[Schema, dict[str, Rows]]:
        parts = {}
        with_ink = any((folder / part.ink).exists() for part in (TRAINING, TEST))  # a copy of the tables has none
        for i, (part, name) in enumerate(((TRAINING, "training"), (TEST, "test"))):
            X, digit = parse_table((folder / part.table).read_bytes(), part.table)
            said = f"{len(digit):,} digits by {part.writers} writers"
            if not with_ink:
                unknown = np.zeros(len(digit), np.int64)
                parts[name] = Rows(table_of(scale_features(X), digit, unknown), f"{said}, without ink", None)
                continue
            ink = parse_ink((folder / part.ink).read_bytes(), part.ink)
            features, writer = join(X, digit, ink, part, len(ink) if self.rows is None else self.rows[i])
            parts[name] = Rows(table_of(features, digit, writer), said, strokes_of(ink))
        return Schema(dataset=self.name, group="writer" if with_ink else None), parts


def join(
    X: NDArray[np.int64], digit: NDArray[np.int64], ink: Ink, part: Part, n_rows: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Scale the table's coordinates, and find each row's writer: row i is sample i of the ink.

    Args:
        X: (n, 16) from 0 to 100; digit: (n,).
        part: the part of the data set that the files belong to.
        n_rows: how many rows there must be.

    Returns:
        The coordinates from -1 to 1, (n, 16), and the writers, (n,). Nothing is fitted to the rows: the bounds are the
        tablet's.

    Raises:
        DataError: if rows are missing, table and ink disagree on a digit, or the writers are not the part's.
    """
    for name, found in ((part.table, len(digit)), (part.ink, len(ink))):
        if found != n_rows:
            raise DataError(f"{name} holds {found:,} digits instead of {n_rows:,}")
    for row in np.flatnonzero(digit != ink.digit)[:1]:
        raise DataError(
            f"{part.table}, line {row + 1}: the digit is {digit[row]}, but number {row + 1} in {part.ink} is"
            f" {ink.digit[row]}"
        )
    if not np.array_equal(np.unique(ink.writer), np.arange(1, part.writers + 1)):
        numbers = ", ".join(map(str, np.unique(ink.writer)[: part.writers + 1]))
        raise DataError(f"{part.ink}: the writers must be 1 to {part.writers}, got {numbers}")
    return scale_features(X), ink.writer


def table_of(features: NDArray[np.float64], digit: NDArray[np.int64], writer: NDArray[np.int64]) -> "pd.DataFrame":
    """A row a digit, with its coordinates, the digit and the writer."""
    import pandas as pd

    columns = dict(zip(FEATURES, features.T, strict=True))
    return pd.DataFrame(columns | {"digit": digit, "writer": writer})
