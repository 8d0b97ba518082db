"""Experiments as a user runs them: a fresh clone, DVC's queue, kills, losses, a tracking server. Each ends as one run.

Every test works in a clone of its own of what is in the checkout now, on the built-in digits, its training shrunk.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from tests.project_copy import copy_project

from tracking.run import ORIGIN
from tracking.store import Store, open_store

ROOT = Path(__file__).parent.parent
MORE = [".dvc/.gitignore", ".dvc/plots", "requirements.lock", "Makefile"]
SHRUNK = {"dataset": "synthetic", "synthetic_rows_per_writer": 10, "hidden_layers": [16], "epochs": 3}
CURVES = ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "lr")
TAGS = {"dvc.exp_name", "dvc.baseline_rev", "git.commit", "data.sha256", "model.sha256"}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
]


class Checkout:
    """A clone of the project, and what a user does in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.losses = 0  # of the store
        dropped = {"MLFLOW_TRACKING_URI", "PENDIGITS_TRACKING", "PYTHONPATH", "DVC_ROOT", *ORIGIN.values()}
        self.environment = {key: value for key, value in os.environ.items() if key not in dropped}
        self.environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

    def run(self, *command: str, fails: bool = False) -> str:
        with tempfile.TemporaryFile(
            "w+"
        ) as said:  # no pipe: the workers that `dvc queue start` leaves would hold it open
            done = subprocess.run(
                command, cwd=self.folder, env=self.environment, stdout=said, stderr=subprocess.STDOUT, check=False
            )
            said.seek(0)
            text = said.read()
        assert (done.returncode != 0) == fails, text
        return text

    def dvc(self, *arguments: str, **how: bool) -> str:
        return self.run(sys.executable, "-m", "dvc", *arguments, **how)

    def script(self, name: str, *arguments: str, **how: bool) -> str:
        """Run what a make target runs."""
        return self.run(sys.executable, f"src/{name}.py", *arguments, **how)

    def experiments(self) -> dict[str, str]:
        """Names and commits."""
        lines = self.run("git", "for-each-ref", "--format=%(objectname) %(refname)", "refs/exps")
        return {name: commit for commit, name in re.findall(r"(?m)^(\w+) refs/exps/\w\w/\w{38}/(.+)$", lines)}

    def runs(self) -> list[Any]:
        """Newest first; from a database that nothing has made yet, none."""
        with store_of(self) as store:
            return list(store.client.search_runs([store.experiment_id]))

    def runs_named(self, name: str) -> list[Any]:
        """The runs of an experiment, newest first."""
        return [run for run in self.runs() if run.info.run_name == f"synthetic-{name}"]

    def contents(self) -> dict[str, Any]:
        """All that a run holds and that does not depend on the moment, by name."""
        with store_of(self) as store:
            runs = store.client.search_runs([store.experiment_id], "attributes.status = 'FINISHED'")
            contents = {run.info.run_name: content(store, run) for run in runs}
            assert len(contents) == len(runs)
            return contents

    def work_off(self, names: set[str]) -> None:
        """Wait until the queue's workers have made these experiments.

        They can end on each other's half-written messages; what is queued stays, for others.
        """
        looked = time.monotonic()

        def done() -> bool:
            nonlocal looked
            if time.monotonic() > looked + 20:
                said = self.dvc("queue", "status")
                if "Queued" in said and "0 active, 0 idle" in said:
                    sys.stderr.write("all workers have ended; starting others, as `make doctor` says\n")
                    assert "dvc queue start" in self.script("doctor", fails=True)
                    self.dvc("queue", "start", "-j", "4")
                looked = time.monotonic()
            return self.experiments().keys() == names

        self.wait_for(done)

    def wait_for(self, condition: Callable[[], Any], seconds: float = 900) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, self.dvc("queue", "status")
            time.sleep(1)


@contextlib.contextmanager
def store_of(checkout: Checkout) -> Iterator[Store]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_ROOT", str(checkout.folder))
        # MLflow keeps a database open by its address; spelled otherwise, one that was lost is not read any more.
        database = f"sqlite:///{checkout.folder}{'/.' * checkout.losses}/mlflow.db"
        patch.setenv("MLFLOW_TRACKING_URI", checkout.environment.get("MLFLOW_TRACKING_URI", database))
        yield open_store()


