"""Tables in all forms are read, odd ones are understood, and what cannot be is refused by file, row and column."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from data_sets.own import Own
from data_sets.table_file import distinct, read_table_file
from pipeline.errors import StageError
from pipeline.schema import FILE, read_schema
from pipeline.table_rows import fitted, read_table_rows
from pipeline.tables import table_csv
from pipeline.tabular.options import OwnTable

WANTED = pd.DataFrame({"größe": ["1.5", "2"], "art": ["a, b", "c"]})
PLAIN = 'größe,art\n1.5,"a, b"\n2,c\n'
ARFF = "@relation r\n@attribute größe numeric\n@attribute art {'a, b',c}\n@data\n1.5,'a, b'\n2,c\n"


@pytest.mark.parametrize(("name", "content"), [
    ("t.csv", PLAIN), ("t.csv", "\ufeff" + PLAIN), ("t.csv", PLAIN.replace("\n", "\r\n")),
    ("t.txt", "größe;art\n1.5;a, b\n2;c"), ("t.csv", ' größe , art\n 1.5 , "a, b"\n\n2,c\n'),
    ("t.tsv", "größe\tart\n1.5\ta, b\n2\tc\n"), ("t.data", "größe\tart\n1.5\ta, b\n2\tc\n"),
    ("t.arff", ARFF), ("T.ARFF", "% c\r\n" + ARFF.replace("\n", "\r\n")),
])  # fmt: skip
def test_every_form_gives_the_same_table(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_bytes(content.encode())
    pd.testing.assert_frame_equal(read_table_file(tmp_path / name), WANTED, check_dtype=False)


def test_parquet_and_a_file_without_a_header(tmp_path: Path) -> None:
    pd.DataFrame({"a": [1, 2], "b": [0.5, None], "c": [True, False], "d": ["x", None]}).to_parquet(
        tmp_path / "t.parquet"
    )
    found = read_table_file(tmp_path / "t.parquet")
    assert found.to_dict("list") == {"a": ["1", "2"], "b": ["0.5", ""], "c": ["True", "False"], "d": ["x", ""]}
    (tmp_path / "iris.data").write_text("5.1,3.5,setosa\n4.9,3.0,virginica\n")
    found = read_table_file(tmp_path / "iris.data", header=False)
    assert found.to_dict("list") == {"1": ["5.1", "4.9"], "2": ["3.5", "3.0"], "3": ["setosa", "virginica"]}
    assert distinct(["a", "a", "", "a.1", " a "]) == ["a", "a.1", "column 3", "a.1.1", "a.2"]


@pytest.mark.parametrize(("name", "content", "fault"), [
    ("t.xls", b"x", "must end in one of .csv"), ("t.csv", b"", "is not a table"), ("t.csv", b"a,b\n", "has no rows"),
    ("t.csv", b"a,b\n1,2\n3,4,5\n", "line 3"), ("t.csv", b"a,b\n\xff,1\n", "is not a table"),
    ("t.parquet", b"PAR1", "is not a table"), ("t.arff", b"@relation r\n", "is not a table"),
    ("t.arff", b"@relation r\n@attribute a string\n@data\nx\n", "is not a table"),
    ("t.arff", b"@relation r\n@atribute a numeric\n@data\n1\n", "is not a table"),
    ("t.arff", b"@relation r\n@attribute a numeric\n@attribute b {x,z}\n@data\n1,x\r2,z\n1\n", "is not a table"),
])  # fmt: skip
def test_a_file_that_is_no_table_is_named(tmp_path: Path, name: str, content: bytes, fault: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(StageError, match=fault) as caught:
        read_table_file(tmp_path / name)
    assert name in str(caught.value)


def understood(table: pd.DataFrame, folder: Path, **options: Any) -> Any:
    """The schema and the parts of a table, as they come back from the files that preprocess writes."""
    own = Own(OwnTable(**{"path": "data/own/t.csv", "label": "y"} | options))
    schema, parts = own.understood(table.astype(str), None)
    (folder / FILE).write_bytes(schema.to_json())
    for name, part in parts.items():
        (folder / f"{name}.csv").write_bytes(table_csv(part.table))
    assert read_schema(folder) == schema
    training, test = (read_table_rows(folder / f"{name}.csv", schema) for name in ("training", "test"))
    assert sorted([*training.row, *test.row]) == list(range(len(table)))
    known = fitted(schema, training)
    return schema, training.encoded(known), test.encoded(known)


def test_two_classes_at_one_per_cent(tmp_path: Path) -> None:
    table = pd.DataFrame({"x": np.arange(1000), "y": ["rare" if i % 100 == 0 else "common" for i in range(1000)]})
    schema, training, test = understood(table, tmp_path)
    assert schema.classes == ("common", "rare")
    assert (np.bincount(training.y).tolist(), np.bincount(test.y).tolist()) == ([792, 8], [198, 2])


def test_two_hundred_classes_and_three_hundred_columns(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(size=(800, 300)), columns=[f"c{i}" for i in range(300)])
    schema, training, test = understood(table.assign(y=np.arange(800) % 200), tmp_path)
    assert schema.classes == tuple(map(str, range(200)))  # in the order of the numbers
    assert training.X.shape == (600, 300)
    assert set(training.y) == set(test.y) == set(range(200))


def test_names_that_are_used_inside_and_words_that_look_like_something_else(tmp_path: Path) -> None:
    names = distinct(["row", "writer", "y", "y", "label", "ärger 🙂", "a,b", "digit"])
    words = ["NA", "None", "", "1e5x"] * 10
    table = pd.DataFrame({name: words if name == "digit" else range(40) for name in names}).assign(
        y=["NA", "a, b"] * 20
    )
    schema, training, _ = understood(table, tmp_path, missing="impute", drop=["label"])
    assert schema.columns == ["row", "writer", "y.1", "ärger 🙂", "a,b", "digit"]
    assert schema.classes == ("NA", "a, b")
    assert training.X.shape == (32, 5 + 3)  # NA and None are words here, and an empty cell is none
    assert training.X[:, 5:].sum() == pytest.approx(24, abs=2)


def test_missing_numbers_are_imputed_by_the_median_of_the_training_rows(tmp_path: Path) -> None:
    numbers = ["1", "NA", "2", "?", "3", "", "4", "n/a"] * 10
    table = pd.DataFrame({"x": numbers, "y": ["a", "b"] * 40})
    schema, training, _ = understood(table, tmp_path, missing="impute")
    assert schema.numeric == ["x"]
    filled = [x for x, row in zip(training.X[:, 0], training.row, strict=True) if row % 2]
    assert set(filled) == {filled[0]}
    with pytest.raises(StageError, match=r"t\.csv, row 2: the column x has no value \(40 values are missing there\)"):
        understood(table, tmp_path)


@pytest.mark.parametrize(("columns", "options", "fault"), [
    ({"x": ["1", "inf"] * 5}, {}, "row 2: the column x must hold finite numbers, got 'inf'"),
    ({"y": ["a"] * 10}, {}, "the label y has fewer than two different values"),
    ({"y": ["a", "?", "b", "?"] * 3}, {}, "row 2: the column y has no value"),
    ({"y": ["a", "1"] * 5}, {"task": "regression"}, "row 1: the column y must hold numbers, got 'a'"),
    ({"g": ["1"] * 10}, {"group": "g"}, "no rows of .* can be held out for the test: there are 1 groups"),
    ({"g": ["1", ""] * 5}, {"group": "g"}, "row 2: the column g has no value"),
    ({"x": [f"w{i}" for i in range(1010)]}, {}, "the column x holds 1,010 different texts"),
    ({}, {"drop": ["x"]}, "no column to predict the label from"),
])  # fmt: skip
def test_tables_that_cannot_be_used(
    tmp_path: Path, columns: dict[str, Any], options: dict[str, Any], fault: str
) -> None:
    n = max(map(len, columns.values()), default=10)
    table = pd.DataFrame({"x": range(n), "y": ["a", "b"] * (n // 2)} | columns)
    with pytest.raises(StageError, match=fault):
        understood(table, tmp_path, **options)


def test_test_rows_from_a_file_of_their_own(tmp_path: Path) -> None:
    options = OwnTable(path="data/own/t.csv", label="y", test_path="data/own/u.tsv", name="both")
    (tmp_path / "table.csv").write_text("x,y\n" + "1,a\n2,b\n" * 5)
    (tmp_path / "test.tsv").write_text("y\tx\nb\t3\nc\t4\n")
    schema, parts = Own(options).parts(tmp_path)
    assert (schema.dataset, schema.classes) == ("both", ("a", "b", "c"))
    assert parts["test"].table.to_numpy().tolist() == [[3.0, "b", 0], [4.0, "c", 1]]
    (tmp_path / "test.tsv").write_text("y\nb\n")
    with pytest.raises(StageError, match=r"data/own/u\.tsv has no column x"):
        Own(options).parts(tmp_path)
