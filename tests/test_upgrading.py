"""A checkout with the results of f63052e after `git pull`: nothing is lost, and nothing is in MLflow twice.

upgrading/make_checkout.py made it: the run of the workspace, the experiment `quick`, whose model is the champion, and
the experiment `bent`, whose run was deleted in MLflow.
"""

import contextlib
import io
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from tests.project_copy import copy_project
from tests.upgrading.make_checkout import ARCHIVE, FILES, PLACE, SMALL, relocate

PREDICT = """
import sys, mlflow, numpy as np
rows = np.loadtxt(sys.argv[2], delimiter=",")[:, :-1]
mlflow.pyfunc.load_model(sys.argv[1]).predict(rows).to_csv(sys.stdout, index=False, header=False)
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.filterwarnings("ignore:Python 3.14:DeprecationWarning"),  # tarfile's, before 3.14
]


class Checkout:
    """The checkout, and what a user does in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        ours = ("DVC_", "MLFLOW_", "PENDIGITS_", "PYTHONPATH")
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
        self.environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

    def try_run(self, *command: str) -> tuple[int, str]:
        """The exit code, and what the command prints."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout

    def run(self, *command: str) -> str:
        code, said = self.try_run(*command)
        assert code == 0, said
        return said

    def ours(self, name: str) -> list[str]:
        """How one of our commands is started: since the upgrade or, if an old experiment is applied, before it."""
        new = (self.folder / "src/__main__.py").exists()
        return [sys.executable, *(["src", name] if new else [f"src/{name}.py"])]

    def command(self, name: str, *arguments: str) -> str:
        return self.run(*self.ours(name), *arguments)

    def dvc(self, *arguments: str) -> str:
        return self.run(sys.executable, "-m", "dvc", *arguments)

    def ask(self, question: str, *values: str) -> list[tuple[str, str]]:
        """Rows of two columns from MLflow's database."""
        with contextlib.closing(sqlite3.connect(self.folder / "mlflow.db")) as database:
            return database.execute(question, values).fetchall()

    def runs(self) -> dict[str, str]:
        """The names of the finished runs by their ids."""
        question = "SELECT run_uuid, name FROM runs WHERE status = 'FINISHED' AND lifecycle_stage = 'active'"
        return dict(self.ask(question))

    def check_answers(self, run_id: str, model: str, elsewhere: Path) -> None:
        """A model of MLflow's, loaded by a program that knows nothing of the project, predicts what its run says."""
        environment = self.environment | {"MLFLOW_TRACKING_URI": f"sqlite:///{self.folder}/mlflow.db"}
        rows = self.folder / "data/raw/synthetic/pendigits.tes"
        said = subprocess.check_output(
            [sys.executable, "-c", PREDICT, model, rows], cwd=elsewhere, env=environment, text=True
        )
        logged = self.folder / "mlartifacts" / run_id / "artifacts/metrics/predictions.csv"
        expected = np.loadtxt(logged, delimiter=",", skiprows=1)[:, 3:]
        np.testing.assert_allclose(np.loadtxt(io.StringIO(said), delimiter=","), expected, atol=1e-5)


def upgraded(folder: Path) -> Checkout:
    """The old checkout after `git pull`; its parameters are as small as before."""
    shutil.unpack_archive(ARCHIVE, folder)
    relocate(folder, PLACE, str(folder))
    checkout = Checkout(folder)
    checkout.run("git", "reset", "-q")
    checkout.run("git", "rm", "-rq", *FILES)
    copy_project(folder, [".dvc/.gitignore", ".dvc/plots"], **SMALL)
    checkout.run("git", "add", ".")
    checkout.run("git", "commit", "-q", "--allow-empty", "-m", "Upgrade")
    return checkout


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return upgraded(tmp_path / "a checkout")


@pytest.fixture(scope="module")
def synced(tmp_path_factory: pytest.TempPathFactory) -> tuple[Checkout, dict[str, str]]:
    """A checkout after `make sync`, and the runs that it had before."""
    checkout = upgraded(tmp_path_factory.mktemp("upgraded") / "a checkout")
    old = checkout.runs()
    checkout.command("sync")
    return checkout, old


