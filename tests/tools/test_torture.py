"""What `make torture` judges by: that it sees what is lost, wrong or left over."""

import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import pytest
from tests.tools import torture
from tests.tools.torture import Fault, Try


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name in ("models/network.npz", "params.yaml", ".git/HEAD", ".dvc/tmp/rwlock", "mlflow.db", "src/a.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")
    (tmp_path / "dvc.lock").write_text("stages: {train: {md5: 1}}")
    return tmp_path


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda folder: (folder / "models/network.npz").write_text("{ }"), "other bytes: models/network.npz"),
        (lambda folder: (folder / "models/network.json").touch(), "other bytes: models/network.json"),
        (lambda folder: (folder / "models/.network.npz.7.part").touch(), ""),  # what a killed writer leaves
        (lambda folder: (folder / "params.yaml").unlink(), "other bytes: params.yaml"),
        (lambda folder: (folder / "dvc.lock").write_text("stages: {train: {md5: 2}}"), "other bytes: dvc.lock"),
        (lambda folder: (folder / "dvc.lock").write_text("stages:\n  train:\n    md5: 1\n"), ""),
        (lambda folder: (folder / ".git/HEAD").write_text("x"), ""),
    ],
)
def test_every_file_of_the_project_is_compared(project: Path, change: Callable[[Path], object], found: str) -> None:
    expected = torture.results(project)
    change(project)
    assert torture.differing(torture.results(project), expected) == found


@pytest.mark.parametrize("name", [".git/index.lock", ".dvc/tmp/params.yaml.kept", ".dvc/tmp/checkpoints/key.training"])
def test_what_is_left_over_is_seen(project: Path, name: str) -> None:
    assert torture.left_over(project) == ""
    (project / name).parent.mkdir(exist_ok=True)
    (project / name).touch()
    assert torture.left_over(project) == f"left over: {name}"


def test_a_run_counts_when_it_has_all_of_a_result(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "mlflow.db")) as store, store:
        store.execute("create table runs (run_uuid, status, lifecycle_stage)")
        store.execute("create table tags (run_uuid, key, value)")
        states = [("FINISHED", "active"), ("FINISHED", "deleted"), ("RUNNING", "active"), ("FINISHED", "active")]
        for number, state in enumerate(states):
            store.execute("insert into runs values (?, ?, ?)", [number, *state])
            for part in ("model", "evaluate", "figures")[: 2 if number == 3 else 3]:
                store.execute("insert into tags values (?, ?, ?)", [number, f"{part}.sha256", f"{part}{number}"])
    assert torture.whole_runs(tmp_path / "mlflow.db") == ["model0"]
    assert torture.runs(tmp_path / "mlflow.db", "RUNNING") == 1


def test_the_line_that_told_the_user_is_found() -> None:
    failed = "> python src/train.py\nmodels: the disk is full\nERROR: failed to reproduce 'train': exited with 1\n"
    assert torture.told(failed) == "models: the disk is full"
    assert torture.told("Running stage 'train'\nMLflow: not logged (away).\ndone\n") == "MLflow: not logged (away)."
    assert torture.told("Running stage 'train'\n") == ""


@pytest.mark.parametrize(
    ("outcome", "lost", "wrong"),
    [
        (Try(told="the disk is full"), 0, 0),
        (Try(lost="params.yaml", told="the disk is full"), 1, 0),
        (Try(wrong="other bytes", told="the disk is full"), 0, 1),
        (Try(told="something"), 0, 1),
        (None, 0, 1),
    ],
)
def test_tries_are_counted(tmp_path: Path, outcome: Try, lost: int, wrong: int) -> None:
    made = Mock(return_value=outcome, side_effect=None if outcome else FileNotFoundError("a file"))
    fault = Fault("disk", "the disk is full", made, 2, 1, "disk is full")
    outcomes = [torture.attempt(fault, Mock(folder=tmp_path), seed=0, turn=turn) for turn in range(2)]
    cells = torture.row(fault, outcomes).split(" | ")
    assert cells[:4] == ["| the disk is full", "2", str(2 * lost), str(2 * wrong)]


def test_rows_of_the_document_are_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document = tmp_path / "reliability.md"
    document.write_text("before\n<!-- torture: begin -->\nold\n<!-- torture: end -->\nafter\n")
    monkeypatch.setattr(torture, "DOCUMENT", document)
    fault = torture.FAULTS[0]
    torture.write_document({fault.fault: torture.row(fault, [Try(told="new")])}, 0, 25.2)
    lines = document.read_text().splitlines()
    assert lines[:2] == ["before", "<!-- torture: begin -->"]
    assert lines[2].startswith("`make torture`, seed 0, took 25 minutes")
    assert lines[-3:] == [f"| {fault.fault} | 1 | 0 | 0 | new |", "<!-- torture: end -->", "after"]


def test_what_is_of_one_try_alone_is_not_shown() -> None:
    message = "/home/torture-x1/disk-003-small/project/models: stopped in epoch 7, step 3, of 150, | here"
    assert torture.plain(message) == "./models: stopped in epoch N of M, / here"
