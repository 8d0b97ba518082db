"""The stage's end of the line, with other processes in the recorder's place: none of them can harm the stage."""

import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from runtime import experiment

import numpy as np
import pytest
from tests.runtime.test_script import raising
from tests.tracking.finished_pipeline import RECORDS, ROOT
from tests.ui_at_work import wait_for

from pipeline.errors import StageError
from pipeline.params import load_params
from tracking import reporter

Recorder = Callable[[str], object]
Patch, Capture = pytest.MonkeyPatch, pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def recorder_is(tmp_path: Path, monkeypatch: Patch) -> Recorder:
    """Turn tracking on in an empty folder; what this returns makes other code the recorder."""
    for name in ("PENDIGITS_TRACKING", "MLFLOW_TRACKING_URI", "DVC_ROOT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")  # two of equal length within a second would be taken for one
    monkeypatch.chdir(tmp_path)
    module = tmp_path / f"src{os.pathsep} ours/tracking/recorder.py"
    module.parent.mkdir(parents=True)
    monkeypatch.setattr(reporter, "__file__", str(module))
    return module.write_text


def plot(error: BaseException | None = None) -> None:
    with reporter.results():
        if error:
            raise error


def train(epochs: int = 1) -> None:
    params = load_params(ROOT / "params.yaml").model_copy(update={"activation": "Swish"})
    with reporter.training(params) as run:
        for _ in range(epochs):
            run.epoch(RECORDS[0] | {"val_loss": np.float64(0.5)})


# --- What is said ---
ECHO = """
import sys
for line in sys.stdin:
    print(line, end="")
    if '"end"' in line:
        break
"""


def test_what_the_recorder_is_sent_and_what_it_answers(recorder_is: Recorder, capsys: Capture) -> None:
    recorder_is(ECHO)
    train()
    begin, epoch, end = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert (begin["stage"], begin["params"]["dataset"]) == ("train", "pendigits")
    assert begin["params"]["activation"] == "silu"  # its own name
    assert epoch["epoch"] == RECORDS[0] | {"val_loss": 0.5}
    assert abs(begin["time"] / 1000 - time.time()) < 600
    assert end == {"end": "FINISHED"}


@pytest.mark.parametrize(
    ("error", "status"),
    [(StageError("diverged"), "FAILED"), (KeyboardInterrupt("resume"), "KILLED"), (SystemExit(3), "KILLED")],
)
def test_an_exception_is_reported_and_passed_on(error: BaseException, status: str, recorder_is: Recorder) -> None:
    recorder_is(f"import sys\nsys.stdout = open('said', 'w')\n{ECHO}")
    with pytest.raises(type(error)) as raised:
        plot(error)
    assert raised.value is error
    assert json.loads(Path("said").read_text().splitlines()[-1]) == {"end": status}


DATABASE_ERROR = """Traceback
ValueError: first
mlflow.exceptions.MlflowException: (raised as a result of autoflush; see)
(sqlite3.OperationalError) disk I/O error
[SQL: SELECT 1 FROM t]
(Background at: https://x)
"""


@pytest.mark.parametrize(("last_words", "reason"), [
    ("mlflow.exceptions.MlflowException: no store\n\n", "no store"),
    (DATABASE_ERROR, "(sqlite3.OperationalError) disk I/O error"),
    ("x.MlflowException: API request to http://x failed with exception y", "no answer from http://away:1"),
    ("x" * 300, "x" * 197 + "..."),
    ("", "its process was killed"),
], ids=lambda text: text[:20])  # fmt: skip
def test_a_recorder_that_dies_early_is_reported_in_a_line_by_its_last_words(
    last_words: str, reason: str, recorder_is: Recorder, monkeypatch: Patch, capsys: Capture
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@away:1")
    recorder_is(f"import os, sys\nsys.stderr.write({last_words!r})\nsys.stderr.flush()\nos._exit(1)")
    train(epochs=2000)  # more than a pipe holds, which nobody reads
    end = "Nothing else is affected; `make sync` logs the run later.\n"
    assert capsys.readouterr().out == f"MLflow: not logged ({reason}). {end}"


def test_a_pipeline_run_prints_the_same_reason_once(recorder_is: Recorder, monkeypatch: Patch, capsys: Capture) -> None:
    Path(".dvc/tmp").mkdir(parents=True)
    for begun, reason, times in ((1, "away", 1), (1, "full", 1), (1, "away", 0), (2, "away", 1), (None, "away", 1)):
        monkeypatch.setattr(experiment, "start_of_dvc", lambda begun=begun: begun)
        recorder_is(f"import sys\nsys.exit({reason!r})")
        plot()
        assert capsys.readouterr().out.count(f"MLflow: not logged ({reason})") == times, (begun, reason)


# --- Recorders that cannot be had ---
def test_a_recorder_that_cannot_be_started_is_reported_in_a_line(monkeypatch: Patch, capsys: Capture) -> None:
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda: raising(FileNotFoundError("No usable temporary directory")))
    train()
    (said,) = capsys.readouterr().out.splitlines()
    assert said.startswith("MLflow: not logged (No usable temporary directory). ")


def test_a_recorder_that_hangs_holds_nothing_up(recorder_is: Recorder, monkeypatch: Patch, capsys: Capture) -> None:
    recorder_is("import time\ntime.sleep(600)")
    monkeypatch.setattr(reporter, "WAIT_SECONDS", 1)
    start = time.monotonic()
    train(epochs=2000)
    assert time.monotonic() - start < 30
    assert capsys.readouterr().out.startswith("MLflow: not logged (not done within 1 s)")


# --- Stops ---
STOP = "os.kill(os.getppid(), signal.SIGTERM)"
COMPLETES = f"""
import contextlib, os, pathlib, signal, sys, time
while '"end"' not in sys.stdin.readline(): pass
{STOP}  # while the stage waits
time.sleep(1)
with contextlib.suppress(BrokenPipeError):
    print("logged", flush=True)
os.dup2(2, 1)
pathlib.Path("then").write_text(sys.stdin.readline())
"""


@pytest.mark.unix_only
@pytest.mark.parametrize("again", [False, True])
def test_a_stop_while_the_recorder_completes_the_run_makes_it_a_killed_one_and_a_second_does_not_wait(
    again: bool, recorder_is: Recorder, capsys: Capture
) -> None:
    recorder_is(COMPLETES.replace(STOP, f"{STOP}; time.sleep(1.2); {STOP}") if again else COMPLETES)
    with pytest.raises(KeyboardInterrupt):
        plot()
    assert Path("then").exists() != again
    wait_for(lambda: Path("then").exists() and Path("then").read_text())
    assert json.loads(Path("then").read_text()) == {"end": "KILLED"}
    assert capsys.readouterr().out == "stopping as soon as MLflow has closed the run\n"