def content(store: Store, run: Any) -> dict[str, Any]:
    def files(place: str | None = None) -> set[str]:
        listed = store.client.list_artifacts(run.info.run_id, place)
        return {file.path for file in listed if not file.is_dir} | {
            path for file in listed if file.is_dir for path in files(file.path)
        }

    history = {key: store.client.get_metric_history(run.info.run_id, key) for key in run.data.metrics}
    models = [store.client.list_logged_model_artifacts(model.model_id) for model in run.outputs.model_outputs]
    return {
        "params": run.data.params,
        "curves": {key: [(point.step, point.value) for point in points] for key, points in history.items()},
        "tags": {key: value for key, value in run.data.tags.items() if key != "mlflow.process"},
        "files": files(),
        "models": [{file.path for file in model} for model in models],
    }


@pytest.fixture
def clone(tmp_path: Path) -> Checkout:
    """A fresh clone, with nothing initialised, of the checkout's files as they are now; its training shrunk."""
    origin = tmp_path / "origin"
    copy_project(origin, MORE, **SHRUNK)
    who = ("-c", "user.name=A Person", "-c", "user.email=person@example.com")
    for command in (("init", "-q", "-b", "main"), ("add", "."), (*who, "commit", "-q", "-m", "Begin")):
        subprocess.run(["git", *command], cwd=origin, check=True)
    folder = tmp_path / "a clone"
    subprocess.run(["git", "clone", "-q", origin, folder], check=True)
    for key, value in (("user.name", "A Person"), ("user.email", "person@example.com")):
        subprocess.run(["git", "config", key, value], cwd=folder, check=True)
    return Checkout(folder)


def check_complete(checkout: Checkout, names: set[str]) -> None:
    """Each of these experiments has one finished run, with all that belongs to one."""
    finished = [run for run in checkout.runs() if run.info.status == "FINISHED"]
    assert sorted(run.data.tags["dvc.exp_name"] for run in finished) == sorted(names)
    held = checkout.contents()
    for run in finished:
        name = run.data.tags["dvc.exp_name"]
        holds = held[run.info.run_name]
        assert set(run.data.tags) >= TAGS, name
        for curve in CURVES:
            assert [step for step, _ in holds["curves"][curve]] == [1, 2, 3], (name, curve)
        assert run.data.metrics.keys() >= {"final_train_accuracy", "final_val_accuracy", "test_accuracy"}
        assert {"weights/network.npz", "weights/network.json", "curves.png", "confusion.png"} <= holds["files"], name
        assert [{"MLmodel", "artifacts", "code"} <= model for model in holds["models"]] == [True], name
        for place in run.info.artifact_uri, *(model.model_id for model in run.outputs.model_outputs):
            assert place.startswith((str(checkout.folder / "mlartifacts"), "m-"))
        committed = yaml.safe_load(checkout.run("git", "show", f"{checkout.experiments()[name]}:params.yaml"))
        for key in ("lr", "seed", "epochs", "hidden_layers"):
            assert json.loads(run.data.params[key]) == committed[key]


def check_sound(checkout: Checkout) -> None:
    with contextlib.closing(sqlite3.connect(checkout.folder / "mlflow.db")) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_nine_queued_experiments_and_a_killed_one_each_have_a_run_and_come_back_after_any_loss(clone: Checkout) -> None:
    clone.dvc("exp", "run", "--queue", "-n", "victim", "-S", "epochs=1000000")
    clone.dvc("exp", "run", "--queue", "-n", "grid", "-S", "lr=0.001,0.003,0.01", "-S", "seed=0,1,2")
    train = clone.folder / "src/train.py"  # an experiment runs the code that it was queued with
    code = train.read_text()
    train.write_text("raise SystemExit('the code of the workspace')")
    clone.dvc("queue", "start", "-j", "4")
    clone.wait_for(lambda: (clone.folder / "mlflow.db").exists())
    clone.wait_for(lambda: [run for run in clone.runs_named("victim") if run.data.metrics])
    (victim,) = clone.runs_named("victim")
    side = psutil.Process(int(victim.data.tags["mlflow.process"].rpartition(":")[2]))
    os.kill(side.ppid(), signal.SIGKILL)

    names = {f"grid-{number}" for number in range(1, 10)}
    clone.work_off(names)
    clone.wait_for(lambda: "Failed" in clone.dvc("queue", "status"))
    train.write_text(code)
    check_complete(clone, names)
    check_sound(clone)
    (victim,) = (run for run in clone.runs() if run.info.status != "FINISHED")
    assert (victim.info.run_name, victim.info.status) == ("synthetic-victim", "KILLED")
    assert "failed in DVC's queue: victim" in clone.script("doctor", fails=True)
    clone.dvc("exp", "run", "--temp", "-n", "victim", "-S", "epochs=3")  # as doctor says
    check_complete(clone, names | {"victim"})

    before = clone.contents()
    assert "0 entered, 10 there already" in clone.script("sync")
    for file in clone.folder.glob("mlflow.db*"):
        file.unlink()
    shutil.rmtree(clone.folder / "mlartifacts")
    clone.losses += 1
    assert "10 entered, 0 there already" in clone.script("sync")
    assert clone.contents() == before
    check_sound(clone)

    (some,) = clone.runs_named("grid-5")
    Path(some.info.artifact_uri, "weights/network.npz").unlink()
    assert "synthetic-grid-5 has lost weights/network.npz" in clone.script("sync")
    assert clone.contents() == before
    snapshot = [run.to_dictionary() for run in clone.runs()]
    assert "0 entered, 10 there already" in clone.script("sync")
    assert [run.to_dictionary() for run in clone.runs()] == snapshot
    assert clone.run("git", "status", "--short") == ""