def test_sync_enters_just_the_old_experiment_that_has_no_run(
    synced: tuple[Checkout, dict[str, str]], tmp_path: Path
) -> None:
    checkout, old = synced
    runs = {run_id: name for run_id, name in checkout.runs().items() if name != "synthetic-later"}
    assert len(old) == 2
    assert sorted(runs.values()) == sorted([*old.values(), "synthetic-bent"])
    ((run_id, _),) = runs.items() - old.items()

    params = dict(checkout.ask("SELECT key, value FROM params WHERE run_uuid = ?", run_id))
    assert (params.get("augment.bend", params.get("augment_bend")), params["lr"]) == ("0.2", "0.01")
    metrics = dict(checkout.ask("SELECT key, value FROM latest_metrics WHERE run_uuid = ?", run_id))
    (commit,) = checkout.run("git", "for-each-ref", "--format=%(objectname)", "refs/exps/*/*/bent").split()
    evaluated = json.loads(checkout.run("git", "show", f"{commit}:metrics/evaluate.json"))
    assert metrics["test_accuracy"] == evaluated["test_accuracy"]
    ((model, _),) = checkout.ask("SELECT model_id, name FROM logged_models WHERE source_run_id = ?", run_id)
    checkout.check_answers(run_id, f"models:/{model}", tmp_path)


def test_a_new_run_is_compared_with_old_ones_and_sync_enters_nothing_twice(
    synced: tuple[Checkout, dict[str, str]],
) -> None:
    checkout, _ = synced
    old = checkout.runs()
    checkout.dvc("exp", "run", "-n", "later", "-S", "lr=0.03")
    runs = checkout.runs()
    assert sorted(runs.values()) == sorted([*old.values(), "synthetic-later"])

    said = checkout.command("compare", "quick", "later")
    assert re.search(r"(?m)^lr +0\.02 +0\.03$", said)
    assert "augment" not in said  # its values are the same, under the old names and the new ones
    assert re.search(r"(?m)^ +dvc exp apply (quick|later)$", said)  # it can tell the better one: the rows are the same
    said = checkout.command("compare", "bent", "later")
    assert re.search(r"(?m)^augment.bend +0\.2 +0\.1$", said)
    assert len(checkout.command("champion").splitlines()) == 1  # the best of all: it is not refused for other rows

    checkout.command("sync")
    assert checkout.runs() == runs


def test_the_champion_reigns_on(checkout: Checkout, tmp_path: Path) -> None:
    said = checkout.command("champion")
    assert re.fullmatch(r".*synthetic-quick.*\n", said)
    (run_id,) = (run_id for run_id, name in checkout.runs().items() if name == "synthetic-quick")
    checkout.check_answers(run_id, "models:/synthetic@champion", tmp_path)


def test_an_old_experiment_can_be_applied_and_left_again(checkout: Checkout) -> None:
    checkout.dvc("exp", "apply", "quick")  # brings the code of the experiment, too
    assert yaml.safe_load((checkout.folder / "params.yaml").read_text())["lr"] == 0.02
    metrics = (checkout.folder / "metrics/evaluate.json").read_bytes()
    checkout.command("run")
    assert (checkout.folder / "metrics/evaluate.json").read_bytes() == metrics

    checkout.run("git", "checkout", "-q", ".")
    checkout.dvc("checkout")
    old = checkout.runs()
    checkout.command("sync")  # by the new code, beside the modules that the old code has left behind
    assert sorted(checkout.runs().values()) == sorted([*old.values(), "synthetic-bent"])


def test_an_old_params_yaml_works_or_is_refused_in_one_line(checkout: Checkout) -> None:
    old = checkout.run("git", "show", "HEAD~1:params.yaml")
    (checkout.folder / "params.yaml").write_text(old)
    code, said = checkout.try_run(*checkout.ours("run"))
    assert code == 0 or re.fullmatch(r"params\.yaml: .*augment.*\n", said), said
