"""Columns become numbers that can be worked out by hand, come back from json, and refuse what does not fit."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neural_net import Network
from pipeline.tabular.encoder import Encoder, Scaling, as_text
from pipeline.tabular.holdout import hold_out
from pipeline.tabular.measures import balanced_accuracy, regression
from pipeline.tabular.model import TableModel, TableModelError, load_table_model, table_model_files

NAN = float("nan")
TABLE = pd.DataFrame({"a": [1.0, 3.0, 1.0, 3.0], "b": ["x", "y", "", "x"], "c": [7.0, 7.0, NAN, 7.0]})
ENCODER = Encoder.fit(TABLE, ["a", "c"], "impute")


def test_numbers_are_standardised_and_words_get_a_place_each() -> None:
    assert (ENCODER.size, ENCODER.names) == (4, ["a", "b", "c"])
    assert ENCODER.encode(TABLE).tolist() == [[-1, 1, 0, 0], [1, 0, 1, 0], [-1, 0, 0, 0], [1, 1, 0, 0]]
    raw = [{"b": "new", "a": "5", "c": None, "more": 1}, {"c": 8, "b": " y ", "a": 2.0}]
    assert ENCODER.encode(ENCODER.read(raw)).tolist() == [[3, 0, 0, 0], [0, 0, 1, 1]]
    assert ENCODER.encode(ENCODER.read([[2, "x", 7]])).tolist() == [[0, 1, 0, 0]]
    assert Encoder.model_validate_json(ENCODER.model_dump_json()) == ENCODER
    assert ENCODER.encode(ENCODER.read(ENCODER.example())).tolist() == [[0, 1, 0, 0]]


@pytest.mark.parametrize(("rows", "fault"), [
    ([{"a": 1, "b": "x"}], "expected the columns a, b, c; missing are c"), ([[1, 2]], "missing are a, b, c"),
    ([{"a": "one", "b": "x", "c": 1}], "the column a must hold numbers, got 'one'"),
    ([{"a": "inf", "b": "x", "c": 1}], "the column a must hold numbers, got 'inf'"),
    ([{"a": 1, "b": "x", "c": "n/a"}], "row 1 has no value in the column c"),
    ([{"a": 1, "b": "?", "c": 1}], "row 1 has no value in the column b"),
])  # fmt: skip
def test_rows_that_do_not_fit_are_refused_with_column_and_value(rows: Any, fault: str) -> None:
    strict = Encoder.fit(TABLE.iloc[:2], ["a", "c"], "refuse")
    with pytest.raises(ValueError, match=fault):
        strict.encode(strict.read(rows))


@pytest.mark.parametrize(("cell", "text"), [
    (3.0, "3"), (np.float32(2.5), "2.5"), (True, "True"), (None, ""), (NAN, ""), (pd.NA, ""), (pd.NaT, ""),
    (b"caf\xc3\xa9", "café"), (" a ", "a"), (10**20, "1" + 20 * "0"),
])  # fmt: skip
def test_a_cell_is_written_as_in_a_csv_file(cell: Any, text: str) -> None:
    assert as_text(cell) == text


def test_numbers_that_cannot_be_scaled_are_refused() -> None:
    with pytest.raises(ValueError, match="the column a: the numbers are too large"):
        Encoder.fit(pd.DataFrame({"a": [1e308, -1e308, 1e308]}), ["a"], "refuse")


def small_model(**changes: Any) -> TableModel:
    network = Network([{"linear": {"n_out": 2}}], ENCODER.size, rng=np.random.default_rng(0))
    return TableModel(network, "mine", "b", ENCODER, ("no", "yes"), **changes)


def test_a_saved_model_predicts_the_same_and_a_damaged_one_is_refused(tmp_path: Path) -> None:
    model = small_model(temperature=2.0)
    for name, content in table_model_files(model).items():
        (tmp_path / name).write_bytes(content)
    rows = [[1, "x", 2], [9, "z", 2]]
    np.testing.assert_array_equal(load_table_model(tmp_path).predict_proba(rows), model.predict_proba(rows))
    p = model.predict_proba(rows)
    assert model.predict(rows).tolist() == [("no", "yes")[i] for i in p.argmax(axis=1)]
    description = json.loads((tmp_path / "network.json").read_text())
    for key, value in (("classes", ["no"]), ("classes", [1, 2]), ("label", None), ("temperature", 0), ("encoder", {})):
        damaged = description | {"extra": description["extra"] | {key: value}}
        (tmp_path / "network.json").write_text(json.dumps(damaged))
        with pytest.raises(TableModelError, match=str(tmp_path)):
            load_table_model(tmp_path)


def test_measures_by_hand() -> None:
    y = np.array([0, 0, 0, 0, 2])
    assert balanced_accuracy(np.array([0, 0, 0, 0, 0]), y) == 0.5
    assert regression(np.array([1.0, 2.0, 6.0]), np.array([1.0, 2.0, 3.0])) == {
        "rmse": pytest.approx(3**0.5), "mae": 1.0, "r2": pytest.approx(1 - 9 / 2)
    }  # fmt: skip
    assert Scaling.of(np.array([2.0, 4.0])) == Scaling(mean=3, scale=1)


@given(st.integers(2, 30), st.floats(0.1, 0.5), st.integers(0, 2**63 - 1), st.booleans())
def test_whole_groups_are_held_out_and_some_stay(n_groups: int, fraction: float, seed: int, stratify: bool) -> None:
    group = np.array([f"g{i % n_groups}" for i in range(5 * n_groups)])
    y = np.arange(5 * n_groups) % 3
    held_out = hold_out(y, group, fraction, seed, stratify=stratify)
    assert not set(group[held_out]) & set(group[~held_out])
    assert 1 <= len(set(group[held_out])) < n_groups
    assert abs(held_out.mean() - fraction) <= 1 / n_groups + 0.34 * fraction + 0.01
    np.testing.assert_array_equal(held_out, hold_out(y, group, fraction, seed, stratify=stratify))