def test_a_change_of_evaluation_or_pictures_leaves_other_runs_alone(clone: Checkout) -> None:
    clone.dvc("exp", "run", "-n", "first")
    (first,) = clone.runs()
    params = (clone.folder / "params.yaml").read_bytes()
    assert "params.yaml: lr must be greater than 0, got -0.1\n" in clone.dvc("exp", "run", "-S", "lr=-0.1", fails=True)
    assert (clone.folder / "params.yaml").read_bytes() == params
    said = clone.dvc("exp", "run", "-n", "steep", "-S", "lr=1e30", "-S", "optimizer=sgd", fails=True)
    assert "training diverged in epoch 1: NaN or infinity in" in said
    assert (clone.folder / "params.yaml").read_bytes() == params
    (steep,) = (run for run in clone.runs() if run.info.run_id != first.info.run_id)
    assert (steep.info.run_name, steep.info.status) == ("synthetic-steep", "FAILED")
    assert (clone.folder / "models/network.npz").exists()
    clone.dvc("exp", "run", "-n", "bins", "-S", "ece_bins=10")
    clone.dvc("exp", "run", "-n", "drawn", "-S", "mistakes_shown=5")
    bins = next(run for run in clone.runs() if run.data.tags["dvc.exp_name"] == "bins")
    assert bins.data.params["ece_bins"] == "10"
    assert (
        next(run for run in clone.runs() if run.info.run_id == first.info.run_id).to_dictionary()
        == first.to_dictionary()
    )
    clone.script("sync")
    assert sorted(run.data.tags["dvc.exp_name"] for run in clone.runs()) == ["bins", "drawn", "first", "steep"]
    assert (
        next(run for run in clone.runs() if run.info.run_id == first.info.run_id).to_dictionary()
        == first.to_dictionary()
    )
    said = clone.script("compare", "first", "bins")
    assert re.search(r"(?m)^ece_bins +15 +10$", said)
    assert "lr" not in said.split()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """A way to start a tracking server, always on the same address, ``start.url``."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    started: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "mlflow", "server", "--port", port, "--workers", "1", "--host", "127.0.0.1"]
        command += [
            "--backend-store-uri",
            f"sqlite:///{tmp_path}/team.db",
            "--artifacts-destination",
            f"{tmp_path}/team",
        ]
        with (tmp_path / "server.log").open("ab") as log:
            started.append(subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log, start_new_session=True))
        end = time.monotonic() + 180
        while True:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{start.url}/health", timeout=5):  # type: ignore[attr-defined]  # noqa: S310
                return started[-1]
            assert time.monotonic() < end, (tmp_path / "server.log").read_text()
            time.sleep(0.5)

    start.url = f"http://127.0.0.1:{port}"  # type: ignore[attr-defined]
    yield start
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait()


PATIENT = """

import os, pathlib, time


