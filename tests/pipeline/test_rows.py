"""Rows and tables come back as they were written, and other files are rejected with a remedy."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pen.strokes import N_DENSE, Strokes
from pipeline.errors import StageError
from pipeline.paths import SPLIT
from pipeline.rows import Rows, read_rows, rows_npz
from pipeline.tables import columns_csv, read_table, records_csv, table_csv

INK = Strokes(np.zeros((2, N_DENSE, 2), np.float32), np.zeros((2, N_DENSE), np.int8))
GOOD = Rows(np.zeros((2, 16), np.float32), np.array([0, 9]), np.array([1, 2]), np.array([5, 7]), INK)


@pytest.fixture
def test_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    SPLIT.mkdir(parents=True)
    return SPLIT / "test.npz"


@pytest.mark.parametrize(("changes", "fault"), [
    ({"X": np.zeros((2, 15), np.float32)}, "holds no rows of 16 features"),
    ({"X": np.zeros((2, 16))}, "holds no rows of 16 features"), ({"y": np.zeros(3, np.int64)}, "holds no rows"),
    ({"row": np.zeros(2)}, "holds no rows"),
    ({name: getattr(GOOD, name)[:0] for name in ("X", "y", "writer", "row")}, "holds no rows"),
    ({"X": np.full((2, 16), np.nan, np.float32)}, "not features or labels"),
    ({"y": np.array([0, 10])}, "not features or labels"), ({"y": np.array([-1, 0])}, "not features or labels"),
    (None, "is damaged"),
])  # fmt: skip
def test_what_is_no_rows_is_refused(test_file: Path, changes: dict[str, np.ndarray] | None, fault: str) -> None:
    test_file.write_bytes(rows_npz(GOOD))
    for array, expected in zip(read_rows("test", 16)[:4], GOOD[:4], strict=True):
        np.testing.assert_array_equal(array, expected)
    test_file.write_bytes(b"PK" if changes is None else rows_npz(GOOD._replace(**changes)))
    with pytest.raises(StageError, match=rf"^data/split/test\.npz .*{fault}.*; `dvc repro` makes it again"):
        read_rows("test", 16)


def test_rows_are_taken_and_put_together() -> None:
    first, last = GOOD.take(np.array([True, False])), GOOD.take(np.array([1]))
    for array, expected in zip(first.and_also(last)[:4], GOOD[:4], strict=True):
        np.testing.assert_array_equal(array, expected)
    assert len(first.and_also(last).strokes.points) == 2
    assert first.and_also(last._replace(strokes=None)).strokes is None


@given(numbers=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_a_table_gives_back_the_very_same_numbers(
    tmp_path_factory: pytest.TempPathFactory, numbers: list[float]
) -> None:
    path = tmp_path_factory.getbasetemp() / "table.csv"
    path.write_bytes(table_csv(pd.DataFrame({"x": numbers})))
    assert read_table(path, ["x"])["x"].astype(float).tolist() == numbers


def test_columns_are_written_as_pandas_writes_them() -> None:
    small = np.array([0.1, 1e-7, 123456.75, -np.inf, np.nan], np.float32)
    columns = {"a, b": np.arange(5), "x": small, "of": np.array(["", 'say "a"', "a\nb", "0", "é"]), "y": small + 1 / 3}
    for numbers in ("%.6f", "%.6g"):
        assert columns_csv(columns, numbers) == table_csv(pd.DataFrame(columns), numbers)
    records = [{"epoch": 1, "lr": 0.5}, {"epoch": 2, "lr": 1 / 3, "more": 1.0}]
    table = pd.DataFrame.from_records(records, columns=["epoch", "lr", "more"])
    assert records_csv(records, ["epoch", "lr", "more"]) == table_csv(table, "%.6g")
    assert records_csv([], ["epoch", "lr"]) == b"epoch,lr\n"
