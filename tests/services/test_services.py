"""The services of docs/scale/compose.yaml as processes: a sweep on them, of which a client and a worker are killed."""

import contextlib
import json
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.project_copy import git
from tests.test_experiments import Checkout, prepared, store_of  # noqa: F401 (a fixture)
from tests.ui_at_work import asked, free_port, wait_for

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-services/bin/python"  # `make test-slow` installs it: .venv with drivers and an S3 server
DASK = Path(sys.executable).with_name("dask")  # scheduler and workers have no more than requirements.lock
POSTGRES = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: int(folder.parent.name), default=Path())
KEYS = {"AWS_ACCESS_KEY_ID": "pendigits", "AWS_SECRET_ACCESS_KEY": "pendigits", "AWS_DEFAULT_REGION": "us-east-1"}
SWEEP = ["sweep", "epochs=300", "--trials=6", "--folds=2", "--space=space.yaml", "--sampler=random", "--no-pruning"]
SPACE = "{lr: {low: 0.001, high: 0.1, log: true}, activation: [relu, tanh]}"
TRIALS = """\
import json, optuna, sys
trials = optuna.load_study(study_name=None, storage=sys.argv[1]).trials
print(json.dumps([[trial.number, trial.state.name, trial.params, trial.value] for trial in trials]))
"""
MISSING = {
    "PostgreSQL (on Debian: apt install postgresql)": not (POSTGRES / "initdb").exists(),
    "the packages of tests/services (make test-slow installs them)": not (PYTHON.parents[1] / "installed").exists(),
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.unix_only,
    pytest.mark.timeout(1200),
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore::FutureWarning"),
    pytest.mark.skipif(any(MISSING.values()), reason=f"missing: {', '.join(n for n, away in MISSING.items() if away)}"),
]