@register_activation("patient")
class Patient:
    \"\"\"Slow ReLU, applied as often as the file $MAY says; then it waits. Epochs are sent at most every 0.2 s.\"\"\"

    suited_init = "he_normal"
    calls = 0

    def Forward_prop(self, Z):
        self.calls += 1
        time.sleep(0.02)
        while self.calls > int(pathlib.Path(os.environ["MAY"]).read_text() or 0):
            time.sleep(0.05)
        self.Z = Z
        return np.maximum(Z, 0)

    def Backward_prop(self, dA):
        return dA * (self.Z > 0)
"""


def test_a_tracking_server_that_vanishes_while_training_runs(clone: Checkout, server: Any, tmp_path: Path) -> None:
    may, said = tmp_path / "may", tmp_path / "said"
    clone.environment |= {"MLFLOW_TRACKING_URI": server.url, "MAY": str(may)}
    with (clone.folder / "src/custom.py").open("a") as code:
        code.write(PATIENT)

    def begin(name: str, seed: int) -> subprocess.Popen[bytes]:
        """Begin an experiment, and let it train until there are curves."""
        may.write_text("100")
        command = [sys.executable, "-m", "dvc", "exp", "run", "-n", name, "-S", "activation=patient"]
        command += ["-S", "epochs=100", "-S", f"seed={seed}"]
        with said.open("w") as output:
            dvc = subprocess.Popen(
                command, cwd=clone.folder, env=clone.environment, stdout=output, stderr=subprocess.STDOUT
            )
        clone.wait_for(lambda: [run for run in clone.runs() if name in run.info.run_name and run.data.metrics], 180)
        return dvc

    def vanish(process: subprocess.Popen[bytes]) -> None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    process = server()
    dvc = begin("cut", 0)
    vanish(process)
    may.write_text("1000000")
    assert dvc.wait(300) == 0
    assert said.read_text().count("MLflow: not logged (no answer from") == 1
    assert said.read_text().count("MLflow") == 1

    process = server()
    assert [run.info.status for run in clone.runs()] == ["RUNNING"]
    assert "1 entered, 0 there already" in clone.script("sync")

    dvc = begin("back", 1)
    vanish(process)
    may.write_text("200")
    time.sleep(3)  # epochs that cannot be logged
    server()
    may.write_text("1000000")
    assert dvc.wait(300) == 0
    assert re.findall("MLflow: .*", said.read_text()) == ["MLflow: logged as synthetic-back"]
    assert "0 entered, 2 there already" in clone.script("sync")

    assert [(run.info.run_name, run.info.status) for run in clone.runs()] == [
        ("synthetic-back", "FINISHED"),
        ("synthetic-cut", "FINISHED"),
    ]
    cut, back = (clone.contents()[name] for name in ("synthetic-cut", "synthetic-back"))
    for holds in (cut, back):
        for curve in CURVES:
            assert [step for step, _ in holds["curves"][curve]] == list(range(1, 101)), curve
    assert {key: cut[key] for key in ("files", "models")} == {key: back[key] for key in ("files", "models")}
    assert cut["curves"].keys() == back["curves"].keys()
    assert {key for key, points in back["curves"].items() if len(points) > 1} == set(CURVES)

    network = (clone.folder / "models/network.npz").read_bytes()
    clone.environment |= {"PENDIGITS_TRACKING": "off"}
    clone.dvc("repro", "--force", "--single-item", "train")
    assert (clone.folder / "models/network.npz").read_bytes() == network


def test_a_tracking_server_and_one_that_is_away(clone: Checkout, server: Any) -> None:
    clone.environment["MLFLOW_TRACKING_URI"] = server.url
    said = clone.dvc("exp", "run", "-n", "away")
    assert re.findall("MLflow: not logged.*", said) == [  # once, of three stages that have something to log
        f"MLflow: not logged (no answer from {server.url}). Nothing else is affected; `make sync` enters the run later."
    ]
    assert not (clone.folder / "mlflow.db").exists()
    server()
    clone.dvc("exp", "run", "-n", "there", "-S", "seed=1")
    assert [run.info.run_name for run in clone.runs()] == ["synthetic-there"]
    assert "1 entered, 1 there already" in clone.script("sync")
    held = clone.contents()
    assert held.keys() == {"synthetic-there", "synthetic-away"}
    assert held["synthetic-there"]["files"] == held["synthetic-away"]["files"]
    assert held["synthetic-there"]["models"] == held["synthetic-away"]["models"]
    assert {"weights/network.npz", "curves.png"} <= held["synthetic-there"]["files"]
    assert not (clone.folder / "mlartifacts").exists()
