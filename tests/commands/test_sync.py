"""How `make sync` finds experiments and lays them out; what it does with MLflow is in test_experiments.py."""

from pathlib import Path

import pytest
import yaml

from commands import sync
from commands.experiments import experiments_of
from pipeline.errors import StageError

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
