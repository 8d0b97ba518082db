"""What the tests share: a small built-in data set, a folder to run stages in, and the real data where it is at hand."""

import os
import signal
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import settings

from data_sets import pendigits, synthetic
from pen.ink import Ink
from runtime.signals import STOPS

ROOT = Path(__file__).parent.parent

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it for what runs in the background,
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # and nohup this
os.environ["PENDIGITS_TRACKING"] = "off"  # tests of tracking turn it on for themselves

settings.register_profile("project", deadline=None, derandomize=True)  # the same examples each time, on any machine
settings.load_profile("project")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if os.name == "nt" and item.get_closest_marker("unix_only"):
            item.add_marker(
                pytest.mark.skip(reason="needs Unix: signals between processes, sh, make or its file names")
            )


@pytest.fixture(scope="session")
def small_inks() -> tuple[Ink, Ink]:
    """The built-in data set with 10 rows a writer: 300 digits for training, 140 for the test."""
    return synthetic.make_data_set(10, np.random.default_rng(0))


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to run stages in: the project's params.yaml, but for the built-in data with 10 rows a writer."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params |= {"dataset": "synthetic", "synthetic_rows_per_writer": 10}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.delenv("PENDIGITS_MIRROR", raising=False)
    return tmp_path


@pytest.fixture(autouse=True)
def unchanged_process() -> Iterator[None]:
    """What signals did and where MLflow logs is the same after each test: a script ignores signals when its work is
    done, and MLflow writes its address into the environment, which other tests' processes would inherit."""
    before = {number: signal.getsignal(number) for number in STOPS}
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    if uri is not None:
        os.environ["MLFLOW_TRACKING_URI"] = uri


@pytest.fixture(scope="session")
def mirror() -> Path:
    """The folder with the real data set beside the checkout."""
    folder = ROOT.parent / "shared" / "pendigits"
    if not (folder / pendigits.ARCHIVE).is_file():
        pytest.skip("the real data set is not in shared/pendigits beside the checkout")
    return folder


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an MLflow database, the project's experiment and no run in it, for ``mlflow_store.copy_store``."""
    from tracking.store import open_store

    folder = tmp_path_factory.mktemp("empty_store")
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow and what it uses warn of each other
        patch.setenv("MLFLOW_TRACKING_URI", "")  # and afterwards not what MLflow sets it to
        patch.setenv("DVC_ROOT", str(folder))
        open_store()
    return folder
