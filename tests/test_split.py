"""Stage split: whole writers or random rows, no row on two sides, and what cannot work is refused by its parameter."""

import hashlib
from pathlib import Path
from typing import Any

from runtime import script

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import fetch
import preprocess
import split
from pen.features import FEATURE_SETS
from pipeline.errors import StageError
from pipeline.params import Params, load_params
from pipeline.paths import PROCESSED, SPLIT
from pipeline.rows import Rows, read_rows, read_strokes

PARAMS = load_params(Path(__file__).parent.parent / "params.yaml")

# 6 writers, each with 5 rows of each digit
Y = np.tile(np.arange(10), 30)
WRITER = np.repeat(np.arange(1, 7), 50)


def choose(y: np.ndarray = Y, **changes: object) -> np.ndarray:
    return split.choose_validation(y, WRITER, PARAMS.model_copy(update=changes))


@given(validation_writers=st.integers(1, 5), seed=st.integers(0, 2**63 - 1))
def test_whole_writers(validation_writers: int, seed: int) -> None:
    held_out = choose(split_by="writer", validation_writers=validation_writers, split_seed=seed)
    assert len(set(WRITER[held_out])) == validation_writers
    assert not set(WRITER[held_out]) & set(WRITER[~held_out])
    assert held_out.sum() == 50 * validation_writers


def held_out_writers(seed: int) -> list[int]:
    return np.unique(WRITER[choose(split_by="writer", validation_writers=2, split_seed=seed)]).tolist()


HOLDS_OUT_2 = next(seed for seed in range(40) if 2 in held_out_writers(seed))


def test_the_seed_chooses_the_writers_and_random_rows_come_from_all() -> None:
    by_seed = {tuple(held_out_writers(seed)) for seed in range(40)}
    assert len(by_seed) > 10  # of the 15 pairs of 6 writers
    assert held_out_writers(3) == held_out_writers(3)
    held_out = choose(split_by="random", validation_fraction=0.3)
    assert set(WRITER[held_out]) == set(WRITER[~held_out]) == set(range(1, 7))


@given(fraction=st.floats(0.05, 0.9), seed=st.integers(0, 2**63 - 1))
def test_random_rows_hold_out_the_same_share_of_each_digit(fraction: float, seed: int) -> None:
    held_out = choose(split_by="random", validation_fraction=fraction, split_seed=seed)
    counts = np.bincount(Y[held_out], minlength=10)
    assert counts.min() == counts.max()
    assert abs(counts[0] - 30 * fraction) <= 0.5


@pytest.mark.parametrize(("changes", "y", "fault"), [
    *(({"split_by": "writer", "validation_writers": n}, Y, f"{n} must be less than the number of writers, which is 6")
      for n in (6, 7, 10**12)),
    ({"split_by": "writer", "validation_writers": 2, "split_seed": HOLDS_OUT_2},
     np.where((WRITER != 2) & (Y == 7), 1, Y), "2 leaves no 7 to learn from"),  # writer 2 alone writes a 7
    ({"split_by": "random", "validation_fraction": 0.001}, Y, "0.001 leaves no row on one side; there are 300 rows"),
    ({"split_by": "random", "validation_fraction": 0.2}, np.minimum(Y, 8), "0.2 leaves no 9 to learn from"),
])  # fmt: skip
def test_what_would_leave_too_little_is_refused(changes: dict[str, object], y: np.ndarray, fault: str) -> None:
    with pytest.raises(StageError) as error:
        choose(y, **changes)
    key = "validation_writers" if changes["split_by"] == "writer" else "validation_fraction"
    assert str(error.value) == f"params.yaml: {key}: {fault}"


def test_every_second_drawing_of_a_digit_is_held_out_and_stays_so_when_more_come() -> None:
    held_out = split.every_second(np.array([7, 7, 0, 7, 0, 7, 0]))
    assert held_out.tolist() == [False, True, False, False, True, True, False]


@pytest.fixture
def processed(workspace: Path) -> Path:
    """A folder in which fetch and preprocess have run."""
    fetch.main()
    preprocess.main()
    return workspace


def change_params(folder: Path, **changes: object) -> Params:
    values = yaml.safe_load((folder / "params.yaml").read_text()) | changes
    (folder / "params.yaml").write_text(yaml.safe_dump(values))
    return load_params()


def written(size: int) -> dict[str, Rows]:
    return {name: read_rows(name, size, with_ink=name != "test") for name in ("train", "validation", "test")}