class Services:
    """Processes, each in a session of its own, that end with the test, and their addresses."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        self.folder, self._stack = folder, stack
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PG"))}
        self.environment |= KEYS
        self.s3, self.mlflow = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
        self.database = f"postgresql://pendigits@127.0.0.1:{free_port()}"
        self.scheduler = f"tcp://127.0.0.1:{free_port()}"

    def start(self, *command: str | Path, stop: int = signal.SIGKILL, **how: Any) -> "subprocess.Popen[str]":
        said = self._stack.enter_context((self.folder / "said").open("a"))
        how = {"env": self.environment, "cwd": self.folder, "stdout": said, "stderr": said} | how
        process = subprocess.Popen(list(map(str, command)), text=True, start_new_session=True, **how)
        self._stack.callback(end, process, stop)
        return process

    def start_all(self) -> "list[subprocess.Popen[str]]":
        """Start all of them side by side: the workers."""
        self.start(PYTHON, "-m", "moto.server", "-H", "127.0.0.1", "-p", port(self.s3))
        where = ["--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0"]
        self.start(DASK, "scheduler", "--port", port(self.scheduler), *where)
        one = ["--nworkers", "1", "--nthreads", "1", "--local-directory", self.folder]
        workers = [self.start(DASK, "worker", self.scheduler, *one, *where) for _ in range(2)]
        self._start_postgresql()
        for bucket in "mlflow", "dvc":
            wait_for(lambda made=f"{self.s3}/{bucket}": asked(made, method="PUT")[0] == 200)
        self.environment |= {"MLFLOW_S3_ENDPOINT_URL": self.s3, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        where = ["--host", "127.0.0.1", "--port", port(self.mlflow), "--workers", "1"]
        stores = ["--backend-store-uri", f"{self.database}/mlflow", "--artifacts-destination", "s3://mlflow"]
        self.start(PYTHON, "-m", "mlflow", "server", *where, *stores)
        return workers

    def _start_postgresql(self) -> None:
        """PostgreSQL does not run as root."""
        how: dict[str, Any] = {"cwd": "/"}
        folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="postgres"))  # where others can look in
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(folder, nobody.pw_uid, nobody.pw_gid)
            how |= {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        made = self.start(POSTGRES / "initdb", "--no-sync", "-A", "trust", "-U", "pendigits", "-D", folder, **how)
        assert made.wait() == 0
        settings = {"port": port(self.database), "unix_socket_directories": "", "fsync": "off"}
        options = [word for item in settings.items() for word in ("-c", "=".join(item))]
        self.start(POSTGRES / "postgres", "-D", folder, *options, stop=signal.SIGQUIT, **how)
        wait_for(lambda: self.start(POSTGRES / "pg_isready", "-q", "-d", f"{self.database}/postgres").wait() == 0)
        for wanted in ["-c", "CREATE DATABASE sweeps"], ["-f", ROOT / "docs/scale/databases.sql"]:
            assert self.start(POSTGRES / "psql", "-q", f"{self.database}/postgres", *wanted).wait() == 0


def end(process: "subprocess.Popen[str]", stop: int = signal.SIGKILL) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, stop)
    process.wait()


def port(address: str) -> str:
    return address.rpartition(":")[2]


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    (tmp_path / "services").mkdir()
    with contextlib.ExitStack() as stack:
        yield Services(tmp_path / "services", stack)


def until_a_trial_is_complete(client: "subprocess.Popen[str]") -> None:
    """Read what a sweep prints so far."""
    while not re.match(r" *\d+  complete", client.stdout.readline()):  # type: ignore[union-attr]
        assert client.poll() is None, client.stderr.read()  # type: ignore[union-attr]


def kill_while_it_trains(worker: "subprocess.Popen[str]", scheduler: str) -> None:
    """Stop one of two workers until the scheduler waits for trainings of both, and kill it."""
    from distributed import Client

    def is_waited_for() -> bool:
        os.killpg(worker.pid, signal.SIGSTOP)
        time.sleep(0.5)  # what it has sent arrives
        if all(observer.processing().values()):
            return True
        os.killpg(worker.pid, signal.SIGCONT)
        return False

    with Client(scheduler, set_as_default=False) as observer:
        wait_for(is_waited_for)
    end(worker)


def test_a_sweep_on_real_services_is_the_sweep_of_one_process_whatever_is_killed(
    prepared: Path,  # noqa: F811
    services: Services,
    tmp_path: Path,
) -> None:
    workers = services.start_all()
    project, alone = (Checkout(shutil.copytree(prepared, tmp_path / name, symlinks=True)) for name in ("ours", "alone"))
    for checkout in project, alone:
        (checkout.folder / "space.yaml").write_text(SPACE)
    project.environment |= KEYS | {"MLFLOW_TRACKING_URI": services.mlflow}
    here = {"cwd": alone.folder, "env": alone.environment | {"PENDIGITS_TRACKING": "off"}}
    one_process = services.start(PYTHON, "src", *SWEEP, "--workers", "1", **here)

    # the model goes to another clone through the S3 server
    for change in ["add", "-d", "store", "s3://dvc"], ["modify", "store", "endpointurl", services.s3]:
        project.run(str(PYTHON), "-m", "dvc", "remote", *change)
    git(project.folder, "commit", "-q", "-a", "-m", "Add a remote")
    project.run(str(PYTHON), "-m", "dvc", "push", "-q")
    clone = Checkout(tmp_path / "clone")
    git(tmp_path, "clone", "-q", str(project.folder), str(clone.folder))
    clone.environment |= KEYS
    clone.run(str(PYTHON), "-m", "dvc", "pull", "-q", "models")
    pulled = [(path.name, path.read_bytes()) for path in sorted((clone.folder / "models").iterdir())]
    assert pulled == [(path.name, path.read_bytes()) for path in sorted((project.folder / "models").iterdir())]

    wait_for(lambda: asked(f"{services.mlflow}/health")[0] == 200)
    study = f"{services.database}/sweeps"
    there = ["--scheduler", services.scheduler, "--storage", study]
    ours = {"cwd": project.folder, "env": project.environment, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    for killed in True, False:
        client = services.start(PYTHON, "src", *SWEEP, *there, **ours)
        until_a_trial_is_complete(client)
        if killed:
            end(client)
    kill_while_it_trains(workers[0], services.scheduler)
    _, faults = client.communicate()
    assert client.returncode == 0, faults
    assert one_process.wait() == 0
    (database,) = alone.folder.glob("sweeps/*.db")
    listed = [project.run(str(PYTHON), "-c", TRIALS, uri) for uri in (study, f"sqlite:///{database}")]
    found, expected = (json.loads(text.splitlines()[-1]) for text in listed)
    assert found == expected
    assert [(number, state) for number, state, *_ in found] == [(number, "COMPLETE") for number in range(6)]

    with store_of(project) as store:
        runs = store.client.search_runs([store.experiment_id])
    (parent,) = [run for run in runs if "sweep.trial" not in run.data.tags]
    children = [run for run in runs if run is not parent]
    scores = sorted((int(run.data.tags["sweep.trial"]), run.data.metrics["score"]) for run in children)
    assert scores == [(number, value) for number, *_, value in found]
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    assert parent.info.status == "FINISHED"
    kept = asked(f"{services.s3}/mlflow?list-type=2")[1].decode()
    assert re.search(rf"<Key>[^<]*{parent.info.run_id}/artifacts/history.png</Key>", kept)
