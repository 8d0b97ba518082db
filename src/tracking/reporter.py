"""In the stage: send events to the recorder, without waiting for it before the end."""

import contextlib
import os
import queue
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from runtime import experiment

from pipeline.params import Params
from runtime.script import say
from runtime.signals import handle_stops

from .address import DATABASE_ERROR, ENVIRONMENT, NO_ANSWER, store_shown
from .messages import line, now

WAIT_SECONDS = 120.0  # how long a stage waits in the end for its recorder,
STOP_SECONDS = 30.0  # and how long when it is asked to stop meanwhile
ERROR_NAME = re.compile(r"^[\w.]+(Exception|Error): ")  # as a traceback's last lines begin
# PYTHONPATH would not do: a colon in the name of a folder ends a path in it.
RECORD = (
    "import runpy, sys; sys.path.insert(0, sys.argv[1]); runpy.run_module('tracking.recorder', run_name='__main__')"
)
REPORTED = Path(".dvc/tmp/not-logged")  # the reasons that this pipeline run has printed


@contextlib.contextmanager
def training(params: Params) -> Iterator["Reporter"]:
    """Log a training as a new run: ``with training(params) as run``, and ``run.epoch(record)`` after every epoch.

    Write the train stage's files before the block ends: the run is completed from them. If the block ends by an
    exception, the run is FAILED; if it ends by Ctrl-C, the run is KILLED.
    """
    from pipeline.configure import with_own_names  # here: the other stages load less

    params = with_own_names(params)
    with _reported({"stage": "train", "params": params.model_dump(mode="json"), "time": now()}) as reporter:
        yield reporter


@contextlib.contextmanager
def results() -> Iterator[None]:
    """At the end of the block, log the evaluation and the pictures in the run of the model."""
    with _reported({"stage": "plot"}):
        yield


@contextlib.contextmanager
def _reported(begin: Mapping[str, Any]) -> Iterator["Reporter"]:
    reporter = Reporter(begin)
    try:
        yield reporter
    except BaseException as error:
        with contextlib.suppress(KeyboardInterrupt):  # the first is passed on; its message says how to resume
            reporter.end("KILLED" if isinstance(error, KeyboardInterrupt | SystemExit) else "FAILED")
        raise
    reporter.end("FINISHED")


class Reporter:
    """A stage's connection to its recorder. Nothing here waits or raises before ``end``."""

    def __init__(self, begin: Mapping[str, Any]) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._messages: queue.SimpleQueue[Mapping[str, Any] | None] = queue.SimpleQueue()
        mode = os.environ.get("PENDIGITS_TRACKING")
        if mode == "off":
            return
        self._errors = None
        try:
            if mode != "verbose":
                self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed in ``end``)
            self._process = subprocess.Popen(  # noqa: S603 (python, with words of ours)
                [sys.executable, "-c", RECORD, str(Path(__file__).resolve().parents[1])],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env=ENVIRONMENT | os.environ,
                start_new_session=True,  # Ctrl-C on the terminal is for the stage alone
            )
        except OSError as error:  # such as a full disk
            if self._errors:
                self._errors.close()
            _print_not_logged(str(error))
            return
        self._messages.put(begin)
        self._answer = b""
        # Daemons: a stage that stops waiting must be able to end.
        threading.Thread(target=self._send, args=(self._process.stdin,), daemon=True).start()
        self._listener = threading.Thread(target=self._listen, args=(self._process.stdout,), daemon=True)
        self._listener.start()

    def epoch(self, record: Mapping[str, float]) -> None:
        """Add a point to each curve: ``record`` is a row of metrics/history.csv. Takes microseconds."""
        self._messages.put({"epoch": dict(record), "time": now()})

    def end(self, status: str) -> None:
        """Report how the stage ended, wait for the recorder, and print its answer.

        Raises:
            KeyboardInterrupt: if a stop was requested meanwhile; the run is then KILLED. At a second request this waits
                no longer, and the recorder closes the run by itself.
        """
        if not (process := self._process):
            return
        stops = [time.monotonic()] if status == "KILLED" else []

        def stop(number: int, frame: FrameType | None) -> None:
            if stops:
                raise KeyboardInterrupt
            stops.append(time.monotonic())
            self._messages.put({"end": "KILLED"})
            say("stopping as soon as MLflow has closed the run")

        begun = time.monotonic()
        with handle_stops(stop), self._errors or contextlib.nullcontext():
            self._messages.put({"end": status})
            while self._listener.is_alive() and time.monotonic() < (
                stops[0] + STOP_SECONDS if stops else begun + WAIT_SECONDS
            ):
                self._listener.join(0.1)
            late = self._listener.is_alive()
            if late:
                process.kill()
            self._messages.put(None)
            process.wait()
            if stops:
                raise KeyboardInterrupt
            for said in self._answer.decode(errors="replace").splitlines():
                say(said)
            if late or process.returncode:
                _print_not_logged(f"not done within {WAIT_SECONDS:.0f} s" if late else self._last_error())

    def _send(self, pipe: Any) -> None:
        """Write each message to the recorder at once. If the pipe breaks, ``end`` reports it."""
        with contextlib.suppress(OSError, ValueError), pipe:
            while (message := self._messages.get()) is not None:
                pipe.write(line(message))
                pipe.flush()

    def _listen(self, pipe: Any) -> None:
        with contextlib.suppress(OSError, ValueError), pipe:
            self._answer = pipe.read()

    def _last_error(self) -> str:
        if not self._errors:
            return "see above"
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace")
        lines = DATABASE_ERROR.findall(said) or [found for found in said.split("\n") if found.strip()]
        return lines[-1] if lines else "its process was killed"


def _print_not_logged(reason: str) -> None:
    """Print why nothing was logged, unless an earlier stage of this pipeline run has printed the same reason."""
    reason = ERROR_NAME.sub("", reason)
    if NO_ANSWER.match(reason):
        reason = f"no answer from {store_shown()}"
    elif len(reason) > 200:
        reason = reason[:197] + "..."
    if begun := experiment.start_of_dvc():
        with contextlib.suppress(OSError):
            before = REPORTED.read_text(encoding="utf-8") if REPORTED.exists() else ""
            if f"{begun} {reason}\n" in before:
                return
            kept = before if before.startswith(f"{begun} ") else ""
            REPORTED.write_text(f"{kept}{begun} {reason}\n", encoding="utf-8")
    say(f"MLflow: not logged ({reason}). Nothing else is affected; `make sync` logs the run later.")
