"""A real Dask cluster of two workers: equal studies with one and two, and what is lost when something is killed."""

import contextlib
import io
import os
import re
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import yaml
from optuna import load_study
from tqdm import tqdm

import fetch
import preprocess
from pipeline.errors import StageError
from pipeline.params import load_params
from studies import cluster, cross_validate, report
from studies.cluster import Cluster, connected
from studies.folds import jobs_of, load_rows, read_data
from studies.snapshot import Snapshot, take_snapshot
from studies.space import load_space
from studies.sweep import Settings, Sweep
from studies.sweep_study import RESULT, make_sampler, open_study

ROOT = Path(__file__).parents[2]
SMALL = {"hidden_layers": [8], "epochs": 2, "batch_size": 32}
TRIALS, FOLDS = 4, 2
pytestmark = [
    pytest.mark.unix_only,
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore::FutureWarning"),
]


@pytest.fixture
def project(workspace: Path) -> Path:
    """A folder with a small data set, small networks and a space."""
    (workspace / ".dvc").mkdir()
    params = yaml.safe_load((workspace / "params.yaml").read_text()) | SMALL
    (workspace / "params.yaml").write_text(yaml.safe_dump(params))
    (workspace / "space.yaml").write_text("{lr: {low: 0.001, high: 0.1, log: true}, activation: [relu, tanh]}")
    fetch.main()
    preprocess.main()
    return workspace


def sweep(
    project: Path,
    name: str,
    on: Cluster,
    trials: int = TRIALS,
    show: Callable[[], None] = lambda: None,
    made_of: str = "made of",
    kept: Path | None = None,
) -> list[Any]:
    """Number, state, values and score of each trial of a study without pruning."""
    base = load_params()
    study = open_study(f"sqlite:///{project}/{name}.db", name, made_of, make_sampler("random", 0), False)
    kept = kept or project / name
    kept.mkdir(exist_ok=True)
    space = load_space(project / "space.yaml", base)
    Sweep(
        study,
        on,
        Settings(space, base, {}, read_data("table"), trials, FOLDS, 1, [FOLDS], kept),
        lambda trial, outcomes: None,
    ).run(show)
    return [(trial.number, trial.state.name, trial.user_attrs[RESULT]["values"], trial.value) for trial in study.trials]


