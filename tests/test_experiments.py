"""Experiments as a user runs them: DVC's queue, kills, losses, a tracking server. Each ends as one run.

Every test works in a copy of one checkout that has run once, on the built-in digits, with a small network.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from filelock import FileLock
from tests.own_table import made_table
from tests.project_copy import WHO, copy_project, git, make_repository
from tests.tracking.finished_pipeline import Runs
from tests.ui_at_work import asked, free_port, wait_for

from tracking.mlflow_run import ORIGIN
from tracking.store import Store, open_store

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
    """A checkout of the project, and what a user does in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.losses = 0  # of the store
        dropped = {"MLFLOW_TRACKING_URI", "PENDIGITS_TRACKING", "PYTHONPATH", "DVC_ROOT", *ORIGIN.values()}
        self.environment = {key: value for key, value in os.environ.items() if key not in dropped}
        self.environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.environment["DVC_SITE_CACHE_DIR"] = f"{folder}.dvc"

    def run(self, *command: str, fails: bool = False) -> str:
        with tempfile.TemporaryFile("w+") as said:  # no pipe: the workers of `dvc queue start` would hold it open
            done = subprocess.run(
                command, cwd=self.folder, env=self.environment, stdout=said, stderr=subprocess.STDOUT, check=False
            )
            said.seek(0)
            text = said.read()
        assert (done.returncode != 0) == fails, text
        return text

    def dvc(self, *arguments: str, **how: bool) -> str:
        return self.run(sys.executable, "-m", "dvc", *arguments, **how)

    def make(self, *arguments: str, **how: bool) -> str:
        """Run what a make target runs."""
        return self.run(sys.executable, "src", *arguments, **how)

    def experiments(self) -> dict[str, str]:
        """Names and commits."""
        lines = self.run("git", "for-each-ref", "--format=%(objectname) %(refname)", "refs/exps")
        return {name: commit for commit, name in re.findall(r"(?m)^(\w+) refs/exps/\w\w/\w{38}/(.+)$", lines)}

    def runs(self, name: str = "") -> list[Any]:
        """The runs, or those of an experiment, newest first; from a database that nothing has made yet, none."""
        with store_of(self) as store:
            runs = list(store.client.search_runs([store.experiment_id]))
        return [run for run in runs if not name or run.info.run_name == f"synthetic-{name}"]

    def contents(self) -> dict[str, Any]:
        """All that the finished runs hold and that does not depend on the moment, by name."""
        with store_of(self) as store:
            runs = store.client.search_runs([store.experiment_id], "attributes.status = 'FINISHED'")
            contents = {run.info.run_name: Runs(store, {}).content(run) for run in runs}
            assert len(contents) == len(runs)
            return contents

    def lose_store(self) -> None:
        for file in self.folder.glob("mlflow.db*"):
            file.unlink()
        shutil.rmtree(self.folder / "mlartifacts")
        self.losses += 1

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
                    assert "dvc queue start" in self.make("doctor", fails=True)
                    self.dvc("queue", "start", "-j", "2")
                looked = time.monotonic()
            return self.experiments().keys() == names

        self.wait_for(done)

    def wait_for(self, condition: Callable[[], Any], seconds: float = 900) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, self.dvc("queue", "status")
            time.sleep(0.5)


