"""Stage preprocess: files that do not fit each other are refused by name, and the table holds what the files say."""

import re
from pathlib import Path
from typing import Any

from runtime import script

import numpy as np
import pytest
import yaml

import fetch
import preprocess
from data_sets import pen_files, pendigits, unipen
from data_sets.pendigits import Part
from pen.ink import DataError, Ink, join_strokes
from pen.strokes import strokes_of
from pipeline.paths import PROCESSED, RAW
from pipeline.rows import read_strokes
from pipeline.tables import table_csv

TWO = Part("pendigits.tra", "pendigits-orig.tra", rows=3, writers=2)
DIGITS = [4, 2, 7]


def ink_of(digits: list[int], writers: list[int]) -> Ink:
    return join_strokes([[[(0, 0), (9, 9)]]] * len(digits), digits, writers, range(1, len(digits) + 1))


def test_rows_and_csv_by_hand() -> None:
    X = np.array([[0, 100, 50, 3, *[25] * 12], [100] * 16, [1] * 16])
    features, writer = pen_files.join(X, np.array(DIGITS), ink_of(DIGITS, [2, 1, 2]), TWO, n_rows=3)
    assert features[0, :5].tolist() == [-1, 1, 0, -0.94, -0.5]
    assert (features[1:].tolist(), writer.tolist()) == ([[1.0] * 16, [-0.98] * 16], [2, 1, 2])
    features = np.array([[-0.94, 1.0, *[0.0] * 14]])
    assert table_csv(pen_files.table_of(features, np.array([8]), np.array([12]))) == (
        b"x1,y1,x2,y2,x3,y3,x4,y4,x5,y5,x6,y6,x7,y7,x8,y8,digit,writer\n"
        b"-0.94,1.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,8,12\n"
    )


@pytest.mark.parametrize(("ink", "n_rows", "fault"), [
    (ink_of(DIGITS, [2, 1, 2]), 4, "pendigits.tra holds 3 digits instead of 4"),
    (ink_of([4, 2], [2, 1]), 3, "pendigits-orig.tra holds 2 digits instead of 3"),
    (ink_of([4, 3, 7], [2, 1, 2]), 3, "pendigits.tra, line 2: the digit is 2, but number 2 in pendigits-orig.tra is 3"),
    (ink_of(DIGITS, [2, 1, 3]), 3, "pendigits-orig.tra: the writers must be 1 to 2, got 1, 2, 3"),
    (ink_of(DIGITS, [1, 1, 1]), 3, "pendigits-orig.tra: the writers must be 1 to 2, got 1"),
])  # fmt: skip
def test_files_that_do_not_fit_each_other(ink: Ink, n_rows: int, fault: str) -> None:
    with pytest.raises(DataError) as error:
        pen_files.join(np.zeros((3, 16), dtype=np.int64), np.array(DIGITS), ink, TWO, n_rows)
    assert str(error.value) == fault


@pytest.fixture
def fetched(workspace: Path) -> Path:
    """The folder data/raw/synthetic, in a folder in which fetch has run."""
    fetch.main()
    return workspace / RAW / "synthetic"


def test_tables_and_ink_hold_what_was_fetched(fetched: Path, capsys: Any) -> None:
    preprocess.main()
    assert "training: 300 digits by 30 writers\ntest: 140 digits by 14 writers\n" in capsys.readouterr().out
    for part, name in ((pendigits.TRAINING, "training"), (pendigits.TEST, "test")):
        X, digit = pendigits.parse_table((fetched / part.table).read_bytes(), part.table)
        ink = unipen.parse_ink((fetched / part.ink).read_bytes(), part.ink)
        values = np.loadtxt(PROCESSED / f"{name}.csv", delimiter=",", skiprows=1)
        np.testing.assert_allclose(values[:, :16] * 50 + 50, X, atol=1e-12)
        np.testing.assert_array_equal(values[:, 16], digit)
        np.testing.assert_array_equal(values[:, 17], ink.writer)
        strokes = read_strokes(PROCESSED / f"{name}_ink.npz", len(digit))
        np.testing.assert_array_equal(strokes.points, strokes_of(ink).points)


@pytest.mark.parametrize(("name", "old", "new", "fault"), [
    ("pendigits.tra", b"\n", b"x\n", r"pendigits\.tra, line 1: digit must be a whole number .*, got '\dx'"),
    ("pendigits-orig.tes", b".PEN_UP", b".PEN_OP", r"pendigits-orig\.tes, line \d+: expected a point or `\.PEN_UP"),
    ("pendigits.tes", b",", b";", r"pendigits\.tes, line 1: 16 values instead of 17"),
])  # fmt: skip
def test_a_bad_file_is_named(fetched: Path, capsys: Any, name: str, old: bytes, new: bytes, fault: str) -> None:
    path = fetched / name
    path.write_bytes(path.read_bytes().replace(old, new, 1))
    with pytest.raises(SystemExit) as end:
        script.run(preprocess.main)
    assert end.value.code == 1
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert message.rstrip().endswith("; to get the data again, remove data/raw/synthetic and run `dvc repro`")
    assert re.match(fault, message)
    assert not PROCESSED.exists()


def test_real_data_must_be_all_there(fetched: Path, workspace: Path, capsys: Any) -> None:
    params = yaml.safe_load((workspace / "params.yaml").read_text()) | {"dataset": "pendigits"}
    (workspace / "params.yaml").write_text(yaml.safe_dump(params))
    fetched.rename(fetched.with_name("pendigits"))
    with pytest.raises(SystemExit):
        script.run(preprocess.main)
    assert "pendigits.tra holds 300 digits instead of 7,494" in capsys.readouterr().err
