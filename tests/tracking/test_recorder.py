"""The side process of a stage: what it logs of the stage's messages. Most tests call it in their own process."""

import io
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.free_port import free_port
from tests.mlflow_store import MLFLOW_WARNS
from tests.tracking.finished_pipeline import RECORDS, ROOT, content_of, curve_of, runs_of
from tests.ui_at_work import free_port, ui_at_work, wait_for

from pipeline.params import load_params
from tracking import recorder, reporter
from tracking.contents import flat, read_params
from tracking.messages import Epoch, line, now
from tracking.run import Run, ensure_run
from tracking.store import Store, open_store

pytestmark = MLFLOW_WARNS

Origin = dict[str, str]


def record(*messages: dict[str, Any]) -> None:
    """Record a stage that sends these messages and then waits for the recorder to end."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as stream, os.fdopen(writing, "wb") as stage:
        stage.write(b"".join(map(line, messages)))
        stage.flush()
        recorder.record(stream)


def training(*messages: dict[str, Any], epochs: int = 2) -> None:
    begin = {"stage": "train", "params": read_params(Path()), "time": now()}
    record(begin, *({"epoch": row, "time": now()} for row in RECORDS[:epochs]), *messages)


def test_messages_that_stop_mean_that_the_stage_was_killed() -> None:
    inbox = recorder._Inbox(io.BytesIO(b'{"stage": "train"}\n{"epoch": {"epoch": 1}, "time": 5}\n{"epoch": {"epo'))
    assert inbox.next() == {"stage": "train"}
    assert [epoch for epochs in inbox.epochs() for epoch in epochs] == [({"epoch": 1}, 5)]
    assert inbox.status == "KILLED"
    recorder.record(io.BytesIO(b""))  # before it said what it is


@pytest.mark.usefixtures("stage_of")
def test_a_recorded_run_holds_what_one_made_from_its_files_holds(
    store: Store, origin: Origin, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    training({"end": "FINISHED"})  # the third epoch was lost on the way
    record({"stage": "evaluate"}, {"end": "FINISHED"})
    record({"stage": "plot"}, {"end": "FINISHED"})
    (recorded,) = runs_of(store, origin)
    assert capsys.readouterr().out == f"MLflow: logged as {recorded.info.run_name}\n"
    store.client.delete_run(recorded.info.run_id)
    ensure_run(store, folder, origin)
    (made,) = runs_of(store, origin)
    assert content_of(store, recorded) == content_of(store, made)


@pytest.mark.usefixtures("stage_of")
@pytest.mark.parametrize("ends", [["FAILED"], ["KILLED"], ["FINISHED", "KILLED"]], ids=" then ".join)
def test_a_stage_that_fails_or_is_stopped_also_while_the_run_is_completed_has_no_finished_run(
    ends: list[str], store: Store, origin: Origin, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Run, "_log_model", lambda run: None)
    training(*({"end": end} for end in ends))
    (run,) = runs_of(store, origin)
    assert run.info.status == ends[-1]
    assert {1, 2} <= {step for step, _ in curve_of(store, run, "val_loss")}
    assert capsys.readouterr().out == ""


@pytest.mark.usefixtures("stage_of")
@pytest.mark.parametrize("stage", ["evaluate", "plot"])
@pytest.mark.parametrize("end", ["FAILED", "KILLED"])
def test_of_an_evaluation_that_fails_nothing_is_logged(stage: str, end: str, store: Store, origin: Origin) -> None:
    record({"stage": stage}, {"end": end})
    assert not runs_of(store, origin)


def test_a_store_that_fails_now_and_then_gets_one_whole_run(
    store: Store, origin: Origin, folder: Path, stage_of: pytest.MonkeyPatch
) -> None:
    from mlflow.exceptions import MlflowException

    real, fails = Run._log_points, iter([True, True, False])

    def away_at_first(run: Run, points: list[Any]) -> None:
        real(run, points)
        if points and next(fails, False):
            raise MlflowException("the answer was lost")

    stage_of.setattr(Run, "_log_points", away_at_first)
    stage_of.setattr(Run, "_log_model", lambda run: None)
    inbox = recorder._Inbox(io.BytesIO())

    def epochs() -> Iterator[list[Epoch]]:
        yield from ([Epoch(row, 1000 + step)] for step, row in enumerate(RECORDS))
        inbox.status = "FINISHED"
        inbox.was_stopped = lambda: False  # type: ignore[method-assign]
        yield []

    stage_of.setattr(inbox, "epochs", epochs)
    recorder._follow_training(inbox, read_params(folder), now())
    (run,) = runs_of(store, origin)
    assert run.info.status == "FINISHED"
    assert run.data.params == flat(read_params(folder))
    assert [step for step, _ in curve_of(store, run, "val_loss")] == [1, 2, 3]


# --- In a process of its own ---


def start_training(loop: str, **environment: str) -> "subprocess.Popen[str]":
    code = f"""
        import itertools, time
        from pipeline.params import load_params
        from tracking import reporter
        with reporter.training(load_params()) as run:
            {loop}
    """
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")} | environment  # type: ignore[assignment]
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], env=environment, stdout=pipe, text=True)


@pytest.mark.slow
@pytest.mark.usefixtures("stage_of")
def test_a_killed_training_is_closed_and_its_curves_have_grown(store: Store, origin: Origin) -> None:
    loop = "for n in itertools.count(1): run.epoch({'epoch': n, 'val_loss': 1 / n}); time.sleep(0.1)"
    with start_training(loop) as trainer:
        try:
            wait_for(lambda: any("val_loss" in run.data.metrics for run in runs_of(store, origin)))
            assert runs_of(store, origin)[0].info.status == "RUNNING"
        finally:
            trainer.kill()
    wait_for(lambda: runs_of(store, origin)[0].info.status == "KILLED")


@pytest.mark.slow
def test_eight_first_users_at_once_lose_nothing(
    folder: Path, environment: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    environment.chdir(folder)
    environment.setenv("DVC_ROOT", str(tmp_path_factory.mktemp("fresh")))
    names = [f"experiment-{number}" for number in range(8)]
    origin = {"DVC_EXP_BASELINE_REV": "c0ffee"}
    stages = [start_training("pass", **origin, DVC_EXP_NAME=name) for name in names]
    assert sorted(stage.communicate()[0] for stage in stages) == [f"MLflow: logged as {name}\n" for name in names]
    store = open_store()
    runs = store.client.search_runs([store.experiment_id])
    assert sorted(run.info.run_name for run in runs) == names
    assert all(run.info.status == "FINISHED" and run.data.tags["model.sha256"] for run in runs)


@pytest.mark.slow
def test_a_server_that_is_away_is_said_once_and_changes_nothing(
    stage_of: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    address = f"127.0.0.1:{free_port()}"
    stage_of.setenv("MLFLOW_TRACKING_URI", f"http://somebody:secret@{address}")
    with reporter.training(load_params()) as run:
        run.epoch(RECORDS[0])
    (said,) = capsys.readouterr().out.splitlines()
    assert said.startswith(f"MLflow: not logged (no answer from http://{address}). Nothing else is affected")
    assert said.endswith("`make sync` logs the run later.")


@pytest.mark.slow
def test_a_tracking_server_gets_the_same_run(
    store: Store, origin: Origin, folder: Path, stage_of: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with ui_at_work(tmp_path_factory.mktemp("elsewhere"), signal.SIGINT) as address:
        stage_of.setenv("MLFLOW_TRACKING_URI", address.partition("/#")[0])
        with reporter.training(load_params()) as run:
            for row in RECORDS:
                run.epoch(row)
        with reporter.evaluation():
            pass
        with reporter.figures():
            pass
    (recorded,) = runs_of(store, origin)
    store.client.delete_run(recorded.info.run_id)
    stage_of.delenv("MLFLOW_TRACKING_URI")
    ensure_run(store, folder, origin)
    (made,) = runs_of(store, origin)
    assert content_of(store, recorded) == content_of(store, made)
