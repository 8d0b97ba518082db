"""`make new-data` describes a table in params.yaml, says what it found, and changes nothing if it refuses."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from dvc.utils.hydra import apply_overrides
from tests.own_table import made_table

from commands import new_data
from pipeline.configure import load_checked
from pipeline.errors import StageError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what the command reads, and without git."""
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(new_data, "has_git", lambda: False)
    return tmp_path


def set_up(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr("sys.argv", ["new_data", *arguments])
    new_data.main()


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_the_block_and_what_suits_a_table(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, task: str
) -> None:
    for name in ("other", "My plants"):
        made_table().to_csv(project / f"{name}.csv", index=False)
    label, other = ("species", "price") if task == "classification" else ("price", "species")
    set_up(monkeypatch, "other.csv", other, "--task", "regression" if other == "price" else "classification")
    tuned = ["lr=0.5", "epochs=3", "early_stopping=1", "optimizer=sgd", "extra_ink=data/own/drawings.dat"]
    apply_overrides(project / "params.yaml", tuned)
    capsys.readouterr()
    for _ in range(2):
        set_up(monkeypatch, "My plants.csv", label, "--group", "patient", "--task", task)
    params = load_checked()
    assert params.own
    assert (params.name, params.own.label, params.own.group) == ("My-plants", label, "patient")
    assert (params.hidden_layers, bool(params.augment), params.split_by) == ([64, 32], False, "group")
    assert (project / params.own.path).read_bytes() == (project / "My plants.csv").read_bytes()
    assert (params.lr, params.epochs, params.early_stopping, params.optimizer) == (0.002, 120, None, "adamw")
    assert params.extra_ink is None
    said = capsys.readouterr().out
    assert "240 rows" in said
    assert "12 groups by patient" in said
    assert ("3 classes: class" in said) == (task == "classification")
    before = (project / "params.yaml").read_text()
    assert before.count("# Network") == 1
    apply_overrides(project / "params.yaml", ["lr=0.005"])  # as `dvc exp run -S` does
    pairs = zip(before.splitlines(), (project / "params.yaml").read_text().splitlines(), strict=True)
    assert [new for old, new in pairs if old != new] == ["lr: 0.005"]
    for _ in range(2):  # a comment beside the key would end up before an empty list, and break the file
        apply_overrides(project / "params.yaml", ["hidden_layers=[]"])
    plots = yaml.safe_load((project / "dvc.yaml").read_text())["plots"]
    shown = {name: plot for entry in plots for name, plot in entry.items()}
    ours = {"loss", "accuracy", "confusion"} if task == "classification" else {"loss", "predictions"}
    assert {*shown} == ours
    assert not [plot for plot in shown.values() if "digit" in str(plot)]


def test_what_is_suspicious_is_said(project: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    rng = np.random.default_rng(0)
    y = np.where(rng.random(400) < 0.9, "no", "Yes")
    table = pd.DataFrame({"x": rng.integers(0, 3, 400), "same": 7, "number": np.arange(400), "result": y + "!"})
    table.drop(columns=["number", "result"]).assign(y=y).to_csv("twice.csv", index=False)
    table["typo"], table["who"] = ["n.a.", *["1.5", "2"] * 199, "3"], [f"p{i % 50}" for i in range(400)]
    table.assign(y=y).iloc[:, 1:].to_csv("odd.csv", index=False)
    set_up(monkeypatch, "odd.csv", "y")
    said = capsys.readouterr().out
    assert "same: the same value in all rows" in said
    assert "number: looks like an id" in said
    assert "result: gives the label away" in said
    assert "typo: no number in 1 of 400 rows, such as 'n.a.', so all its values are categories" in said
    assert "who: 50 categories; if it says which rows belong together: GROUP=who" in said
    assert "of the rows have the label no" in said
    assert "2 classes: Yes (" in said  # the order of class_weights, not of the counts
    set_up(monkeypatch, "twice.csv", "y")
    assert "80 of 80 test rows have the same features as a training row" in capsys.readouterr().out
    numbers = pd.DataFrame({"a": rng.normal(size=99), "b": rng.normal(size=99)})
    numbers.round(1).to_csv("plain.csv", index=False)
    set_up(monkeypatch, "plain.csv", "b")
    assert "for a regression: TASK=regression" in capsys.readouterr().out
    numbers.to_csv("exact.csv", index=False)
    with pytest.raises(StageError, match="the label b has 99 values in 99 rows; for numbers"):
        set_up(monkeypatch, "exact.csv", "b")


def test_a_file_without_names_and_with_gaps(project: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    (project / "synthetic.data").write_text("5.1,?,setosa,\n4.9,3.0,virginica,wet\n" * 20)
    set_up(monkeypatch, "synthetic.data", "3")
    assert "40 missing values, which are filled in (own.missing: impute): 2 (20), 4 (20)" in capsys.readouterr().out
    own = load_checked().own
    assert own
    assert (own.header, own.label, own.missing, own.path) == (False, 3, "impute", "data/own/own-synthetic.data")


def test_what_is_refused_changes_nothing(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "t.csv").write_text("a,b\n1,x\n2,y\n" * 5)
    (project / "gap.csv").write_text("a,b\n1,x\n2,y\n3,\n4,x\n5,y\n")
    (project / "data/own").mkdir(parents=True)
    (project / "data/own/other.csv").write_text("a,b\n")
    shutil.copy("t.csv", "other.csv")
    before = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}
    for arguments, fault in (
        ([], r"name a file and its column to predict: make new-data DATA=table\.csv LABEL=column"),
        (["t.csv"], "name a file and its column"), (["gap.csv", "b"], r"^gap\.csv, row 3: the column b has no value"),
        (["none.csv", "b"], "none.csv cannot be read: No such file"), (["t.csv", "c"], "the table has no column c"),
        (["other.csv", "b"], "exists and holds other data"), (["t.csv", "b", "--group", "b"], "the same column"),
    ):  # fmt: skip
        with pytest.raises(StageError, match=fault):
            set_up(monkeypatch, *arguments)
    assert {path: path.read_bytes() for path in project.rglob("*") if path.is_file()} == before
