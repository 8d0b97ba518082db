"""What MLflow shows of the pipeline, and that the pipeline does not care.

The store is a real one in a temporary folder, made once; each test has an experiment name of its own in it.
"""

import contextlib
import io
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import textwrap
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from commands import ui
from neural_net import Network
from pen.features import FEATURE_SETS
from pen.recognizer import PenDigitsModel, save_model
from pipeline import errors, paths
from pipeline.configure import build_network
from pipeline.params import load_params
from runtime import files
from tracking import messages, recorder, reporter
from tracking import run as run_module
from tracking import store as store_module
from tracking.run import EXAMPLE, ORIGIN, Run, checksum, ensure_run, flat, imported, read_params
from tracking.store import Store, open_store, store_uri
from train import table_csv

ROOT = Path(__file__).parents[2]
RECORDS = [
    {"epoch": epoch, "lr": 0.002 / epoch, "train_loss": 2 / 3 / epoch, "train_accuracy": 1 - 1 / 3 / epoch}
    | {"val_loss": 1 / epoch, "val_accuracy": 1 - 1 / 7 / epoch}
    for epoch in (1, 2, 3)
]

# MLflow and what it uses warn of each other, on import too.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")


# --- The folder of a pipeline that has run ---


def write_training(folder: Path, seed: int = 0) -> None:
    params = load_params(folder / "params.yaml")
    network = build_network(params, np.random.default_rng(seed))
    save_model(PenDigitsModel(network, params.dataset), folder / "models")
    files.write_bytes(folder / paths.HISTORY, table_csv(list(RECORDS[0]), RECORDS))
    metrics = {"dataset": params.dataset, "n_parameters": network.n_parameters, "epochs": 3, "val_accuracy": 0.96}
    files.write_json(folder / paths.TRAIN_METRICS, metrics)


def write_evaluation(folder: Path, ece: float = 0.01) -> None:
    files.write_json(folder / paths.EVALUATE_METRICS, {"dataset": "pendigits", "test_accuracy": 0.97, "test_ece": ece})
    files.write_bytes(folder / paths.EVALUATE_FILES[1], b"row,writer,digit,predicted\n0,1,4,4\n")


def write_figures(folder: Path, picture: bytes = b"a picture") -> None:
    files.write_bytes(folder / paths.FIGURES / "weights.png", picture)


def set_param(folder: Path, key: str, value: Any) -> None:
    text = (folder / "params.yaml").read_text()
    changed = re.sub(rf"(?m)^{key}:.*(\n[ -].*)*", f"{key}: {json.dumps(value)}", text)
    (folder / "params.yaml").write_text(changed)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkout after a run of the pipeline."""
    (tmp_path / "src").symlink_to(ROOT / "src")
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    set_param(tmp_path, "hidden_layers", [4])
    for file in paths.DATA_FILES:
        files.write_bytes(tmp_path / file, file.encode())
    write_training(tmp_path)
    write_evaluation(tmp_path)
    write_figures(tmp_path)
    return tmp_path


# --- The store ---


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stands for the main checkout, at a path that is not easy."""
    return tmp_path_factory.mktemp("main checkout 100% #1")


@pytest.fixture
def environment(home: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("MLFLOW_TRACKING_URI", "PENDIGITS_TRACKING", *ORIGIN.values()):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DVC_ROOT", str(home))
    for name, value in messages.ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "path", list(sys.path))  # to which MLflow adds the code of each model
    return monkeypatch


@pytest.fixture
def store(environment: pytest.MonkeyPatch) -> Store:
    return open_store()


@pytest.fixture
def origin(request: pytest.FixtureRequest) -> dict[str, str]:
    """A DVC experiment of the test's own."""
    return {"dvc.exp_name": request.node.name, "dvc.baseline_rev": "c0ffee"}


def runs_of(store: Store, origin: dict[str, str]) -> list[Any]:
    """Newest first."""
    every = store.client.search_runs([store.experiment_id])
    return [run for run in every if all(run.data.tags.get(tag) == origin.get(tag) for tag in ORIGIN)]


def snapshots_of(store: Store, origin: dict[str, str]) -> list[dict[str, Any]]:
    return [run.to_dictionary() for run in runs_of(store, origin)]


def files_of(store: Store, run: Any, place: str | None = None) -> set[str]:
    found: set[str] = set()
    for file in store.client.list_artifacts(run.info.run_id, place):
        found |= files_of(store, run, file.path) if file.is_dir else {file.path}
    return found


def curve_of(store: Store, run: Any, metric: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in store.client.get_metric_history(run.info.run_id, metric)]


