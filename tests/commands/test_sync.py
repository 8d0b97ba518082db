"""How `make sync` finds experiments and lays them out; what it does with MLflow is in test_experiments.py."""

from pathlib import Path

import pytest
import yaml
from tests.project_copy import git, make_repository

from commands import sync
from commands.experiments import experiments_of
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
    for name, text in (("params.yaml", "lr: 0.5\n"), ("old", "old"), (".gitignore", "/.dvc\n")):
        (tmp_path / name).write_text(text)
    make_repository(tmp_path)
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
