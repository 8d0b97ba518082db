"""How `make sync` finds experiments and lays them out; what it does with MLflow is in test_experiments.py."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from tests.project_copy import git

from commands import sync
from commands.experiments import experiments_of
from pipeline import paths
from pipeline.errors import StageError
from tracking.mlflow_run import _git_commit

LOCK = """\
schema: '2.0'
stages:
  train:
    params:
      params.yaml: {lr: 0.1, seed: 3}
  evaluate:
    params:
      params.yaml: {ece_bins: 15}
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A project with one experiment, which changed params.yaml and removed a file; its results are committed."""
    (tmp_path / ".dvc/tmp").mkdir(parents=True)
    git(tmp_path, "init", "-q", "-b", "main")
    for name, text in (("params.yaml", "lr: 0.5\n"), ("old", "old"), (".gitignore", "/.dvc\n")):
        (tmp_path / name).write_text(text)
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "Begin")
    baseline = git(tmp_path, "rev-parse", "HEAD")
    (tmp_path / "params.yaml").write_text("lr: 0.1\nseed: 3\nece_bins: 15\n")
    (tmp_path / "dvc.lock").write_text(LOCK)
    (tmp_path / "old").unlink()
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-q", "-m", "dvc: commit experiment")
    git(tmp_path, "update-ref", f"refs/exps/{baseline[:2]}/{baseline[2:]}/steep-hill", "HEAD")
    git(tmp_path, "update-ref", "refs/exps/exec/EXEC_HEAD", "HEAD")
    git(tmp_path, "update-ref", "refs/exps/celery/stash", "HEAD")
    git(tmp_path, "reset", "-q", "--hard", baseline)
    return tmp_path


def test_experiments_are_found_without_dvcs_other_refs_and_laid_out(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync, "checkout", lambda *_: None)
    (experiment,) = experiments_of(repository)
    with sync.clone_of(repository) as clone:
        sync.lay_out(clone, repository, experiment)
        assert (clone / "params.yaml").read_text().startswith("lr: 0.1\n")
        assert not (clone / "old").exists()
        assert _git_commit(clone) == experiment.baseline
    assert not clone.exists()
    assert git(repository, "status", "--short") == ""
    (experiment,) = experiments_of(repository)
    assert (experiment.name, experiment.baseline) == ("steep-hill", git(repository, "rev-parse", "HEAD"))
    assert experiment.commit != experiment.baseline


def test_in_a_subfolder_only_the_project_s_own_experiments_are_found_and_laid_out(
    repository: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync, "checkout", lambda *_: None)
    top = tmp_path_factory.mktemp("monorepo")
    project = top / "digits"
    (project / ".dvc/tmp").mkdir(parents=True)
    (top / "other").mkdir()
    git(top, "init", "-q", "-b", "main")
    for name in ("digits/params.yaml", "digits/dvc.lock", "other/dvc.lock"):
        (top / name).write_text("lr: 0.5\n")
    git(top, "add", ".")
    git(top, "commit", "-q", "-m", "Begin")
    baseline = git(top, "rev-parse", "HEAD")
    params = "lr: 0.1\nseed: 3\nece_bins: 15\n"
    for name, changed in {"ours": "digits", "theirs": "other"}.items():
        (project / "params.yaml").write_text(params)  # an edit that DVC puts into theirs as well
        (top / changed / "dvc.lock").write_text(LOCK)
        git(top, "commit", "-q", "-a", "-m", "dvc: commit experiment")
        git(top, "update-ref", f"refs/exps/{baseline[:2]}/{baseline[2:]}/{name}", "HEAD")
        git(top, "reset", "-q", "--hard", baseline)
    (experiment,) = experiments_of(project)
    assert experiment.name == "ours"
    assert [found.name for found in experiments_of(top / "other")] == ["theirs"]
    with sync.clone_of(project) as clone:
        sync.lay_out(clone, project, experiment)
        assert (clone / "params.yaml").read_text() == params
    assert git(top, "status", "--short") == ""


def test_without_git_there_are_no_experiments(tmp_path: Path) -> None:
    assert experiments_of(tmp_path) == []


def test_params_that_were_not_run_and_results_of_another_network_are_refused(tmp_path: Path) -> None:
    lock = yaml.safe_load(LOCK)
    lock["stages"]["train"]["outs"] = [{"path": "models", "md5": "new"}]
    deps = lock["stages"]["evaluate"]["deps"] = [{"path": "src/evaluate.py", "md5": "any"}]
    deps.append({"path": "models", "md5": "new"})

    def check(params: str) -> None:
        (tmp_path / "params.yaml").write_text(params)
        (tmp_path / "dvc.lock").write_text(yaml.safe_dump(lock))
        sync.check_lock(tmp_path)

    check("{lr: 0.1, seed: 3, ece_bins: 15, mistakes_shown: 1}")
    with pytest.raises(StageError, match=r"train has not run with lr = 0\.2 yet"):
        check("{lr: 0.2, seed: 3, ece_bins: 15}")
    deps[1]["md5"] = "old"
    with pytest.raises(StageError, match="evaluate has not run on the present models yet"):
        check("{lr: 0.1, seed: 3, ece_bins: 15}")
    lock["stages"] = {"train": {}}
    with pytest.raises(StageError, match=r"train has not run$"):
        check("{}")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for file in (*paths.TRAIN_FILES, *paths.EVALUATE_FILES, *paths.MODEL_FILES):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text("")
    (tmp_path / paths.HISTORY).write_text("epoch,val_loss\n1,0.5\n2,0.4\n")
    return tmp_path


class Client:
    """A store with one whole run, from which a test takes something."""

    def __init__(self) -> None:
        self.files = {f"metrics/{Path(file).name}" for file in paths.TRAIN_FILES + paths.EVALUATE_FILES}
        self.files |= {"weights/network.npz", "weights/network.json", "curves.png"}
        self.model, self.steps = ["MLmodel"], [1, 2]

    def list_artifacts(self, run_id: str, place: str) -> list[Any]:
        return [SimpleNamespace(path=file) for file in self.files if str(Path(file).parent) == (place or ".")]

    def list_logged_model_artifacts(self, model_id: str) -> list[str]:
        return self.model

    def get_metric_history(self, run_id: str, key: str) -> list[Any]:
        return [SimpleNamespace(step=step) for step in self.steps]


@pytest.mark.parametrize(("attribute", "left", "lost"), [
    ("steps", [1, 2], ""), ("steps", [1], "part of its curves"), ("model", [], "its model"),
    ("files", {"weights/network.json"}, "weights/network.npz"),
    ("files", Client().files - {"curves.png"}, "its pictures"),
])  # fmt: skip
def test_what_a_run_has_lost_is_named(folder: Path, attribute: str, left: Any, lost: str) -> None:
    client = Client()
    setattr(client, attribute, left)
    store: Any = SimpleNamespace(client=client)
    run: Any = SimpleNamespace(
        info=SimpleNamespace(run_id="r"),
        data=SimpleNamespace(tags={"evaluate.sha256": "e", "figures.sha256": "f"}),
        outputs=SimpleNamespace(model_outputs=[SimpleNamespace(model_id="m")]),
    )
    assert sync.lost_from(store, run, folder) == lost
