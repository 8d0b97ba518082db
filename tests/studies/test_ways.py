"""Ways of writing that are held out: which they are, that no row of one is trained on, and what the table says."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import train
from pen.strokes import N_DENSE, Strokes
from pipeline.errors import StageError
from pipeline.params import Params
from pipeline.rows import Rows
from studies import cross_validate
from studies.folds import Data, jobs_of
from studies.ways import ways_of


def rows_of(groups: list[tuple[int, int, int, tuple[float, float]]]) -> Rows:
    """Rows by groups of (how many, digit, strokes, where the pen ends); all start at the top left."""
    points, stroke, digit = [], [], []
    for n, of, strokes, end in groups:
        for _ in range(n):
            points.append(np.linspace((-0.5, 0.5), end, N_DENSE))
            stroke.append(np.arange(N_DENSE) * strokes // N_DENSE)
            digit.append(of)
    total, y = len(digit), np.array(digit)
    strokes_ = Strokes(np.array(points, np.float32), np.array(stroke, np.int8))
    return Rows(np.zeros((total, 16), np.float32), y, np.arange(total) % 3, np.arange(total), strokes_)


LOW, HIGH = (0.5, -0.5), (0.5, 0.5)
ROWS = rows_of([(20, 7, 2, LOW), (8, 7, 1, LOW), (7, 7, 4, LOW), (20, 3, 1, HIGH), (10, 3, 1, LOW), (9, 1, 1, LOW)])


def test_ways_are_rare_have_eight_rows_and_are_named_once() -> None:
    """Seven 7s in four strokes are too few; all 1s are written in one way; the low 3s are named by their end."""
    found = ways_of(ROWS.strokes, ROWS.y)
    assert {name: np.flatnonzero(rows).tolist() for name, rows in found.items()} == {
        "3 ends at the bottom right": list(range(55, 65)),
        "7 in one stroke": list(range(20, 28)),
    }
    with pytest.raises(StageError, match="no way of writing has 8 rows or more and is rarer than 40% of its digit"):
        ways_of(ROWS.strokes.take(ROWS.y == 1), ROWS.y[ROWS.y == 1])  # type: ignore[union-attr]
    with pytest.raises(StageError, match="this data set has none"):
        ways_of(None, ROWS.y)


def test_no_row_of_a_way_is_trained_on_and_all_ways_count_as_much(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[int]] = []

    def spy(params: Params, training: Rows, *_: Any, **__: Any) -> tuple[SimpleNamespace, None]:
        seen.append(training.row.tolist())
        p = np.tile((np.eye(10)[3] * 8 + 0.2) / 10, (100, 1))  # 0.82 for a 3, 0.02 for the others
        return SimpleNamespace(probabilities=lambda X: p[: len(X)]), None

    monkeypatch.setattr(train, "train", spy)
    data = Data(ROWS)
    params = Params.model_construct(seed=4, early_stopping=None)
    outcomes = cross_validate.outcomes_of(
        jobs_of(params, len(data.ways()), 2, hold="ways"), cross_validate.trained_here(data)
    )
    everything = set(range(len(ROWS.y)))
    assert [everything - set(rows) for rows in seen] == [set(range(55, 65)), set(range(20, 28))] * 2
    lines = cross_validate.table_of_ways(outcomes, data).splitlines()
    assert [line.split()[:3] for line in lines[1:3]] == [["7", "in", "one"], ["3", "ends", "at"]]  # the worst first
    rows, right, losses = ([float(line.split()[place]) for line in lines[1:3]] for place in (-3, -2, -1))
    assert (rows, right) == ([8, 10], [0, 100])
    assert [float(number) for number in lines[3].split()[-2:]] == [50, pytest.approx(np.mean(losses), abs=1e-4)]
