"""The stage's end of the line, with other processes in the recorder's place: none of them can harm the stage."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.tracking.finished_pipeline import RECORDS, ROOT

from pipeline.errors import StageError
from pipeline.params import load_params
from runtime import experiment
from tracking import reporter

Recorder = Callable[[str], None]

ECHO = """
import sys
for line in sys.stdin:
    print(line, end="")
    if '"end"' in line:
        break
"""


@pytest.fixture(autouse=True)
def _tracking_is_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("PENDIGITS_TRACKING", "MLFLOW_TRACKING_URI", "DVC_ROOT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def recorder_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """Start something else as the recorder."""
    module = tmp_path / "src/tracking/recorder.py"
    module.parent.mkdir(parents=True)
    monkeypatch.setattr(reporter, "__file__", str(module.with_name("reporter.py")))

    def write(code: str) -> None:
        module.write_text(code)

    return write


def evaluate(error: BaseException | None = None) -> None:
    with reporter.evaluation():
        if error:
            raise error


def train(epochs: int = 1) -> None:
    with reporter.training(load_params(ROOT / "params.yaml")) as run:
        for _ in range(epochs):
            run.epoch(RECORDS[0])


# --- What is said ---


def test_what_the_recorder_is_sent_and_what_it_answers(
    recorder_is: Recorder, capsys: pytest.CaptureFixture[str]
) -> None:
    recorder_is(ECHO)
    with reporter.training(load_params(ROOT / "params.yaml")) as run:
        run.epoch({"epoch": 1, "val_loss": np.float64(0.5)})
    begin, epoch, end = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert (begin["stage"], begin["params"]["dataset"]) == ("train", "pendigits")
    assert abs(begin["time"] / 1000 - time.time()) < 600
    assert epoch["epoch"] == {"epoch": 1, "val_loss": 0.5}
    assert end == {"end": "FINISHED"}


@pytest.mark.parametrize(
    ("error", "status"),
    [(StageError("diverged"), "FAILED"), (KeyboardInterrupt("resume"), "KILLED"), (SystemExit(3), "KILLED")],
)
def test_an_exception_of_the_stage_is_reported_and_passed_on(
    error: BaseException, status: str, recorder_is: Recorder, tmp_path: Path
) -> None:
    recorder_is(f"import sys\nsys.stdout = open({str(tmp_path / 'said')!r}, 'w')\n{ECHO}")
    with pytest.raises(type(error)) as raised:
        evaluate(error)
    assert raised.value is error
    assert json.loads((tmp_path / "said").read_text().splitlines()[-1]) == {"end": status}


@pytest.mark.parametrize(
    ("last_words", "reason"),
    [
        ("mlflow.exceptions.MlflowException: no store\n\n", "no store"),
        (
            "Traceback\nValueError: first\nmlflow.exceptions.MlflowException: (raised as a result of autoflush; see)\n"
            "(sqlite3.OperationalError) disk I/O error\n[SQL: SELECT 1\nFROM t]\n(Background at: https://x)\n",
            "(sqlite3.OperationalError) disk I/O error",
        ),
        ("x.MlflowException: API request to http://x failed with exception y", "no answer from http://away:1"),
        ("x" * 300, "x" * 197 + "..."),
        ("", "its process was killed"),
    ],
    ids=lambda text: text[:20],
)
def test_a_recorder_that_dies_early_is_reported_in_a_line_by_its_last_words(
    last_words: str,
    reason: str,
    recorder_is: Recorder,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@away:1")
    recorder_is(f"import os, sys\nsys.stderr.write({last_words!r})\nsys.stderr.flush()\nos._exit(1)")
    train(epochs=2000)  # more than a pipe holds, which nobody reads
    assert capsys.readouterr().out == (
        f"MLflow: not logged ({reason}). Nothing else is affected; `make sync` logs the run later.\n"
    )


def test_the_stages_of_one_pipeline_run_print_the_same_reason_once(
    recorder_is: Recorder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / ".dvc/tmp").mkdir(parents=True)
    for begun, reason, times in [
        (1.5, "away", 1),
        (1.5, "full", 1),
        (1.5, "away", 0),
        (2.5, "away", 1),
        (None, "away", 1),
    ]:
        monkeypatch.setattr(experiment, "start_of_dvc", lambda begun=begun: begun)
        recorder_is(f"import sys\nsys.exit({reason!r})")
        evaluate()
        assert capsys.readouterr().out.count(f"MLflow: not logged ({reason})") == times, (begun, reason)


# --- Recorders that cannot be had ---


def no_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")


def no_temporary_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> None:
        raise FileNotFoundError("No usable temporary directory")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)


@pytest.mark.parametrize(
    ("fault", "reason"), [(no_python, "/no/such/python"), (no_temporary_file, "No usable temporary directory")]
)
def test_a_recorder_that_cannot_be_started_is_reported_in_a_line(
    fault: Callable[[pytest.MonkeyPatch], None],
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fault(monkeypatch)
    train()
    (said,) = capsys.readouterr().out.splitlines()
    assert said.startswith("MLflow: not logged (")
    assert reason in said


def test_a_recorder_that_hangs_holds_nothing_up(
    recorder_is: Recorder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recorder_is("import time\ntime.sleep(600)")
    monkeypatch.setattr(reporter, "WAIT_SECONDS", 1)
    start = time.monotonic()
    train(epochs=2000)
    assert time.monotonic() - start < 30
    assert capsys.readouterr().out.startswith("MLflow: not logged (not done within 1 s)")


def test_tracking_can_be_turned_off(recorder_is: Recorder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    recorder_is(f"open({str(tmp_path / 'ran')!r}, 'w')")
    monkeypatch.setenv("PENDIGITS_TRACKING", "off")
    train()
    assert not (tmp_path / "ran").exists()


def test_a_stage_does_not_import_mlflow() -> None:
    code = "import sys, train, evaluate; sys.exit(any(name.split('.')[0] == 'mlflow' for name in sys.modules))"
    subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(ROOT / "src")}, check=True)


# --- Stops ---

COMPLETES_SLOWLY = """
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
STOPPED_TWICE = COMPLETES_SLOWLY.replace(
    "SIGTERM)", "SIGTERM); time.sleep(1.2); os.kill(os.getppid(), signal.SIGINT); time.sleep(1)"
)
HANGS = "import os, signal, time\ntime.sleep(1)\nos.kill(os.getppid(), signal.SIGTERM)\ntime.sleep(600)"


