"""Stage split: whole writers or random rows, no row on two sides, and what cannot work is refused by its parameter."""

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fetch
import preprocess
import split
from pen.features import FEATURE_SETS
from pen.strokes import read_strokes
from pipeline.errors import StageError
from pipeline.params import Params, load_params
from runtime import script

ROOT = Path(__file__).parent.parent
PARAMS = load_params(ROOT / "params.yaml")


def params(**changes: object) -> Params:
    return PARAMS.model_copy(update=changes)


# 6 writers, each with 5 rows of each digit
Y = np.tile(np.arange(10), 30)
WRITER = np.repeat(np.arange(1, 7), 50)


# --- By writer -------------------------------------------------------------------------------------


@given(validation_writers=st.integers(1, 5), seed=st.integers(0, 2**63 - 1))
def test_whole_writers(validation_writers: int, seed: int) -> None:
    chosen = params(split_by="writer", validation_writers=validation_writers, split_seed=seed)
    held_out = split.choose_validation(Y, WRITER, chosen)
    assert len(set(WRITER[held_out])) == validation_writers
    assert not set(WRITER[held_out]) & set(WRITER[~held_out])
    assert held_out.sum() == 50 * validation_writers


def test_the_seed_chooses_the_writers() -> None:
    by_seed = {tuple(held_out_writers(seed)) for seed in range(40)}
    assert len(by_seed) > 10  # of the 15 pairs of 6 writers
    assert held_out_writers(3) == held_out_writers(3)


def held_out_writers(seed: int) -> list[int]:
    chosen = params(split_by="writer", validation_writers=2, split_seed=seed)
    return np.unique(WRITER[split.choose_validation(Y, WRITER, chosen)]).tolist()


@pytest.mark.parametrize("validation_writers", [6, 7, 10**12])
def test_some_writers_must_remain(validation_writers: int) -> None:
    with pytest.raises(StageError) as error:
        split.choose_validation(Y, WRITER, params(split_by="writer", validation_writers=validation_writers))
    assert str(error.value) == (
        f"params.yaml: validation_writers: {validation_writers} must be less than the number of writers, which is 6"
    )


def test_every_digit_must_remain() -> None:
    y = np.where((WRITER != 2) & (Y == 7), 1, Y)  # writer 2 alone writes a 7
    seed = next(seed for seed in range(40) if 2 in held_out_writers(seed))
    with pytest.raises(StageError, match=r"^params\.yaml: validation_writers: 2 leaves no 7 to learn from$"):
        split.choose_validation(y, WRITER, params(split_by="writer", validation_writers=2, split_seed=seed))


# --- Random rows -----------------------------------------------------------------------------------


@given(fraction=st.floats(0.05, 0.9), seed=st.integers(0, 2**63 - 1))
def test_random_rows_hold_out_the_same_share_of_each_digit(fraction: float, seed: int) -> None:
    chosen = params(split_by="random", validation_fraction=fraction, split_seed=seed)
    held_out = split.choose_validation(Y, WRITER, chosen)
    counts = np.bincount(Y[held_out], minlength=10)
    assert counts.min() == counts.max()
    assert abs(counts[0] - 30 * fraction) <= 0.5


def test_random_rows_come_from_all_writers() -> None:
    held_out = split.choose_validation(Y, WRITER, params(split_by="random", validation_fraction=0.3))
    assert set(WRITER[held_out]) == set(WRITER[~held_out]) == set(range(1, 7))


def test_too_few_rows() -> None:
    with pytest.raises(
        StageError, match=r"^params\.yaml: validation_fraction: 0\.001 leaves no row on one side; there are 300"
    ):
        split.choose_validation(Y, WRITER, params(split_by="random", validation_fraction=0.001))


def test_a_digit_that_nobody_wrote() -> None:
    with pytest.raises(StageError, match=r"^params\.yaml: validation_fraction: 0\.2 leaves no 9 to learn from$"):
        split.choose_validation(np.minimum(Y, 8), WRITER, params(split_by="random", validation_fraction=0.2))


# --- The script ------------------------------------------------------------------------------------


@pytest.fixture
def processed(workspace: Path) -> Path:
    """A folder in which fetch and preprocess have run."""
    fetch.main()
    preprocess.main()
    return workspace


def arrays(folder: Path) -> dict[str, dict[str, np.ndarray]]:
    found = {}
    for name in ("train", "validation", "test"):
        with np.load(folder / "data" / "split" / f"{name}.npz", allow_pickle=False) as file:
            found[name] = dict(file)
    return found


