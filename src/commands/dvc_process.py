"""Run DVC so that it can be stopped without losing the work of its stage."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil

from pipeline.errors import StageError
from runtime.signals import handle_stops

FULL = 1_000_000  # bytes that a disk has left when nothing can be done on it


def dvc(*arguments: str, capture: bool = False) -> str:
    """Call the environment's DVC, whose stages run with the environment's python.

    A request to stop is passed on to the running stage, which saves its state. DVC then ends by itself. Ctrl-C needs
    no passing on: the terminal sends it to DVC and its stage.

    Returns:
        What DVC printed, if ``capture``.

    Raises:
        StageError: if DVC fails.
        KeyboardInterrupt: after DVC has ended, if a stop was requested meanwhile.
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    stops: list[int] = []
    with subprocess.Popen(  # noqa: S603 (python, with words of ours)
        [sys.executable, "-m", "dvc", *arguments],
        env={**os.environ, "PATH": path},
        text=True,
        stdout=subprocess.PIPE if capture else None,
        stderr=subprocess.PIPE if capture else None,
    ) as process:

        def stop(number: int, frame: object) -> None:
            stops.append(number)
            if number != signal.SIGINT or len(stops) > 1:
                _ask_to_stop(process)

        with handle_stops(stop):
            said, faults = (text or "" for text in process.communicate())
    if stops:
        raise KeyboardInterrupt
    if process.returncode:
        failed = f"`dvc {' '.join(arguments)}` failed"
        if shutil.disk_usage(".").free < FULL:  # of which DVC itself may say no more than: disk I/O error
            raise StageError(f"{failed}: the disk is full; free some space and run again")
        raise StageError(f"{faults}{failed}; see the message above")
    return said


def _ask_to_stop(process: "subprocess.Popen[str]") -> None:
    """Ask DVC's running stage to stop. If no stage is running, interrupt DVC itself, like Ctrl-C."""
    with contextlib.suppress(psutil.Error):
        started = psutil.Process(process.pid).children(recursive=True)
        stages = [child for child in started if "src/" in " ".join(child.cmdline()) and child.name() != "sh"]
        for stage in stages:
            stage.terminate()
        if not stages:
            process.send_signal(signal.SIGINT)
