"""A checkout with the results of f63052e after `git pull`: nothing is lost, and nothing is in MLflow twice.

The archive holds a git repository with the old code, its results and two DVC experiments; DVC's cache; mlflow.db and
mlartifacts with the run of the workspace, of the experiment `quick`, whose model is the champion, and of `bent`, whose
run was deleted in MLflow. `git show 1f5dbaf:tests/upgrading/make_checkout.py` is the script that made it.
"""

import contextlib
import io
import json
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
from tests.test_experiments import Checkout

ARCHIVE = Path(__file__).parent / "upgrading/checkout_f63052e.tar.xz"
PLACE = "/checkout"  # stands in the archive for the checkout's folder
FILES = ["src", "params.yaml", "dvc.yaml", ".dvcignore", ".gitignore", ".dvc", "metrics/.gitignore", "data/.gitignore"]
SMALL = {"dataset": "synthetic", "synthetic_rows_per_writer": 10, "hidden_layers": [16], "lr": 0.01, "epochs": 3}
SMALL |= {"batch_size": 8, "weight_average": 0.9, "mistakes_shown": 1}

PREDICT = """
import sys, mlflow, numpy as np, pandas as pd
columns = [f"{axis}{point}" for point in range(1, 9) for axis in "xy"]
rows = pd.DataFrame(np.loadtxt(sys.argv[2], delimiter=",")[:, :-1], columns=columns)
mlflow.pyfunc.load_model(sys.argv[1]).predict(rows).to_csv(sys.stdout, index=False, header=False)
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.filterwarnings("ignore:Python 3.14:DeprecationWarning"),  # tarfile's, before 3.14
]


class OldCheckout(Checkout):
    """The checkout, and what a user does in it."""

    def make(self, *arguments: str, **how: bool) -> str:
        """Run one of our commands as it is started since the upgrade or, if an old experiment is applied, before it."""
        if (self.folder / "src/__main__.py").exists():
            return super().make(*arguments, **how)
        return self.run(sys.executable, f"src/{arguments[0]}.py", *arguments[1:], **how)

    def ask(self, question: str, *values: str) -> list[tuple[str, str]]:
        """Rows of two columns from MLflow's database."""
        with contextlib.closing(sqlite3.connect(self.folder / "mlflow.db")) as database:
            return database.execute(question, values).fetchall()

    def finished(self) -> dict[str, str]:
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


def relocate(folder: Path) -> None:
    """Put the folder in place of PLACE in what MLflow keeps of it: f63052e logs absolute paths."""
    with contextlib.closing(sqlite3.connect(folder / "mlflow.db")) as database, database:
        for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            for _, column, *_ in database.execute(f"PRAGMA table_info({table})").fetchall():
                change = f"UPDATE {table} SET {column} = replace({column}, ?, ?) WHERE instr({column}, ?)"  # noqa: S608
                database.execute(change, (PLACE, str(folder), PLACE))
    for path in folder.glob("mlartifacts/**/MLmodel"):
        path.write_text(path.read_text().replace(PLACE, str(folder)))


def upgraded(folder: Path) -> OldCheckout:
    """The old checkout after `git pull`; its parameters are as small as before."""
    shutil.unpack_archive(ARCHIVE, folder)
    relocate(folder)
    checkout = OldCheckout(folder)
    checkout.run("git", "reset", "-q")
    checkout.run("git", "rm", "-rq", *FILES)
    copy_project(folder, [".dvc/.gitignore", ".dvc/plots"], **SMALL)
    checkout.run("git", "add", ".")
    checkout.run("git", "commit", "-q", "--allow-empty", "-m", "Upgrade")
    return checkout


@pytest.fixture
def checkout(tmp_path: Path) -> OldCheckout:
    return upgraded(tmp_path / "a checkout")


def test_the_champion_reigns_on_and_sync_enters_just_the_old_experiment_that_has_no_run(
    checkout: OldCheckout, tmp_path: Path
) -> None:
    old = checkout.finished()
    assert re.fullmatch(r".*synthetic-quick.*\n", checkout.make("champion"))
    (run_id,) = (run_id for run_id, name in old.items() if name == "synthetic-quick")
    checkout.check_answers(run_id, "models:/synthetic@champion", tmp_path)

    checkout.make("sync")
    synced = checkout.finished()
    assert len(old) == 2
    assert sorted(synced.values()) == sorted([*old.values(), "synthetic-bent"])
    ((run_id, _),) = synced.items() - old.items()
    params = dict(checkout.ask("SELECT key, value FROM params WHERE run_uuid = ?", run_id))
    assert (params.get("augment.bend", params.get("augment_bend")), params["lr"]) == ("0.2", "0.01")
    metrics = dict(checkout.ask("SELECT key, value FROM latest_metrics WHERE run_uuid = ?", run_id))
    (commit,) = checkout.run("git", "for-each-ref", "--format=%(objectname)", "refs/exps/*/*/bent").split()
    evaluated = json.loads(checkout.run("git", "show", f"{commit}:metrics/evaluate.json"))
    assert metrics["test_accuracy"] == evaluated["test_accuracy"]
    ((model, _),) = checkout.ask("SELECT model_id, name FROM logged_models WHERE source_run_id = ?", run_id)
    checkout.check_answers(run_id, f"models:/{model}", tmp_path)

    checkout.dvc("exp", "run", "-n", "later", "-S", "lr=0.03")
    runs = checkout.finished()
    assert sorted(runs.values()) == sorted([*synced.values(), "synthetic-later"])
    said = checkout.make("compare", "quick", "later")
    assert re.search(r"(?m)^lr +0\.02 +0\.03$", said)
    # Where the values are the same, they are under the old names and the new ones.
    assert not re.search(r"augment_|augment\.(apart|aspect|trim|jitter)", said)
    assert re.search(r"(?m)^augment.bend +0\.1 +0\.06$", said)
    assert re.search(r"(?m)^ +dvc exp apply (quick|later)$", said)  # it can tell the better one: the rows are the same
    said = checkout.make("compare", "bent", "later")
    assert re.search(r"(?m)^augment.bend +0\.2 +0\.06$", said)
    assert len(checkout.make("champion").splitlines()) == 1  # the best of all: it is not refused for other rows
    checkout.make("sync")
    assert checkout.finished() == runs


def test_an_old_experiment_is_applied_and_left_again_and_an_old_params_yaml_refused(
    checkout: OldCheckout,
) -> None:
    checkout.dvc("exp", "apply", "quick")  # brings the code of the experiment, too
    assert yaml.safe_load((checkout.folder / "params.yaml").read_text())["lr"] == 0.02
    metrics = (checkout.folder / "metrics/evaluate.json").read_bytes()
    checkout.make("run")
    assert (checkout.folder / "metrics/evaluate.json").read_bytes() == metrics

    checkout.run("git", "checkout", "-q", ".")
    checkout.dvc("checkout")
    old = checkout.finished()
    checkout.make("sync")  # by the new code, beside the modules that the old code has left behind
    assert sorted(checkout.finished().values()) == sorted([*old.values(), "synthetic-bent"])

    old = checkout.run("git", "show", "HEAD~1:params.yaml")
    (checkout.folder / "params.yaml").write_text(old)
    assert re.fullmatch(r"params\.yaml: .*augment.*\n", checkout.make("run", fails=True))