def test_arrays_hold_the_rows_of_the_tables(processed: Path, capsys: Any) -> None:
    split.main()
    assert "train: 240 rows by 24 writers\nvalidation: 60 rows by 6 writers\ntest: 140 rows by 14 writers\n" in (
        capsys.readouterr().out
    )
    for name, rows in arrays(processed).items():
        assert {key: (array.dtype, array.shape[1:]) for key, array in rows.items()} == {
            "X": (np.float32, (16,)),
            "y": (np.int64, ()),
            "writer": (np.int64, ()),
            "row": (np.int64, ()),
        }
        table = np.loadtxt(
            processed / "data" / "processed" / f"{'test' if name == 'test' else 'training'}.csv",
            delimiter=",",
            skiprows=1,
        )[rows["row"]]
        np.testing.assert_array_equal(rows["X"], table[:, :16].astype(np.float32))
        np.testing.assert_array_equal(rows["y"], table[:, 16])
        np.testing.assert_array_equal(rows["writer"], table[:, 17])


def test_rows_of_ink_hold_what_the_ink_gives(processed: Path) -> None:
    (processed / "params.yaml").write_text(
        (processed / "params.yaml").read_text().replace("features: table", "features: ink")
    )
    split.main()
    for name, rows in arrays(processed).items():
        part = "test" if name == "test" else "training"
        ink = read_strokes(processed / "data" / "processed" / f"{part}_ink.npz").take(rows["row"])
        np.testing.assert_allclose(rows["X"], FEATURE_SETS["ink"].of(ink), atol=1e-6)
        table = np.loadtxt(processed / "data" / "processed" / f"{part}.csv", delimiter=",", skiprows=1)
        np.testing.assert_array_equal(rows["y"], table[rows["row"], 16])


def test_no_row_is_on_two_sides(processed: Path) -> None:
    split.main()
    found = arrays(processed)
    assert sorted([*found["train"]["row"], *found["validation"]["row"]]) == list(range(300))
    assert found["test"]["row"].tolist() == list(range(140))
    assert all((np.diff(rows["row"]) > 0).all() for rows in found.values())


def test_same_bytes_again(processed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    split.main()
    path = processed / "data" / "split" / "train.npz"
    first = path.read_bytes()
    monkeypatch.setattr("time.time", lambda: 2e9)
    split.main()
    assert path.read_bytes() == first
    with zipfile.ZipFile(io.BytesIO(first)) as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_a_refused_split_writes_nothing(processed: Path, capsys: Any) -> None:
    text = (processed / "params.yaml").read_text()
    text = text.replace("split_by: writer", "split_by: random")
    (processed / "params.yaml").write_text(text.replace("validation_fraction: 0.2", "validation_fraction: 0.001"))
    with pytest.raises(SystemExit) as end:
        script.run(split.main)
    assert end.value.code == 1
    assert capsys.readouterr().err == (
        "params.yaml: validation_fraction: 0.001 leaves no row on one side; there are 300 rows\n"
    )
    assert not (processed / "data" / "split").exists()


HEADER = "x1,y1,x2,y2,x3,y3,x4,y4,x5,y5,x6,y6,x7,y7,x8,y8,digit,writer\n"
GOOD = 16 * "0.5," + "3,1\n"


@pytest.mark.parametrize(
    "text",
    [
        "",
        HEADER,
        GOOD,
        HEADER.upper() + GOOD,
        HEADER + GOOD + "0.5,1\n",
        HEADER + GOOD.replace("0.5", "1.5", 1),
        HEADER + GOOD.replace("0.5", "nan", 1),
        HEADER + GOOD.replace("0.5", "half", 1),
        HEADER + GOOD.replace("3,1", "10,1"),
        HEADER + GOOD.replace("3,1", "3.5,1"),
        HEADER + GOOD.replace("3,1", "3,0"),
        HEADER + GOOD.replace("3,1", "3,1e300"),
        "\ufffd\0",
    ],
)
def test_a_table_that_preprocess_did_not_write(tmp_path: Path, text: str) -> None:
    path = tmp_path / "training.csv"
    path.write_text(HEADER + GOOD)
    assert len(split.read_csv(path).y) == 1
    path.write_text(text)
    with pytest.raises(StageError, match=r"training\.csv is not as preprocess writes it.*; run `dvc repro`$"):
        split.read_csv(path)