@pytest.mark.parametrize("features", ["table", "ink"])
def test_arrays_hold_the_rows_of_the_tables(processed: Path, capsys: Any, features: str) -> None:
    change_params(processed, features=features)
    split.main()
    assert "train: 240 rows by 24 writers\nvalidation: 60 rows by 6 writers\ntest: 140 rows by 14 writers\n" in (
        capsys.readouterr().out
    )
    found = written(FEATURE_SETS[features].size)
    for name, rows in found.items():
        part = "test" if name == "test" else "training"
        table = np.loadtxt(PROCESSED / f"{part}.csv", delimiter=",", skiprows=1)
        ink = read_strokes(PROCESSED / f"{part}_ink.npz", len(table)).take(rows.row)
        expected = table[rows.row, :16].astype(np.float32) if features == "table" else FEATURE_SETS["ink"].of(ink)
        np.testing.assert_allclose(rows.X, expected, atol=1e-6)
        np.testing.assert_array_equal(rows.y, table[rows.row, 16])
        np.testing.assert_array_equal(rows.writer, table[rows.row, 17])
        if rows.strokes is not None:
            np.testing.assert_array_equal(rows.strokes.points, ink.points)
    assert sorted([*found["train"].row, *found["validation"].row]) == list(range(300))
    assert found["test"].row.tolist() == list(range(140))
    assert all((np.diff(rows.row) > 0).all() for rows in found.values())


GOLDEN = {
    "test.csv": "5fc3f4df72bcc3a9", "test_ink.npz": "cfeee14d63a331a3", "training.csv": "dbbcd0c8582d0b92",
    "training_ink.npz": "564cab908315342e", "pendigits-orig.tes": "cdfecd9d71fe41dc",
    "pendigits-orig.tra": "0926a1abe4ba4c8f", "pendigits.tes": "8ac9e7230849f226", "pendigits.tra": "a2c342c6b4316e79",
    "test.npz": "cacd7e4f31a79f2b", "train.npz": "30ed00710de2e37a", "train_ink.npz": "4c2b56e46d38391e",
    "schema.json": "6967adb527e267ad", "validation.npz": "80c22996b979e90e", "validation_ink.npz": "1125240622316db6",
    **dict.fromkeys(("drawings.npz", "drawings_ink.npz", "drawings_test.npz"), "8739c76e681f9009"),  # there are none
}  # fmt: skip


def test_the_data_stages_write_the_same_bytes_everywhere(processed: Path) -> None:
    """With every Python and on every machine, so that all have one dvc.lock."""
    split.main()
    files = sorted(path for path in (processed / "data").rglob("*") if path.is_file())
    assert {path.name: hashlib.sha256(path.read_bytes()).hexdigest()[:16] for path in files} == GOLDEN


def test_a_refused_split_writes_nothing(processed: Path, capsys: Any) -> None:
    change_params(processed, split_by="random", validation_fraction=0.001)
    with pytest.raises(SystemExit) as end:
        script.run(split.main)
    assert end.value.code == 1
    assert "params.yaml: validation_fraction: 0.001 leaves no row on one side" in capsys.readouterr().err
    assert not SPLIT.exists()


HEADER = "x1,y1,x2,y2,x3,y3,x4,y4,x5,y5,x6,y6,x7,y7,x8,y8,digit,writer\n"
GOOD = 16 * "0.5," + "3,1\n"


@pytest.mark.parametrize(("text", "fault"), [
    ("", "is not a table"),
    (HEADER, "the column x1 must hold finite numbers"),
    (GOOD, "has no column x1"),
    (HEADER + GOOD + "0.5,1\n", "is not a table"),
    (HEADER + GOOD.replace("0.5", "1.5", 1), "must have coordinates from -1 to 1"),
    (HEADER + GOOD.replace("0.5", "nan", 1), "the column x1 must hold finite numbers"),
    (HEADER + GOOD.replace("0.5", "inf", 1), "the column x1 must hold finite numbers"),
    (HEADER + GOOD.replace("3,1", "10,1"), "must have digits from 0 to 9"),
    (HEADER + GOOD.replace("3,1", "3.5,1"), "must have digits from 0 to 9"),
    (HEADER + GOOD.replace("3,1", "3,0"), "must have digits from 0 to 9 and writers from 1"),
    (HEADER + GOOD.replace("3,1", "3,1e300"), "must have digits from 0 to 9 and writers from 1"),
])  # fmt: skip
def test_a_table_that_preprocess_did_not_write(workspace: Path, text: str, fault: str) -> None:
    PROCESSED.mkdir(parents=True)
    (PROCESSED / "training.csv").write_text(text)
    with pytest.raises(StageError, match=rf"^data/processed/training\.csv:? {fault}.*; `dvc repro` makes it again$"):
        split.read_part("training", "table")
