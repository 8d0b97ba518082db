"""The side process of a stage: what it logs of the stage's messages. The fast tests call it in their own process."""

import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.mlflow_store import MLFLOW_WARNS
from tests.tracking.finished_pipeline import RECORDS, ROOT, Runs
from tests.ui_at_work import free_port, ui_at_work, wait_for

from pipeline.params import load_params
from tracking import recorder, reporter
from tracking.contents import flat, read_params
from tracking.messages import Epoch, line, now
from tracking.run import Run, ensure_run
from tracking.store import open_store

pytestmark = MLFLOW_WARNS
EVALUATE, PLOT = {"stage": "evaluate"}, {"stage": "plot"}


def record(*messages: dict[str, Any]) -> None:
    """Record a stage that sends these messages and then waits for the recorder to end."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb", buffering=0) as stream, os.fdopen(writing, "wb") as stage:
        stage.write(b"".join(map(line, messages)))
        stage.flush()
        recorder.record(stream)


def training() -> list[dict[str, Any]]:
    """The messages of a training but for its end; the third epoch is lost."""
    begin = {"stage": "train", "params": read_params(Path()), "time": now()}
    return [begin, *({"epoch": row, "time": now()} for row in RECORDS[:2])]


def test_messages_that_stop_mean_that_the_stage_was_killed() -> None:
    inbox = recorder._Inbox(io.BytesIO(b'{"stage": "train"}\n{"epoch": {"epoch": 1}, "time": 5}\n{"epoch": {"epo'))
    assert inbox.next() == {"stage": "train"}
    assert [epoch for epochs in inbox.epochs() for epoch in epochs] == [({"epoch": 1}, 5)]
    assert inbox.status == "KILLED"
    recorder.record(io.BytesIO(b""))  # before it sent its name


@pytest.mark.usefixtures("stage_of")
def test_a_recorded_run_holds_what_one_made_from_its_files_holds(runs: Runs, folder: Path, capsys: Any) -> None:
    for messages in (training(), [EVALUATE], [PLOT]):
        record(*messages, {"end": "FINISHED"})
    (recorded,) = runs.found()
    assert capsys.readouterr().out == f"MLflow: logged as {recorded.info.run_name}\n"
    runs.store.client.delete_run(recorded.info.run_id)
    ensure_run(runs.store, folder, runs.origin)
    (made,) = runs.found()
    assert runs.content(recorded) == runs.content(made)


@pytest.mark.usefixtures("stage_of", "without_model")
@pytest.mark.parametrize("ends", [["FAILED"], ["KILLED"], ["FINISHED", "KILLED"]], ids=" then ".join)
def test_a_training_that_fails_or_is_stopped_is_no_finished_run(ends: list[str], runs: Runs, capsys: Any) -> None:
    record(*training(), *({"end": end} for end in ends))
    (run,) = runs.found()
    assert (run.info.status, runs.curve(run, "val_loss")[:2]) == (ends[-1], [(1, 1), (2, 0.5)])
    assert capsys.readouterr().out == ""


@pytest.mark.usefixtures("stage_of")
@pytest.mark.parametrize("begin", [EVALUATE, PLOT])
@pytest.mark.parametrize("end", ["FAILED", "KILLED"])
def test_of_an_evaluation_that_fails_nothing_is_logged(begin: dict[str, str], end: str, runs: Runs) -> None:
    record(begin, {"end": end})
    assert not runs.found()


@pytest.mark.usefixtures("without_model")
def test_a_store_that_fails_at_times_gets_one_whole_run(runs: Runs, folder: Path, stage_of: pytest.MonkeyPatch) -> None:
    real, fails = Run._log_points, iter([True, True, False])

    def away_at_first(run: Run, points: list[Any]) -> None:
        real(run, points)
        if points and next(fails, False):
            raise OSError("the answer was lost")

    class Inbox(recorder._Inbox):
        def epochs(self) -> Iterator[list[Epoch]]:
            yield from ([Epoch(row, 1000 + step)] for step, row in enumerate(RECORDS))
            self.status = self.next()["end"]
            yield []

    stage_of.setattr(Run, "_log_points", away_at_first)
    stage_of.setattr(recorder, "_Inbox", Inbox)
    record(training()[0], {"end": "FINISHED"})
    (run,) = runs.found()
    assert (run.info.status, run.data.params) == ("FINISHED", flat(read_params(folder)))
    assert [step for step, _ in runs.curve(run, "val_loss")] == [1, 2, 3]


# --- In a process of its own ---
def start_training(body: str, **environment: str) -> "subprocess.Popen[str]":
    code = f"import itertools, time\nfrom pipeline.params import load_params\nfrom tracking import reporter\n{body}"
    command = [sys.executable, "-c", code]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), **environment}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
@pytest.mark.usefixtures("stage_of")
def test_a_killed_training_is_closed_and_its_curves_have_grown(runs: Runs) -> None:
    loop = "for n in itertools.count(1): run.epoch({'epoch': n, 'val_loss': 1 / n}); time.sleep(0.1)"
    with start_training(f"with reporter.training(load_params()) as run:\n    {loop}") as trainer:
        try:
            wait_for(lambda: any("val_loss" in run.data.metrics for run in runs.found()))
            assert runs.found()[0].info.status == "RUNNING"
        finally:
            trainer.kill()
    wait_for(lambda: runs.found()[0].info.status == "KILLED")


@pytest.mark.slow
def test_eight_first_users_at_once_lose_nothing(folder: Path, environment: Any, tmp_path_factory: Any) -> None:
    environment.chdir(folder)
    environment.setenv("DVC_ROOT", str(tmp_path_factory.mktemp("fresh")))
    names, body = [f"experiment-{number}" for number in range(8)], "with reporter.training(load_params()): pass"
    stages = [start_training(body, DVC_EXP_NAME=name, DVC_EXP_BASELINE_REV="c0ffee") for name in names]
    assert sorted(stage.communicate()[0] for stage in stages) == [f"MLflow: logged as {name}\n" for name in names]
    store = open_store()
    runs = store.client.search_runs([store.experiment_id])
    assert sorted(run.info.run_name for run in runs) == names
    assert all(run.info.status == "FINISHED" and run.data.tags["model.sha256"] for run in runs)


@pytest.mark.slow
def test_a_server_that_is_away_is_said_once_and_changes_nothing(stage_of: pytest.MonkeyPatch, capsys: Any) -> None:
    address = f"127.0.0.1:{free_port()}"
    stage_of.setenv("MLFLOW_TRACKING_URI", f"http://somebody:secret@{address}")
    with reporter.training(load_params()) as run:
        run.epoch(RECORDS[0])
    (said,) = capsys.readouterr().out.splitlines()
    assert said.startswith(f"MLflow: not logged (no answer from http://{address}). Nothing else is affected")


@pytest.mark.slow
def test_a_tracking_server_gets_the_same_run(runs: Runs, folder: Path, stage_of: Any, tmp_path_factory: Any) -> None:
    with ui_at_work(tmp_path_factory.mktemp("elsewhere"), signal.SIGINT) as address:
        stage_of.setenv("MLFLOW_TRACKING_URI", address.partition("/#")[0])
        with reporter.training(load_params()) as run:
            for row in RECORDS:
                run.epoch(row)
        for stage in (reporter.evaluation, reporter.figures):
            with stage():
                pass
    (recorded,) = runs.found()
    runs.store.client.delete_run(recorded.info.run_id)
    stage_of.delenv("MLFLOW_TRACKING_URI")
    ensure_run(runs.store, folder, runs.origin)
    (made,) = runs.found()
    assert runs.content(recorded) == runs.content(made)
