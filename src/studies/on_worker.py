"""On a worker: hand each training to a process that runs the snapshot of code and data which came with it.

This file is part of the snapshot. A worker loads it under a name made from the snapshot's checksum, so that clients
with different code on one cluster never meet. It needs the standard library only, and nothing of the project: a worker
has installed packages and no checkout.
"""

import os
import struct
import subprocess
import sys
from pathlib import Path

ONE_THREAD = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
NOT_OURS = ("PYTHONPATH", "PYTHONHOME", "DVC_ROOT", "MLFLOW_TRACKING_URI")  # variables of the worker's own project
_idle: "list[_Trainer]" = []  # processes that wait for the next training


def run(folder: Path, request: bytes) -> bytes:
    """Train what ``request`` says in the snapshot that is unpacked in ``folder``.

    Raises:
        RuntimeError: if the process that trains dies. The scheduler then tries again.
    """
    while True:
        waiting = bool(_idle)
        trainer = _idle.pop() if waiting else _Trainer(folder)
        answer = trainer.ask(request)
        if answer is not None:
            _idle.append(trainer)
            return answer
        code = trainer.end()
        if not waiting:  # else it may have ended before, for want of work
            raise RuntimeError(f"the training's process died with exit code {code}")


class _Trainer:
    """A process of ``studies/fold_process.py``."""

    def __init__(self, folder: Path) -> None:
        kept = {name: value for name, value in os.environ.items() if name not in NOT_OURS}
        self._process = subprocess.Popen(
            [sys.executable, "src", "fold_process"],
            cwd=folder,
            env=kept | dict.fromkeys(ONE_THREAD, "1") | {"PENDIGITS_TRACKING": "off"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is the client's to handle
        )

    def ask(self, request: bytes) -> bytes | None:
        """The answer; None if the process ends without one."""
        stdin, stdout = self._process.stdin, self._process.stdout
        try:
            if stdin is None or stdout is None:
                return None
            stdin.write(struct.pack(">Q", len(request)) + request)
            stdin.flush()
            head = stdout.read(8)
            if len(head) < 8:
                return None
            (size,) = struct.unpack(">Q", head)
            answer = stdout.read(size)
        except OSError:  # a closed pipe
            return None
        return answer if len(answer) == size else None

    def end(self) -> int:
        """Close the pipes and wait for the process: its exit code."""
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            try:
                if pipe:
                    pipe.close()
            except OSError:  # what was not written yet
                continue
        return self._process.wait()