def told_to_recorder() -> Any:
    end = time.monotonic() + 30
    while not (Path("then").exists() and Path("then").read_text()):
        assert time.monotonic() < end, "the recorder was told nothing"
        time.sleep(0.1)
    return json.loads(Path("then").read_text())


@pytest.mark.usefixtures("signals")
def test_a_stop_while_the_recorder_completes_the_run_makes_it_a_killed_one(
    recorder_is: Recorder, capsys: pytest.CaptureFixture[str]
) -> None:
    recorder_is(COMPLETES_SLOWLY)
    with pytest.raises(KeyboardInterrupt):
        evaluate()
    assert Path("then").exists()  # the stage has waited
    assert told_to_recorder() == {"end": "KILLED"}
    assert capsys.readouterr().out == "stopping as soon as MLflow has closed the run\n"


@pytest.mark.usefixtures("signals")
def test_at_a_second_request_the_stage_waits_no_longer(recorder_is: Recorder) -> None:
    recorder_is(STOPPED_TWICE)
    with pytest.raises(KeyboardInterrupt):
        evaluate()
    assert not Path("then").exists()
    assert told_to_recorder() == {"end": "KILLED"}


@pytest.mark.usefixtures("signals")
@pytest.mark.parametrize(
    ("error", "message"), [(None, "^$"), (KeyboardInterrupt("how to resume"), "^how to resume$")], ids=["after", "in"]
)
def test_a_stop_is_not_forgotten_where_the_recorder_hangs(
    error: BaseException | None, message: str, recorder_is: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder_is(HANGS)
    monkeypatch.setattr(reporter, "STOP_SECONDS", 30.0 if error else 1.0)  # it need not wait for a second request
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt, match=message):
        evaluate(error)
    assert time.monotonic() - start < 20
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