@contextlib.contextmanager
def store_of(checkout: Checkout) -> Iterator[Store]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_ROOT", str(checkout.folder))
        # MLflow keeps a database open by its address; spelled otherwise, one that was lost is not read any more.
        database = f"sqlite:///{checkout.folder}/mlflow.db?timeout={20 + checkout.losses}"
        patch.setenv("MLFLOW_TRACKING_URI", checkout.environment.get("MLFLOW_TRACKING_URI", database))
        yield open_store()


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh clone of the files as they are now, which has run once; made by one of pytest's workers for all."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "prepared" / "a clone"
    folder.parent.mkdir(exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            origin = folder.with_name("origin")
            copy_project(origin, MORE, **SHRUNK)
            make_repository(origin)
            git(origin, "clone", "-q", ".", str(folder))
            for key, value in WHO.items():
                git(folder, "config", key, value)
            Checkout(folder).dvc("repro")
            git(folder, "add", ".")
            git(folder, "commit", "-q", "-m", "Run")
    return folder


@pytest.fixture
def checkout(prepared: Path, tmp_path: Path) -> Iterator[Checkout]:
    made = Checkout(Path(shutil.copytree(prepared, tmp_path / "a clone", symlinks=True)))
    yield made
    for process in psutil.process_iter():  # a failed test leaves workers of the queue
        with contextlib.suppress(psutil.Error):
            if process.environ().get("DVC_SITE_CACHE_DIR") == made.environment["DVC_SITE_CACHE_DIR"]:
                process.kill()


def check_complete(checkout: Checkout, names: set[str]) -> None:
    """Each of these experiments has one finished run, with all that belongs to one."""
    finished = [run for run in checkout.runs() if run.info.status == "FINISHED" and "dvc.exp_name" in run.data.tags]
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
    with contextlib.closing(sqlite3.connect(checkout.folder / "mlflow.db")) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_queued_experiments_and_a_killed_one_each_have_a_run_and_come_back_after_any_loss(checkout: Checkout) -> None:
    checkout.lose_store()  # so that two workers make it at once
    checkout.dvc("exp", "run", "--queue", "-n", "victim", "-S", "epochs=1000000")
    checkout.dvc("exp", "run", "--queue", "-n", "grid", "-S", "lr=0.001,0.01")
    train = checkout.folder / "src/train.py"  # an experiment runs the code that it was queued with
    code = train.read_text()
    train.write_text("raise SystemExit('the code of the workspace')")
    checkout.dvc("queue", "start", "-j", "2")
    checkout.wait_for((checkout.folder / "mlflow.db").exists)
    checkout.wait_for(lambda: [run for run in checkout.runs("victim") if run.data.metrics])
    (victim,) = checkout.runs("victim")
    side = psutil.Process(int(victim.data.tags["mlflow.process"].rpartition(":")[2]))
    os.kill(side.ppid(), signal.SIGKILL)

    names = {"grid-1", "grid-2"}
    checkout.work_off(names)
    checkout.wait_for(lambda: "Failed" in checkout.dvc("queue", "status"))
    train.write_text(code)
    check_complete(checkout, names)
    (victim,) = (run for run in checkout.runs() if run.info.status != "FINISHED")
    assert (victim.info.run_name, victim.info.status) == ("synthetic-victim", "KILLED")
    assert "failed in DVC's queue: victim" in checkout.make("doctor", fails=True)
    checkout.dvc("exp", "run", "--temp", "-n", "victim", "-S", "epochs=3", "-S", "seed=1")

    assert "0 logged, 3 already there" in checkout.make("sync")
    check_complete(checkout, names | {"victim"})
    before = checkout.contents()
    checkout.lose_store()
    assert "3 logged, 0 already there" in checkout.make("sync")
    assert checkout.contents() == before

    (some,) = checkout.runs("grid-2")
    Path(some.info.artifact_uri, "weights/network.npz").unlink()
    assert "synthetic-grid-2 has lost weights/network.npz" in checkout.make("sync")
    assert checkout.contents() == before
    snapshot = [run.to_dictionary() for run in checkout.runs()]
    assert "0 logged, 3 already there" in checkout.make("sync")
    assert [run.to_dictionary() for run in checkout.runs()] == snapshot
    assert checkout.run("git", "status", "--short") == ""


def test_a_change_of_evaluation_or_pictures_leaves_other_runs_alone(checkout: Checkout) -> None:
    (first,) = checkout.runs()
    params = checkout.folder / "params.yaml"
    committed = params.read_bytes()
    for before in (re.sub(rb"(?m)^seed: .*", b"seed: 7", committed), committed):  # edited, and as committed
        params.write_bytes(before)
        said = checkout.dvc("exp", "run", "-S", "augment.aspect=-1", fails=True)
        assert re.search(r"params.yaml: augment.aspect must be greater than .*, got -1\n", said)
        assert params.read_bytes() == before
    said = checkout.dvc("exp", "run", "-n", "steep", "-S", "lr=1e30", "-S", "optimizer=sgd", fails=True)
    assert "training diverged in epoch 1: NaN or infinity in" in said
    assert params.read_bytes() == committed
    (steep,) = checkout.runs("steep")
    assert steep.info.status == "FAILED"
    checkout.dvc("exp", "run", "-n", "bins", "-S", "ece_bins=10")
    checkout.dvc("exp", "run", "-n", "drawn", "-S", "mistakes_shown=5")
    (bins,) = checkout.runs("bins")
    assert bins.data.params["ece_bins"] == "10"
    for _ in range(2):
        runs = {run.info.run_id: run for run in checkout.runs()}
        assert runs.pop(first.info.run_id).to_dictionary() == first.to_dictionary()
        assert sorted(run.data.tags["dvc.exp_name"] for run in runs.values()) == ["bins", "drawn", "steep"]
        checkout.make("sync")
    said = checkout.make("compare", first.info.run_name, "bins")
    assert re.search(r"(?m)^ece_bins +15 +10$", said)
    assert "lr" not in said.split()


class Server:
    """A tracking server, which vanishes and comes back at the same address."""

    def __init__(self, folder: Path) -> None:
        port, self.log = str(free_port()), folder / "server.log"
        self.url = f"http://127.0.0.1:{port}"
        place = ["--backend-store-uri", f"sqlite:///{folder}/team.db", "--artifacts-destination", f"{folder}/team"]
        where = ["--port", port, "--workers", "1", "--host", "127.0.0.1"]
        self.command = [sys.executable, "-m", "mlflow", "server", *where, *place]

    def start(self) -> None:
        with self.log.open("ab") as log:
            how: Any = {"stdout": log, "stderr": log, "start_new_session": True}
            self.process = subprocess.Popen(self.command, cwd=self.log.parent, **how)
        wait_for(lambda: asked(f"{self.url}/health")[0] == 200, 180)

    def vanish(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


PATIENT = """

import os, pathlib, time


@register_activation("patient")
class Patient(SquarePlus):
    \"\"\"As slow as the file $PAUSE says.\"\"\"

    def Forward_prop(self, Z):
        time.sleep(float(pathlib.Path(os.environ["PAUSE"]).read_text() or 0))
        return super().Forward_prop(Z)
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    yield server
    server.vanish()


def test_a_tracking_server_that_is_away_vanishes_and_comes_back(
    checkout: Checkout, server: Server, tmp_path: Path
) -> None:
    pause, said, store = tmp_path / "pause", tmp_path / "said", (checkout.folder / "mlflow.db").read_bytes()
    checkout.environment |= {"MLFLOW_TRACKING_URI": server.url, "PAUSE": str(pause)}
    with (checkout.folder / "src/custom.py").open("a") as code:
        code.write(PATIENT)
    away = checkout.dvc("exp", "run", "-n", "away", "-S", "epochs=30")
    assert re.findall("MLflow: .*", away) == [  # once, of two stages that have something to log
        f"MLflow: not logged (no answer from {server.url}). Nothing else is affected; `make sync` logs the run later."
    ]

    def begin(name: str, seed: int) -> subprocess.Popen[bytes]:
        """Begin an experiment, and let it train until there are curves."""
        pause.write_text("0.3")
        command = [sys.executable, "-m", "dvc", "exp", "run", "-n", name, "-S", "activation=patient"]
        command += ["-S", "epochs=30", "-S", f"seed={seed}"]
        with said.open("w") as output:
            dvc = subprocess.Popen(
                command, cwd=checkout.folder, env=checkout.environment, stdout=output, stderr=subprocess.STDOUT
            )
        checkout.wait_for(lambda: [run for run in checkout.runs(name) if run.data.metrics], 180)
        return dvc

    server.start()
    dvc = begin("cut", 0)
    server.vanish()
    pause.write_text("0")
    assert dvc.wait(300) == 0
    assert re.findall("MLflow.*", said.read_text()) == re.findall("MLflow: .*", away)
    server.start()
    assert [run.info.status for run in checkout.runs()] == ["RUNNING"]

    dvc = begin("back", 1)
    server.vanish()
    time.sleep(3)  # epochs that cannot be logged
    server.start()
    pause.write_text("0")
    assert dvc.wait(300) == 0
    assert re.findall("MLflow: .*", said.read_text()) == ["MLflow: logged as synthetic-back"]
    assert "2 logged, 1 already there" in checkout.make("sync")

    names = {f"synthetic-{name}" for name in ("away", "cut", "back")}
    assert {(run.info.run_name, run.info.status) for run in checkout.runs()} == {(name, "FINISHED") for name in names}
    held = checkout.contents()
    back = held["synthetic-back"]
    assert {key for key, points in back["curves"].items() if len(points) > 1} == set(CURVES)
    for name in names:
        for curve in CURVES:
            assert [step for step, _ in held[name]["curves"][curve]] == list(range(1, 31)), (name, curve)
        assert {key: held[name][key] for key in ("files", "models")} == {key: back[key] for key in ("files", "models")}
        assert held[name]["curves"].keys() == back["curves"].keys()
    assert (checkout.folder / "mlflow.db").read_bytes() == store


LOAD = """
import mlflow, sys
mlflow.set_tracking_uri("sqlite:///mlflow.db")
model = mlflow.pyfunc.load_model(sys.argv[1])
print(model.predict(model.input_example).to_dict("records"))
"""


def test_a_table_of_the_users_is_a_dep_of_fetch_and_is_there_in_temporary_experiments(
    checkout: Checkout, tmp_path: Path
) -> None:
    """A small table is in git, a large one in DVC's cache. Editing a cell makes DVC name fetch."""
    for n, tracked in ((240, "git"), (30_000, "DVC")):
        table = tmp_path / f"plants{n}.csv"
        made_table(n).drop(columns="price").to_csv(table, index=False)
        assert f"tracked by {tracked}" in checkout.make("new_data", str(table), "species", "--group", "patient")
        checkout.dvc("exp", "run", "--temp", "-n", f"temp-{tracked}", "-S", "epochs=1", "-S", "hidden_layers=[8]")
    assert "models:/plants30000@champion is now plants30000-" in checkout.make("champion")
    answer = checkout.run(sys.executable, "-W", "ignore", "-c", LOAD, "models:/plants30000@champion")
    assert "{'species': 'class " in answer
    assert "already there" in checkout.make("sync")

    checkout.dvc("repro", "--single-item", "fetch")
    assert "fetch" not in checkout.dvc("status", "fetch")
    own = checkout.folder / "data/own/plants30000.csv"
    own.write_text(own.read_text().replace(",p0,", ",p00,", 1))
    assert re.search(r"fetch:\s+changed deps:\s+modified:\s+data/own", checkout.dvc("status", "fetch"))


def test_tidy_frees_what_nothing_needs_and_leaves_the_rest(checkout: Checkout) -> None:
    (crowned,) = checkout.runs()
    checkout.make("champion", crowned.info.run_name)
    for number, name in enumerate(("kept", "dropped"), start=1):
        checkout.dvc("exp", "run", "-n", name, "-S", f"seed={number}")
    checkout.dvc("exp", "remove", "dropped")
    checkout.run("git", "checkout", "-q", ".")
    checkout.dvc("checkout", "-q")
    (dropped,) = checkout.runs("dropped")
    with store_of(checkout) as store:
        for run in (dropped, crowned):
            store.client.delete_run(run.info.run_id)
    model = (
        Path(dropped.info.artifact_uri).parents[1] / "models" / dropped.outputs.model_outputs[0].model_id / "artifacts"
    )
    old, new = (checkout.folder / f".dvc/tmp/checkpoints/{name}.training" for name in ("old", "new"))
    for file in (old, new):
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(bytes(100_000))
    os.utime(old, (time.time() - 200_000,) * 2)
    cache = checkout.folder / ".dvc/cache/files"
    before = {path for path in cache.rglob("*") if path.is_file()}
    checkout.dvc("exp", "run", "--queue", "-n", "waits", "-S", "seed=9")
    assert "experiments run or wait in the queue" in checkout.make("tidy")
    checkout.dvc("queue", "remove", "waits")

    said = checkout.make("tidy")
    assert "0.1 MB  checkpoints: 1 of" in said
    assert "MLflow: 1 deleted runs" in said
    unneeded = int(re.search(r"(\d+) files that neither", said)[1])  # the model and predictions of an experiment
    assert unneeded > 2
    assert "Nothing was freed" in said
    assert old.exists()
    assert {path for path in cache.rglob("*") if path.is_file()} == before
    assert "Freed." in checkout.make("tidy", "yes")
    assert [path for path in (old, Path(dropped.info.artifact_uri), model) if path.exists()] == []
    assert new.exists()
    assert Path(crowned.info.artifact_uri).exists()
    assert len({path for path in cache.rglob("*") if path.is_file()}) == len(before) - unneeded
    assert "Nothing to free." in checkout.make("tidy")
    checkout.dvc("exp", "apply", "kept")
    assert "Data and pipelines are up to date" in checkout.dvc("status")
    checkout.run("git", "checkout", "-q", ".")
    checkout.dvc("checkout")
    assert "1 experiment: 0 logged, 1 already there" in checkout.make("sync")
