"""The digits that the page shows and measures with: those of data/split, or generated ones where there are none."""

from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_sets import synthetic
from pen.features import FEATURE_SETS
from pen.ink import Ink
from pen.strokes import Strokes, strokes_of
from pipeline.errors import StageError
from pipeline.paths import SPLIT
from pipeline.rows import Rows, read_rows

MEASURED = 500  # held-out digits


class Part(NamedTuple):
    """Some digits: their ink, their table of eight points, and who wrote what."""

    strokes: Strokes
    table: NDArray[np.float32]  # (n, 16), -1 to 1
    y: NDArray[np.int64]
    writer: NDArray[np.int64]

    def rows(self, features: str) -> NDArray[np.float32]:
        """What a network reads of them, (n, features)."""
        return self.table if features == "table" else FEATURE_SETS[features].of(self.strokes)

    def take(self, chosen: NDArray) -> "Part":
        """Some of the digits."""
        return Part(self.strokes.take(chosen), self.table[chosen], self.y[chosen], self.writer[chosen])


class Shelf:
    """The training digits, and those of the writers whom split holds out for validation. The test file is not here."""

    @cached_property
    def _parts(self) -> tuple[str, Part, Part]:
        try:
            return "split", _read("train"), _read("validation")
        except (OSError, StageError):  # not fetched yet, or of another data set
            made, others = synthetic.make_data_set(40, np.random.default_rng(0))
            return "synthetic", _part(made), _part(others)

    @property
    def origin(self) -> str:
        """``split`` for digits of data/split, ``synthetic`` for generated ones."""
        return self._parts[0]

    @property
    def training(self) -> Part:
        """Digits to train with."""
        return self._parts[1]

    @property
    def held_out(self) -> Part:
        """Digits of the held-out writers."""
        return self._parts[2]

    @cached_property
    def measured(self) -> Part:
        """500 held-out digits, evenly spread over their rows, with which accuracies are measured."""
        n = len(self.held_out.y)
        return self.held_out.take(np.linspace(0, n - 1, min(MEASURED, n)).astype(np.intp))


def _read(name: str) -> Part:
    for features in FEATURE_SETS:
        try:
            rows: Rows = read_rows(name, FEATURE_SETS[features].size, with_ink=True)
        except StageError:
            continue
        if rows.strokes is not None:
            table = rows.X if features == "table" else FEATURE_SETS["table"].of(rows.strokes)
            return Part(rows.strokes, table, rows.y, rows.writer)
    raise StageError(f"{SPLIT} holds no digits that the page can show")


def _part(ink: Ink) -> Part:
    strokes = strokes_of(ink)
    return Part(strokes, FEATURE_SETS["table"].of(strokes), ink.digit, ink.writer)
