"""What `make torture` judges by: that it sees what is lost, wrong or left over."""

import contextlib
import sqlite3
from pathlib import Path

import pytest
from tests.tools import torture

pytestmark = pytest.mark.unix_only


@pytest.mark.parametrize(("name", "content", "found"), [
    ("models/network.npz", "{ }", "other bytes: models/network.npz"),
    ("models/network.json", "", "other bytes: models/network.json"),
    ("models/.network.npz.7.part", "", ""),  # what a killed writer leaves
    ("dvc.lock", "stages: {train: {md5: 2}}", "other bytes: dvc.lock"),
    ("dvc.lock", "stages:\n  train:\n    md5: 1\n", ""),
    (".git/HEAD", "x", ""),
    (".git/index.lock", "", "left over: .git/index.lock"),
    (".dvc/tmp/params.yaml.kept", "", "left over: .dvc/tmp/params.yaml.kept"),
    (".dvc/tmp/checkpoints/key.training", "", "left over: .dvc/tmp/checkpoints/key.training"),
])  # fmt: skip
def test_every_file_is_compared_and_what_is_left_over_is_seen(
    tmp_path: Path, name: str, content: str, found: str
) -> None:
    for place in ("models/network.npz", "params.yaml", ".git/HEAD", ".dvc/tmp/checkpoints/key.lock", "mlflow.db"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_text("{}")
    (tmp_path / "dvc.lock").write_text("stages: {train: {md5: 1}}")
    expected = torture.results(tmp_path)
    assert torture.left_over(tmp_path) == ""
    (tmp_path / name).write_text(content)
    assert (torture.differing(torture.results(tmp_path), expected) or torture.left_over(tmp_path)) == found


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


def test_the_line_that_told_the_user_is_found_and_shown_without_what_is_of_one_try_alone() -> None:
    failed = "> python src/train.py\nmodels: the disk is full\nERROR: failed to reproduce 'train': exited with 1\n"
    assert torture.told(failed) == "models: the disk is full"
    assert torture.told("Running stage 'train'\nMLflow: not logged (away).\ndone\n") == "MLflow: not logged (away)."
    assert torture.told("Running stage 'train'\n") == ""
    message = "/home/torture-x1/disk-003-small/project/models: stopped in epoch 7, step 3, of 150, | here"
    assert torture.plain(message) == "./models: stopped in epoch N of M, / here"