def content_of(store: Store, run: Any) -> dict[str, Any]:
    """All that does not depend on the moment."""
    return {
        "params": run.data.params,
        "curves": {metric: curve_of(store, run, metric) for metric in run.data.metrics},
        "tags": {tag: value for tag, value in run.data.tags.items() if tag != "mlflow.process"},
        "files": files_of(store, run),
        "models": len(run.outputs.model_outputs),
        "status": run.info.status,
    }


def test_experiment_has_a_place_a_kind_and_a_description(store: Store, home: Path) -> None:
    experiment = store.client.get_experiment(store.experiment_id)
    assert experiment.name == "pendigits"
    assert experiment.artifact_location == str(home / "mlartifacts")
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    assert "test_accuracy" in experiment.tags["mlflow.note.content"]


def test_a_store_that_is_ready_is_opened_without_a_lock(store: Store, environment: pytest.MonkeyPatch) -> None:
    def lock(path: str) -> None:
        raise AssertionError(f"locked {path}")

    environment.setattr("filelock.FileLock", lock)
    assert open_store().experiment_id == store.experiment_id


def test_a_deleted_experiment_comes_back_with_its_description(store: Store) -> None:
    store.client.set_experiment_tag(store.experiment_id, "mlflow.note.content", "")
    store.client.delete_experiment(store.experiment_id)
    again = open_store()
    assert again.experiment_id == store.experiment_id
    experiment = store.client.get_experiment(store.experiment_id)
    assert experiment.lifecycle_stage == "active"
    assert experiment.tags["mlflow.note.content"]


def test_a_database_of_another_mlflow_is_kept_and_upgraded(
    store: Store, home: Path, environment: pytest.MonkeyPatch
) -> None:
    with contextlib.closing(sqlite3.connect(home / "mlflow.db")) as database, database:
        database.execute("PRAGMA user_version = 3000000")
    assert open_store().experiment_id == store.experiment_id
    assert (home / "mlflow.db.backup").exists()


