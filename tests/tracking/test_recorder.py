"""The side process of a stage: what it logs of the stage's messages. test_experiments.py has it as a process."""

import io
import os
from pathlib import Path
from typing import Any

import pytest
from tests.mlflow_store import MLFLOW_WARNS
from tests.tracking.finished_pipeline import RECORDS, Runs

from tracking import recorder, reporter
from tracking.contents import read_params
from tracking.messages import line, now
from tracking.mlflow_run import ensure_run

pytestmark = MLFLOW_WARNS
PLOT = {"stage": "plot"}


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


def test_a_store_without_its_driver_is_no_fault_of_the_interpreter(
    tmp_path: Path, environment: Any, capfd: Any
) -> None:
    environment.setenv("MLFLOW_TRACKING_URI", "mssql+pymssql://me:secret@host/db")
    for name, value in {"DVC_ROOT": tmp_path, "DVC_EXP_NAME": "an-experiment", "PENDIGITS_TRACKING": "on"}.items():
        environment.setenv(name, str(value))
    environment.chdir(tmp_path)
    with reporter.results():
        pass
    assert "MLflow: not logged (No module named 'pymssql')." in capfd.readouterr().out


@pytest.mark.usefixtures("stage_of")
def test_a_recorded_run_holds_what_one_made_from_its_files_holds(runs: Runs, folder: Path, capsys: Any) -> None:
    for messages in (training(), [PLOT]):
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


@pytest.mark.usefixtures("stage_of", "without_model")
@pytest.mark.parametrize("wanted", ["true", "false"])
def test_the_load_of_the_machine_is_logged_if_wanted(wanted: str, runs: Runs, environment: Any) -> None:
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    environment.setenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", wanted)

    def one_sample(monitor: SystemMetricsMonitor) -> None:  # the monitor's thread would take it after some seconds
        monitor.collect_metrics()
        monitor.publish_metrics(monitor.aggregate_metrics())

    environment.setattr(SystemMetricsMonitor, "start", one_sample)
    record(*training(), {"end": "FINISHED"})
    (run,) = runs.found()
    of_machine = {name for name in run.data.metrics if name.startswith("system/")}
    some = {"system/cpu_utilization_percentage", "system/system_memory_usage_percentage"}
    assert of_machine >= some if wanted == "true" else not of_machine
    assert (run.info.status, runs.curve(run, "val_loss")[:2]) == ("FINISHED", [(1, 1), (2, 0.5)])


@pytest.mark.usefixtures("stage_of")
@pytest.mark.parametrize("end", ["FAILED", "KILLED"])
def test_of_pictures_that_fail_nothing_is_logged(end: str, runs: Runs) -> None:
    record(PLOT, {"end": end})
    assert not runs.found()
