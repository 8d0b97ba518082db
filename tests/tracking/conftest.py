"""One real store for all tests of tracking, in which each test has an experiment name of its own."""

import sys
from pathlib import Path

import pytest
from tests.mlflow_store import copy_store
from tests.tracking.finished_pipeline import Runs, write_pipeline

from tracking.address import ENVIRONMENT
from tracking.mlflow_run import ORIGIN, Run
from tracking.store import Store, open_store


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Path:
    """Stands for the main checkout, at a path that is not easy."""
    folder = tmp_path_factory.mktemp("main: checkout? 100% #1 'a' \"b\" é")
    copy_store(empty_store, folder)
    return folder


@pytest.fixture
def environment(home: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Tracking is on, and its store is in ``home``."""
    for name in ("MLFLOW_TRACKING_URI", "PENDIGITS_TRACKING", *ORIGIN.values()):
        monkeypatch.setenv(name, "")  # so that it is not set afterwards either: MLflow sets its address
        monkeypatch.delenv(name)
    for name, value in ({"DVC_ROOT": str(home)} | ENVIRONMENT).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "path", list(sys.path))  # to which MLflow adds the code of each model
    return monkeypatch


@pytest.fixture
def store(environment: pytest.MonkeyPatch) -> Store:
    return open_store()


@pytest.fixture
def runs(store: Store, request: pytest.FixtureRequest) -> Runs:
    """The runs of a DVC experiment of the test's own."""
    return Runs(store, {"dvc.exp_name": request.node.name, "dvc.baseline_rev": "c0ffee"})


@pytest.fixture
def without_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow takes a second to log a model, on which most tests do not depend."""
    monkeypatch.setattr(Run, "_log_model", lambda run: None)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkout after a run of the pipeline."""
    write_pipeline(tmp_path)
    return tmp_path


@pytest.fixture
def stage_of(runs: Runs, folder: Path, environment: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Be a stage of the experiment, in its folder."""
    environment.chdir(folder)
    for tag, name in ORIGIN.items():
        environment.setenv(name, runs.origin[tag])
    return environment