def test_a_damaged_database_is_named_at_once(tmp_path: Path, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("DVC_ROOT", str(tmp_path))
    (tmp_path / "mlflow.db").write_bytes(b"this is no database" * 100)
    with pytest.raises(errors.StageError, match=r"mlflow\.db is damaged"):
        open_store()


def test_a_locked_database_is_not_called_damaged(tmp_path: Path, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("DVC_ROOT", str(tmp_path))
    environment.setattr(store_module, "LOCK_SECONDS", 0.1)
    with contextlib.closing(sqlite3.connect(tmp_path / "mlflow.db", isolation_level=None)) as other:
        other.execute("create table t (a)")
        other.execute("begin exclusive")
        with pytest.raises(errors.StageError, match=r"mlflow\.db cannot be read now, database is locked"):
            open_store()


# --- Runs made from files ---


def test_a_run_made_from_files_is_complete(store: Store, origin: dict[str, str], folder: Path) -> None:
    ensure_run(store, folder, origin)
    (run,) = runs_of(store, origin)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == origin["dvc.exp_name"]
    assert run.data.params["hidden_layers"] == "[4]"
    assert run.data.params["activation"] == "gelu"
    assert [step for step, _ in curve_of(store, run, "val_loss")] == [1, 2, 3]
    assert [value for _, value in curve_of(store, run, "val_loss")] == pytest.approx([1, 1 / 2, 1 / 3], rel=1e-5)
    assert run.data.metrics["final_val_accuracy"] == 0.96
    assert run.data.metrics["test_accuracy"] == 0.97
    assert run.data.metrics["n_parameters"] == 16 * 4 + 4 + 4 * 10 + 10
    assert run.data.metrics["weight_norm_linear1_W"] > 0
    assert {"weights.png", "weights/network.npz", "metrics/predictions.csv", "metrics/history.csv"} <= files_of(
        store, run
    )
    assert set(run.data.tags) >= {"data.sha256", "model.sha256", "evaluate.sha256", "figures.sha256", "dataset"}
    (output,) = run.outputs.model_outputs
    model = store.client.get_logged_model(output.model_id)
    assert {"final_val_accuracy", "test_accuracy"} <= {metric.key for metric in model.metrics}


def test_a_run_is_made_once(store: Store, origin: dict[str, str], folder: Path) -> None:
    assert ensure_run(store, folder, origin)
    before = snapshots_of(store, origin)
    assert ensure_run(store, folder, origin) is None
    assert ensure_run(store, folder, origin, with_figures=False) is None
    assert snapshots_of(store, origin) == before


def test_another_evaluation_is_another_run(store: Store, origin: dict[str, str], folder: Path) -> None:
    ensure_run(store, folder, origin)
    (first,) = snapshots_of(store, origin)
    set_param(folder, "ece_bins", 10)
    write_evaluation(folder, ece=0.02)
    ensure_run(store, folder, origin, with_figures=False)  # what the evaluate stage does
    write_figures(folder, b"another picture")
    ensure_run(store, folder, origin)  # and the plot stage
    second, unchanged = runs_of(store, origin)
    assert unchanged.to_dictionary() == first
    assert second.data.metrics["test_ece"] == 0.02
    assert second.data.params["ece_bins"] == "10"
    assert "figures.sha256" in second.data.tags


def test_pictures_drawn_anew_change_nothing(store: Store, origin: dict[str, str], folder: Path) -> None:
    ensure_run(store, folder, origin)
    before = snapshots_of(store, origin)
    set_param(folder, "mistakes_shown", 3)
    write_figures(folder, b"another picture")
    assert ensure_run(store, folder, origin) is None
    assert snapshots_of(store, origin) == before


def test_experiments_with_the_same_model_have_their_own_runs(
    store: Store, origin: dict[str, str], folder: Path
) -> None:
    ensure_run(store, folder, origin)
    before = snapshots_of(store, origin)
    for other in (origin | {"dvc.exp_name": "other-name"}, origin | {"dvc.baseline_rev": "decaf"}, {}):
        assert ensure_run(store, folder, other)
        assert len(runs_of(store, other)) == 1
    assert snapshots_of(store, origin) == before


def test_a_forced_run_evaluates_into_its_own_training(store: Store, origin: dict[str, str], folder: Path) -> None:
    ensure_run(store, folder, origin)
    (first,) = runs_of(store, origin)
    train(store, folder, origin)
    ensure_run(store, folder, origin, with_figures=False)
    ensure_run(store, folder, origin)
    second, unchanged = runs_of(store, origin)
    assert unchanged.to_dictionary() == first.to_dictionary()
    assert content_of(store, second) == content_of(store, first)


def test_a_training_with_other_parameters_is_not_taken(store: Store, origin: dict[str, str], folder: Path) -> None:
    train(store, folder, origin)  # and then evaluate with another setting, before that run was evaluated
    set_param(folder, "ece_bins", 10)
    ensure_run(store, folder, origin)
    evaluated, trained = runs_of(store, origin)
    assert "evaluate.sha256" not in trained.data.tags
    assert evaluated.data.params["ece_bins"] == "10"


def test_a_training_that_was_cut_off_is_not_taken(store: Store, origin: dict[str, str], folder: Path) -> None:
    run = Run.start(store, folder, origin, read_params(folder), 0)
    run.log_training()
    run.end("KILLED")
    ensure_run(store, folder, origin)
    complete, cut_off = runs_of(store, origin)
    assert (complete.info.status, cut_off.info.status) == ("FINISHED", "KILLED")
    assert "evaluate.sha256" not in cut_off.data.tags


def test_of_a_run_that_could_not_be_completed_nothing_is_left(
    store: Store, origin: dict[str, str], folder: Path
) -> None:
    (folder / paths.EVALUATE_METRICS).write_text("{")
    with pytest.raises(ValueError, match="Expecting"):
        ensure_run(store, folder, origin)
    assert not runs_of(store, origin)


def test_a_run_that_lost_its_store_gives_way_to_the_complete_one(
    store: Store, origin: dict[str, str], folder: Path
) -> None:
    from mlflow.entities import Param

    params = read_params(folder)
    cut_off, at_work, other = (Run.start(store, folder, origin, params, messages._now()) for _ in range(3))
    cut_off.log_epochs([messages.Epoch(RECORDS[0], 0)])
    store.client.log_batch(other.id, params=[Param("lr", "0.5")])
    for gone in (cut_off, other):
        store.client.set_tag(gone.id, "mlflow.process", f"{socket.gethostname()}:999999999")
    made = ensure_run(store, folder, origin)
    assert made
    assert {run.info.run_id for run in runs_of(store, origin)} == {made.id, at_work.id, other.id}


def test_a_store_that_fails_now_and_then_gets_one_whole_run(
    store: Store, origin: dict[str, str], folder: Path, stage_of: pytest.MonkeyPatch
) -> None:
    from mlflow.exceptions import MlflowException

    real, fails = Run._log_points, iter([True, True, False])

    def away_at_first(run: Run, points: list[Any]) -> None:
        real(run, points)
        if points and next(fails, False):
            raise MlflowException("the answer was lost")

    stage_of.setattr(Run, "_log_points", away_at_first)
    inbox = recorder._Inbox(io.BytesIO())
    came = [[messages.Epoch(record, 1000 + step)] for step, record in enumerate(RECORDS)]
    params = read_params(folder)

    def ending() -> Iterator[list[messages.Epoch]]:
        yield from came
        inbox.status = "FINISHED"
        yield []

    stage_of.setattr(inbox, "epochs", ending)
    recorder._follow_training(inbox, params, messages._now())
    (run,) = runs_of(store, origin)
    assert run.info.status == "FINISHED"
    assert run.data.params == flat(params)
    assert [step for step, _ in curve_of(store, run, "val_loss")] == [1, 2, 3]


def test_parameters_of_another_version_of_the_code_are_shown_as_they_are(folder: Path) -> None:
    (folder / "params.yaml").write_text("momentum: 0.5\nnested: {deep: [1, 2]}\n")
    assert flat(read_params(folder)) == {"momentum": "0.5", "nested.deep": "[1, 2]"}


def train(store: Store, folder: Path, origin: dict[str, str]) -> None:
    Run.start(store, folder, origin, read_params(folder), messages._now()).complete()


# --- Runs that are followed while they run, by the side process ---


@pytest.fixture
def stage_of(origin: dict[str, str], folder: Path, store: Store, environment: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Be a stage of the experiment, in its folder."""
    environment.chdir(folder)
    for tag, name in ORIGIN.items():
        environment.setenv(name, origin[tag])
    return environment


def test_a_followed_run_holds_what_one_made_from_its_files_holds(
    store: Store,
    origin: dict[str, str],
    folder: Path,
    stage_of: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with reporter.training(load_params()) as run:
        for record in RECORDS[:2]:  # the third was lost on the way
            run.epoch(record)
    with reporter.evaluation():
        pass
    with reporter.figures():
        pass
    (followed,) = runs_of(store, origin)
    assert capsys.readouterr().out == f"MLflow: logged as {followed.info.run_name}\n"
    store.client.delete_run(followed.info.run_id)
    ensure_run(store, folder, origin)
    (made,) = runs_of(store, origin)
    assert content_of(store, followed) == content_of(store, made)


def test_a_killed_training_is_closed_and_its_curves_have_grown(
    store: Store, origin: dict[str, str], folder: Path, stage_of: pytest.MonkeyPatch
) -> None:
    code = f"""
        import sys, time
        sys.path.insert(0, {str(ROOT / "src")!r})
        import tracking
        from params import load_params
        with tracking.training(load_params()) as run:
            for epoch in range(1, 10000):
                run.epoch({{"epoch": epoch, "val_loss": 1 / epoch}})
                time.sleep(0.1)
    """
    trainer = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)])
    try:
        wait_for(lambda: any("val_loss" in run.data.metrics for run in runs_of(store, origin)))
        assert runs_of(store, origin)[0].info.status == "RUNNING"
    finally:
        trainer.send_signal(signal.SIGKILL)
        trainer.wait()
    wait_for(lambda: runs_of(store, origin)[0].info.status == "KILLED")


def wait_for(condition: Any, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.2)


def test_a_server_that_is_away_is_said_once_and_changes_nothing(
    folder: Path, stage_of: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    address = f"127.0.0.1:{free_port()}"
    stage_of.setenv("MLFLOW_TRACKING_URI", f"http://somebody:secret@{address}")
    with reporter.training(load_params()) as run:
        run.epoch(RECORDS[0])
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"MLflow: not logged (no answer from http://{address}). Nothing else is affected")
    assert line.endswith("`make sync` enters the run later.")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# --- The stage's side, with other side processes ---


@pytest.fixture
def side_process(tmp_path: Path, environment: pytest.MonkeyPatch) -> Any:
    """Replace the side process by one with the given code."""

    def replace(code: str) -> None:
        (tmp_path / "side.py").write_text(code)
        environment.setattr(run_module, "__file__", str(tmp_path / "side.py"))

    return replace


ECHO = """
import sys
for line in sys.stdin:
    print(line, end="")
    if '"end"' in line:
        break
"""


def test_what_the_side_process_is_told_and_what_it_says(side_process: Any, capsys: pytest.CaptureFixture[str]) -> None:
    side_process(ECHO)
    with reporter.training(load_params(ROOT / "params.yaml")) as run:
        run.epoch({"epoch": 1, "val_loss": np.float64(0.5)})
    begin, epoch, end = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert begin["stage"] == "train"
    assert begin["params"]["dataset"] == "pendigits"
    assert epoch["epoch"] == {"epoch": 1, "val_loss": 0.5}
    assert end == {"end": "FINISHED"}


@pytest.mark.parametrize(
    ("error", "status"), [(errors.StageError("diverged"), "FAILED"), (KeyboardInterrupt(), "KILLED")]
)
def test_an_exception_is_passed_on_after_the_side_process_is_told(
    error: BaseException, status: str, side_process: Any, tmp_path: Path
) -> None:
    side_process(f"import sys\nsys.stdout = open({str(tmp_path / 'said')!r}, 'w')\n{ECHO}")
    with pytest.raises(type(error)), reporter.evaluation():
        raise error
    assert json.loads((tmp_path / "said").read_text().splitlines()[-1]) == {"end": status}


ENDS_SLOWLY = """
import contextlib, os, pathlib, signal, sys, time
for line in sys.stdin:
    if '"end"' in line:
        break
os.kill(os.getppid(), signal.SIGTERM)  # while the stage waits
time.sleep(1)
with contextlib.suppress(BrokenPipeError):
    print("logged", flush=True)
os.dup2(2, 1)
pathlib.Path("then").write_text(sys.stdin.readline())
"""


def test_a_stop_in_the_wait_for_the_side_process_waits_on_and_makes_the_run_a_killed_one(
    side_process: Any, environment: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    environment.chdir(tmp_path)
    side_process(ENDS_SLOWLY)
    with pytest.raises(KeyboardInterrupt), reporter.evaluation():
        pass
    assert json.loads(Path("then").read_text()) == {"end": "KILLED"}
    assert capsys.readouterr().out == "stopping, when MLflow has been told\n"
    side_process(ENDS_SLOWLY.replace("SIGTERM)", "SIGTERM); time.sleep(1.5); os.kill(os.getppid(), signal.SIGINT)"))
    Path("then").unlink()
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt), reporter.evaluation():
        pass
    assert time.monotonic() - start < 2.4, "asked twice, it was waited for"
    wait_for(Path("then").exists)
    assert json.loads(Path("then").read_text()) == {"end": "KILLED"}
    side_process(ENDS_SLOWLY)
    with pytest.raises(KeyboardInterrupt, match="how to go on"), reporter.evaluation():
        raise KeyboardInterrupt("how to go on")
    assert Path("then").exists()


def test_a_side_process_that_dies_is_said_with_its_last_words(
    side_process: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    side_process("import sys\nsys.exit('mlflow.exceptions.MlflowException: no store\\n\\n')")
    with reporter.evaluation():
        time.sleep(0.2)
    assert capsys.readouterr().out.startswith("MLflow: not logged (no store)")


def test_the_stages_of_one_pipeline_run_say_the_same_reason_once(
    side_process: Any, environment: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    environment.chdir(tmp_path)
    (tmp_path / ".dvc/tmp").mkdir(parents=True)
    for begun, reason, said in [
        (1.5, "away", 1),
        (1.5, "full", 1),
        (1.5, "away", 0),
        (2.5, "away", 1),
        (None, "away", 1),
    ]:
        environment.setattr("restore.start_of_dvc", lambda begun=begun: begun)
        side_process(f"import sys\nsys.exit({reason!r})")
        with reporter.evaluation():
            pass
        assert capsys.readouterr().out.count(f"MLflow: not logged ({reason})") == said, (begun, reason)


def test_a_side_process_ends_in_order_while_the_stage_still_works(
    environment: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    environment.setenv("DVC_ROOT", str(tmp_path))
    (tmp_path / "mlflow.db").write_bytes(b"this is no database" * 100)
    others = psutil.Process().children()
    with reporter.evaluation():
        (side,) = (child for child in psutil.Process().children() if child not in others)
        wait_for(lambda: side.status() == psutil.STATUS_ZOMBIE)
    assert "mlflow.db is damaged" in capsys.readouterr().out


@pytest.mark.parametrize("before", ["", "(raised as a result of Query-invoked autoflush; consider)\n"])
def test_what_the_database_says_is_shown_without_its_statement(
    side_process: Any, environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], before: str
) -> None:
    lines = [
        f"mlflow.exceptions.MlflowException: {before}(sqlite3.OperationalError) disk I/O error",
        "[SQL: SELECT 1",
        "FROM t]",
    ]
    said = "\n".join(["Traceback", "ValueError: first", *lines, "(Background on this error at: https://x)", ""])
    side_process(f"import sys\nsys.exit({said!r})")
    with reporter.evaluation():
        pass
    assert capsys.readouterr().out.startswith("MLflow: not logged ((sqlite3.OperationalError) disk I/O error). ")


def test_a_side_process_that_hangs_holds_nothing_up(
    side_process: Any, environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    side_process("import time\ntime.sleep(600)")
    environment.setattr(reporter, "WAIT_SECONDS", 1)
    environment.setattr(messages, "SEND_SECONDS", 0)
    start = time.monotonic()
    with reporter.training(load_params(ROOT / "params.yaml")) as run:
        for _ in range(2000):  # more than a pipe holds
            run.epoch(RECORDS[0])
    assert time.monotonic() - start < 30
    assert capsys.readouterr().out.startswith("MLflow: not logged (not done within 1 s)")


def test_a_stop_is_not_forgotten_where_the_side_process_hangs(
    side_process: Any, environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    side_process("import os, signal, time\ntime.sleep(1)\nos.kill(os.getppid(), signal.SIGTERM)\ntime.sleep(600)")
    environment.setattr(reporter, "STOP_SECONDS", 1.0)
    with pytest.raises(KeyboardInterrupt), reporter.evaluation():
        pass
    assert capsys.readouterr().out == "stopping, when MLflow has been told\n"


def test_asked_again_after_a_stop_in_the_training_it_waits_no_longer(side_process: Any, tmp_path: Path) -> None:
    side_process("import os, signal, time\ntime.sleep(1.5)\nos.kill(os.getppid(), signal.SIGTERM)\ntime.sleep(600)")
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt, match="how to go on"), reporter.evaluation():
        raise KeyboardInterrupt("how to go on")
    assert time.monotonic() - start < 10


def test_a_stop_as_the_side_process_says_that_it_is_done_is_told_by_how_that_ends(
    side_process: Any, environment: pytest.MonkeyPatch
) -> None:
    follow = "import os, sys\nwhile '\"end\"' not in sys.stdin.readline(): pass\nos.dup2(2, 1)\n"
    side_process(f"{follow}os._exit('FINISHED' not in sys.stdin.readline())")
    line = messages._line

    def stopped(message: Mapping[str, Any]) -> bytes:
        ends.append(message.get("end"))
        if ends.count("FINISHED") == 2:  # to be sent as the last word
            signal.raise_signal(signal.SIGTERM)
        return line(message)

    ends: list[str | None] = []
    environment.setattr(messages, "_line", stopped)
    with pytest.raises(KeyboardInterrupt), reporter.evaluation():
        pass
    assert ends == [None, "FINISHED", "FINISHED", "KILLED"]


def test_tracking_can_be_turned_off(side_process: Any, environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    side_process(f"open({str(tmp_path / 'ran')!r}, 'w')")
    environment.setenv("PENDIGITS_TRACKING", "off")
    with reporter.training(load_params(ROOT / "params.yaml")) as run:
        run.epoch(RECORDS[0])
    assert not (tmp_path / "ran").exists()


def test_a_stage_does_not_import_mlflow() -> None:
    code = "import sys, train, evaluate; sys.exit(any(name.split('.')[0] == 'mlflow' for name in sys.modules))"
    subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(ROOT / "src")}, check=True)


def test_lines_that_stop_mean_that_the_stage_was_killed() -> None:
    inbox = recorder._Inbox(io.BytesIO(b'{"stage": "train"}\n{"epoch": {"epoch": 1}, "time": 5}\n{"epoch": {"epo'))
    assert inbox.next() == {"stage": "train"}
    assert [epoch for epochs in inbox.epochs() for epoch in epochs] == [({"epoch": 1}, 5)]
    assert inbox.status == "KILLED"


# --- Where things are ---


def test_the_main_checkout_is_what_dvc_says_or_the_nearest_above(
    tmp_path: Path, environment: pytest.MonkeyPatch
) -> None:
    (tmp_path / "project" / ".dvc").mkdir(parents=True)
    (tmp_path / "project" / "src" / "deep").mkdir(parents=True)
    environment.chdir(tmp_path / "project" / "src" / "deep")
    environment.delenv("DVC_ROOT")
    assert paths.project_root() == tmp_path / "project"
    environment.setenv("DVC_ROOT", str(tmp_path))
    assert store_uri() == f"sqlite:///{tmp_path}/mlflow.db"
    environment.setenv("MLFLOW_TRACKING_URI", "http://team:5000")
    assert store_uri() == "http://team:5000"


def test_parameters_become_strings() -> None:
    params = {"lr": 1e-5, "layers": [64, 32], "name": "gelu", "none": None, "on": True, "decay": {"step": 3}}
    assert flat(params) == {
        "lr": "1e-05",
        "layers": "[64, 32]",
        "name": "gelu",
        "none": "null",
        "on": "true",
        "decay.step": "3",
    }


def test_a_checksum_needs_all_files(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"ab")
    (tmp_path / "b").write_bytes(b"c")
    abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # SHA-256 of "abc", FIPS 180-4
    assert checksum(tmp_path, ["a", "b"]) == abc
    assert checksum(tmp_path, ["a", "missing"]) == ""


# --- The model ---


def test_the_code_that_goes_with_a_model_is_what_it_imports(tmp_path: Path) -> None:
    for name, code in {
        "script.py": "import os, first\nfrom package.inner import thing",
        "first.py": "def later():\n    from second import thing",
        "second.py": "import first, script_not_there",
        "stranger.py": "",
        "package/inner.py": "from . import stranger",
    }.items():
        files.write_bytes(tmp_path / name, code.encode())
    assert {path.name for path in imported(tmp_path / "script.py")} == {"first.py", "second.py", "package"}


LOAD = """
import json, sys
import mlflow
import pandas as pd

mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model(sys.argv[2])
row = json.loads(sys.argv[3])
columns = dict(zip([f"{axis}{point}" for point in range(1, 9) for axis in "xy"], row))
forms = {
    "a row": row,
    "rows": [row],
    "a dict": columns,
    "dicts": [columns],
    "a dict of columns": {name: [value] for name, value in columns.items()},
    "a frame": pd.DataFrame([columns]),
    "a frame in another order": pd.DataFrame([columns]).iloc[:, ::-1],
    "a frame without names": pd.DataFrame([row], dtype=float),
}
print(json.dumps({name: model.predict(form).to_dict("records") for name, form in forms.items()}))
"""


def test_the_model_loads_anywhere_without_pickle_and_takes_every_form(
    store: Store, origin: dict[str, str], folder: Path
) -> None:
    train(store, folder, origin)
    (output,) = runs_of(store, origin)[0].outputs.model_outputs
    for described in paths.project_root().rglob("MLmodel"):  # nobody reads a pickle that lies in the model's folder
        (described.parent / "python_model.pkl").write_bytes(b"cbuiltins\nexit\n(I3\ntR.")
    environment = os.environ | {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false", "PYTHONPATH": ""}
    arguments = [store_uri(), f"models:/{output.model_id}", json.dumps(EXAMPLE)]
    loaded = subprocess.run(
        [sys.executable, "-c", LOAD, *arguments], env=environment, cwd="/", capture_output=True, text=True, check=True
    )
    answers = json.loads(loaded.stdout.splitlines()[-1])
    network = build_network(load_params(folder / "params.yaml"), np.random.default_rng(0))
    p = PenDigitsModel(network, "pendigits").predict_proba([EXAMPLE])[0]
    expected = {"digit": int(p.argmax())} | {f"p{digit}": pytest.approx(float(p[digit])) for digit in range(10)}
    assert len(answers) == 8
    for form, rows in answers.items():
        assert rows == [expected], form


LOAD_INK = """
import json, sys
import mlflow, pandas as pd

mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model(sys.argv[2])
digits = json.loads(sys.argv[3])
forms = [pd.DataFrame({"ink": digits}), digits, pd.DataFrame(model.input_example)]
print(json.dumps([model.predict(form).to_dict("records") for form in forms]))
"""


def test_a_model_over_ink_takes_strokes(store: Store, origin: dict[str, str], folder: Path) -> None:
    model = PenDigitsModel(
        Network(["tanh", {"linear": {"n_out": 10}}], FEATURE_SETS["ink"].size, rng=np.random.default_rng(0)),
        "pendigits",
        1,
        "ink",
    )
    save_model(model, folder / "models")
    train(store, folder, origin)
    (output,) = runs_of(store, origin)[0].outputs.model_outputs
    ink = [[[[0, 0], [0, 300]], [[-50, 100], [50, 100]]], [[[5, 5], [9, 9]]]]
    arguments = [store_uri(), f"models:/{output.model_id}", json.dumps(ink)]
    loaded = subprocess.run(
        [sys.executable, "-c", LOAD_INK, *arguments], cwd="/", capture_output=True, text=True, check=True
    )
    table, plain, example = json.loads(loaded.stdout.splitlines()[-1])
    assert table == plain
    assert [row["digit"] for row in table] == model.predict(ink).tolist()
    assert len(example) == 1


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        ([[1] * 15], "shape (1, 15)"),
        ([[1] * 15 + [101]], "from 0 to 100"),
        ([[1] * 15 + [float("nan")]], "from 0 to 100"),
        ([["a"] * 16], "could not convert"),
        ([["\x1b[2J" + "a" * 5000] * 16], "could not convert"),
        ([], "shape"),
        ({"x1": [3], "y1": [4]}, "missing are x2, y2"),
    ],
)
def test_the_model_refuses_in_words(request_: Any, reason: str, environment: pytest.MonkeyPatch, folder: Path) -> None:
    from mlflow.exceptions import MlflowException
    from mlflow.pyfunc import PythonModelContext

    from tracking import served_model

    served = served_model.PenDigits()
    served.load_context(PythonModelContext({"weights": str(folder / "models" / "network.npz")}, None))
    with pytest.raises(MlflowException) as refused:
        served.predict(request_)
    assert reason in refused.value.message
    assert refused.value.message.isprintable()
    assert len(refused.value.message) <= 600
    assert refused.value.get_http_status_code() == 400


# --- Long ones ---


@pytest.mark.slow
def test_eight_first_users_at_once_lose_nothing(
    origin: dict[str, str], folder: Path, environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    environment.setenv("DVC_ROOT", str(tmp_path / "fresh"))
    code = "import tracking\nfrom params import load_params\nwith tracking.training(load_params()): pass"
    names = [f"experiment-{number}" for number in range(8)]
    stages = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(ROOT / "src"), "DVC_EXP_NAME": name, "DVC_EXP_BASELINE_REV": "c0ffee"},
        )
        for name in names
    ]
    assert [process.wait() for process in stages] == [0] * 8
    runs = open_store().client.search_runs(["1"])
    assert sorted(run.info.run_name for run in runs) == names
    assert all(run.info.status == "FINISHED" and run.data.tags["model.sha256"] for run in runs)


@contextlib.contextmanager
def made_ui(folder: Path, how: int = signal.SIGTERM) -> Iterator[str]:
    """`make ui` in a folder, at a free port: the address that it says, once it answers there. It ends by a signal."""
    port = free_port()
    command = [sys.executable, "-c", f"import ui; ui.FIRST_PORT = {port}; ui.main()"]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    with (folder / "said").open("w") as said:
        server = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=said, stderr=said, start_new_session=True
        )
    try:
        wait_for(lambda: answers(f"http://127.0.0.1:{port}/health"), 120)
        said_lines = (folder / "said").read_text().splitlines()
        assert len(said_lines) == 1, said_lines
        yield re.findall(r"http://[^\s;]+", said_lines[0])[0]
    finally:
        os.killpg(server.pid, how)
        server.wait()
        assert "Traceback" not in (folder / "said").read_text()


@pytest.fixture
def page(store: Store, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of the page that ``make ui`` serves, without its http://."""
    with made_ui(tmp_path, getattr(request, "param", signal.SIGTERM)) as address:
        yield address.removeprefix("http://")


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.parametrize("page", [signal.SIGHUP], indirect=True)
def test_the_page_is_where_it_says_and_other_hosts_are_refused(page: str, tmp_path: Path) -> None:
    url = f"http://{page.partition('/')[0]}/api/2.0/mlflow/experiments/get-by-name?experiment_name=pendigits"
    with urllib.request.urlopen(url, timeout=30) as answer:
        found = json.load(answer)["experiment"]
    assert page.partition("/")[2] == f"#/experiments/{found['experiment_id']}/runs"
    assert not {path.name for path in tmp_path.iterdir()} & {"mlruns", "mlartifacts", "mlflow.db"}
    assert status(url, {"Host": "localhost:8080"}) == 200  # through a tunnel
    for host in ("elsewhere.example", "192.168.0.7:5000", "127.0.0.1.elsewhere.example", "localhost:elsewhere.example"):
        for path in (url, f"http://{page.partition('/')[0]}/health"):
            assert status(path, {"Host": host}) == 400, host
    change = url.replace("get-by-name", "set-experiment-tag").partition("?")[0]
    tag = json.dumps({"experiment_id": found["experiment_id"], "key": "who", "value": "me"}).encode()
    for where, expected in (
        ("http://elsewhere.example", 403),
        ("http://192.168.0.7:5000", 403),
        (f"http://{page.partition('/')[0]}", 200),
    ):
        assert status(change, {"Origin": where, "Content-Type": "application/json"}, tag) == expected, where
    assert status(change, {"Content-Length": str(ui.MOST_BYTES + 1)}, tag) == 413
    elsewhere = json.dumps({"name": "x", "artifact_location": str(tmp_path / "written")}).encode()
    for way in ("experiments/create", "experiments//create", "upload-artifact?run_uuid=x&path=y", "webhooks"):
        url = f"http://{page.partition('/')[0]}/api/2.0/mlflow/{way}"
        assert status(url, {"Content-Type": "application/json"}, elsewhere) in (308, 403), way


def status(url: str, headers: dict[str, str], data: bytes | None = None) -> int:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=30) as answer:  # noqa: S310
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.slow
@pytest.mark.parametrize("page", [signal.SIGINT], indirect=True)
def test_a_tracking_server_works_the_same(
    page: str, store: Store, origin: dict[str, str], folder: Path, stage_of: pytest.MonkeyPatch
) -> None:
    stage_of.setenv("MLFLOW_TRACKING_URI", f"http://{page.partition('/')[0]}")
    with reporter.training(load_params()) as run:
        for record in RECORDS:
            run.epoch(record)
    with reporter.evaluation():
        pass
    with reporter.figures():
        pass
    (followed,) = runs_of(store, origin)
    store.client.delete_run(followed.info.run_id)
    stage_of.delenv("MLFLOW_TRACKING_URI")
    ensure_run(store, folder, origin)
    (made,) = runs_of(store, origin)
    assert content_of(store, followed) == content_of(store, made)
