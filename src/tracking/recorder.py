"""The second process of a stage, ``python -m tracking.recorder``: it logs the stage's messages as an MLflow run."""

import contextlib
import functools
import io
import json
import os
import queue
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from runtime.script import say
from runtime.signals import ignore_stops

from .messages import Epoch
from .mlflow_run import Run, ensure_run, origin_of_process
from .store import open_store

FLUSH_SECONDS = 2.0  # how often the curves grow
SAMPLE_SECONDS = 2  # between measurements of the machine, if these are wanted; MLflow's 10 would miss a short training


def main() -> None:
    """Log the stage that writes to stdin. An error ends this process, and the stage prints the error's last line."""
    ignore_stops()  # the end of the stage ends this process, and nothing before
    sys.excepthook = sys.__excepthook__  # what cannot be imported is a driver of the store: the stage is at work
    answer = io.StringIO()
    try:
        with contextlib.redirect_stdout(answer):
            record(io.FileIO(0, closefd=False))
    finally:
        with contextlib.suppress(OSError):  # a stage that was asked twice to stop does not wait for an answer
            os.write(1, answer.getvalue().encode())
    os._exit(0)  # at once: Python takes a second to end with all that MLflow has loaded, and the stage waits


def record(stream: io.RawIOBase) -> None:
    """Log a stage, whose messages come on ``stream``, until it has ended."""
    inbox = _Inbox(stream)
    begin, folder = inbox.next(), Path.cwd()
    if begin.get("stage") == "train":
        _follow_training(inbox, folder, begin["params"], begin["time"])
    elif "stage" in begin:
        store = open_store()
        for _ in inbox.epochs():  # until the stage ends
            pass
        if inbox.status == "FINISHED":
            ensure_run(store, folder, origin_of_process())


class _Inbox:
    """The stage's messages, which a thread reads from the pipe."""

    def __init__(self, stream: io.RawIOBase) -> None:
        self.status = ""  # how the stage ended, once ``epochs`` has run out
        self._messages: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        threading.Thread(target=self._read, args=(stream,), daemon=True).start()

    def _read(self, stream: io.RawIOBase) -> None:
        # Without a buffer: Python aborts when it ends while a thread waits with the lock of one.
        begun = b""
        while came := stream.read(1 << 16):
            *lines, begun = (begun + came).split(b"\n")
            for line in lines:
                self._messages.put(json.loads(line))
        self._messages.put({"end": "KILLED"})  # without a last message it was killed

    def next(self) -> dict[str, Any]:
        return self._messages.get()

    def epochs(self) -> Iterator[list[Epoch]]:
        """Yield the new epochs, about once every ``FLUSH_SECONDS``, until the stage has ended."""
        while not self.status:
            came: list[Epoch] = []
            flush_at = time.monotonic() + FLUSH_SECONDS
            while not self.status and (left := flush_at - time.monotonic()) > 0:
                with contextlib.suppress(queue.Empty):
                    message = self._messages.get(timeout=left)
                    self.status = message.get("end", "")
                    if "epoch" in message:
                        came.append(Epoch(message["epoch"], message["time"]))
            yield came

    def was_stopped(self) -> bool:
        """Whether the stage was stopped or killed after it had sent its end."""
        return not self._messages.empty()


def _follow_training(inbox: _Inbox, folder: Path, params: Mapping[str, Any], started: int) -> None:
    """Log a training while it runs. If the store is unreachable, try again at every flush until the end."""
    from mlflow.exceptions import MlflowException

    run, waiting, watch = None, [], None
    for epochs in inbox.epochs():
        waiting += epochs
        try:
            run = run or Run.start(open_store(), folder, origin_of_process(), params, started)
            run.log_epochs(waiting)
            waiting = []
            watch = watch or _system_metrics(run)
            if not inbox.status:
                _get_ready_for_models()
        except (MlflowException, OSError):
            if inbox.status:
                raise
    if watch:
        watch.finish()
    if not run:
        return
    if inbox.status != "FINISHED":
        run.end(inbox.status)
        return
    run.complete()
    if inbox.was_stopped():
        run.end("KILLED")
    else:
        say(f"MLflow: logged as {run.name}")


def _system_metrics(run: Run) -> Any:
    """Log the load of the machine while the training runs, if MLflow's variable for this is set."""
    from mlflow.environment_variables import MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    if not MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING.get():
        return None
    monitor = SystemMetricsMonitor(run.id, sampling_interval=SAMPLE_SECONDS)
    monitor.start()
    return monitor


@functools.cache
def _get_ready_for_models() -> None:
    """Do a slow step of MLflow during training, not after it: at the first model it checks all installed packages."""
    import git  # noqa: F401  (what MLflow imports then)
    from mlflow.utils.requirements_utils import warn_dependency_requirement_mismatches

    warn_dependency_requirement_mismatches([f"numpy=={version('numpy')}"])


if __name__ == "__main__":
    main()