def training_processes() -> list[psutil.Process]:
    """The processes of this one's workers that train."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):  # it may end meanwhile
            if "fold_process" in process.cmdline():
                found.append(process)
    return found


@pytest.mark.slow
def test_one_worker_two_and_two_of_which_some_are_killed_give_the_same_study(project: Path) -> None:
    with connected(None, 1) as one:
        expected = sweep(project, "one", one)
    assert [state for _, state, _, _ in expected] == ["COMPLETE"] * TRIALS
    killed: list[int] = []

    def kill_one_of_each() -> None:
        """Once in the middle: the process of a training, and a worker."""
        if two.in_flight and len(killed) < 2 and (found := training_processes()):
            victim = found[0] if not killed else found[-1].parent()
            killed.append(victim.pid)
            victim.send_signal(signal.SIGKILL)

    with connected(None, 2) as two:
        assert two.slots == 2
        assert sweep(project, "two", two) == expected
        assert sweep(project, "killed", two, show=kill_one_of_each) == expected
    assert len(killed) == 2

    # `make cv` with a trial's values gives its score, to the bit
    base, data = load_params(), read_data("table")
    _, _, values, score = expected[0]
    rows = cross_validate.cross_validate(cross_validate.with_values(base, values, "a trial"), data.rows, FOLDS, 1)
    assert rows.log_loss == score


@pytest.mark.slow
def test_clients_that_are_killed_and_stopped_lose_nothing(project: Path) -> None:
    params = project / "params.yaml"
    longer = params.read_text().replace("epochs: 2\n", "epochs: 60\n")  # so that a trial runs when the one before ends
    params.write_text(longer)
    arguments = "sweep --trials 1000 --folds 2 --sampler random --no-pruning --study s --workers 1 --space space.yaml"
    told = [str(ROOT / "src"), *arguments.split(), f"--storage=sqlite:///{project}/s.db"]
    for stop in (signal.SIGKILL, signal.SIGINT):
        client = start(*told, cwd=project, start_new_session=True)
        while not re.match(r" *\d+  complete", client.stdout.readline()):  # type: ignore[union-attr]
            assert client.poll() is None
        os.killpg(client.pid, stop)
        _, faults = client.communicate()
    assert (client.returncode, faults) == (130, "stopped; run the same command again to continue\n")

    stopped = load_study(study_name="s", storage=f"sqlite:///{project}/s.db")
    left = {trial.state.name for trial in stopped.trials}
    with connected(None, 1) as one:
        made_of, n = stopped.user_attrs["made_of"], len(stopped.trials)
        ended = sweep(project, "s", one, n, made_of=made_of, kept=project / "sweeps/s")
        assert ended == sweep(project, "whole", one, n)
    assert left == {"COMPLETE", "RUNNING"}


def start(*arguments: str, **more: Any) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more
    )


@pytest.fixture
def scheduler(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """Dask's scheduler and a worker, as people start them: its address and process."""
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 3.0)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    where = ["--host", "127.0.0.1", "--port", address.rpartition(":")[2]]
    started = [start("-m", "distributed.cli.dask_scheduler", *where, "--dashboard-address", "127.0.0.1:0")]
    while not is_open(address):
        time.sleep(0.05)
    started.append(start("-m", "distributed.cli.dask_worker", address, "--nthreads", "1", "--no-nanny"))
    yield address, started[0]
    for process in started:
        process.kill()
        process.communicate()


def is_open(address: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", int(address.rpartition(":")[2]))) == 0


@pytest.mark.slow
def test_a_scheduler_that_others_use_too_and_that_ends(
    project: Path, scheduler: tuple[str, "subprocess.Popen[str]"], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, process = scheduler
    params = load_params()
    rows, test = load_rows(params)
    with connected(address, with_test=True) as ours:
        p, *_ = report.train_seeds(params, rows, test, 2, tqdm(disable=True), cluster=ours)
    np.testing.assert_array_equal(p, report.train_seeds(params, rows, test, 2, tqdm(disable=True))[0])
    (job,) = jobs_of(load_params(), 2, 1)[:1]
    with connected(address) as ours, monkeypatch.context() as patched:
        patched.setattr(cluster, "take_snapshot", altered_snapshot)
        with connected(address) as theirs:
            measured = [next(one.trained([job])).measures["loss"] for one in (ours, theirs, ours)]
    assert (measured[0], measured[1]) == (measured[2], 42.0)

    with monkeypatch.context() as patched:
        patched.setattr(cluster, "version", lambda package: "0.1")
        with pytest.raises(StageError, match=r"the worker .* has NumPy .*, and this is NumPy 0\.1"), connected(address):
            pass

    with connected(address) as ours, pytest.raises(StageError) as error:
        sweep(project, "gone", ours, show=process.kill)
    assert str(error.value).startswith(f"the Dask scheduler at {address} is gone; ")
    with pytest.raises(StageError, match=f"no Dask scheduler answers at {address}"), connected(address):
        pass


def altered_snapshot(with_test: bool) -> Snapshot:
    """A client's code that measures something else."""
    taken, packed = take_snapshot(), io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(taken.content)) as old, zipfile.ZipFile(packed, "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name).replace(b'"loss": cross_entropy(predicted, here.y)', b'"loss": 42.0'))
    return Snapshot(packed.getvalue(), taken.checksum[::-1], taken.of_results)


def test_workers_get_the_training_file_and_never_the_test_file(project: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(take_snapshot().content)) as packed:
        names = set(packed.namelist())
    assert {"data/processed/training.csv", "data/processed/training_ink.npz", "src/custom.py"} <= names
    assert not [name for name in names if name.startswith("data/") and "test" in name]
