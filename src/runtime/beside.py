"""A second process beside a script's own: the same script with one more word, for work that waits for nothing.

It reads its inputs as the script does, keeps its state in a checkpoint, and hands over nothing else: the script resumes
from that checkpoint. So if the second process fails or is killed, the script does the rest of the work itself and meets
the same error, if there is one.

The second process is in a session of its own, so Ctrl-C on the terminal does not reach it. It is asked to stop by the
end of its stdin, which also comes when the script is killed.
"""

import _thread
import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

from .script import say

STOP_SECONDS = 30.0  # that it has to write its state when it is asked to stop


def cores() -> int:
    """The number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Beside:
    """The second process, as the script sees it."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process, self._progress = process, 0
        self._listener = threading.Thread(target=self._listen, args=(process.stdout,), daemon=True)
        self._listener.start()

    def wait(self, show: Callable[[int], None]) -> bool:
        """Wait for the end of the work, and call ``show`` with what ``tell`` was given; returns whether it is done."""
        while self._listener.is_alive():
            show(self._progress)
            self._listener.join(0.1)
        show(self._progress)
        code = self._process.wait()
        if code:
            say(f"the second process ended too early (exit code {code}); this one does the rest of its work")
        return not code

    def _listen(self, pipe: Any) -> None:
        with pipe:
            for line in pipe:
                if line.strip().isdecimal():
                    self._progress = int(line)
                else:
                    say(line.rstrip())


@contextlib.contextmanager
def started(script: str, word: str) -> Iterator[Beside | None]:
    """Run ``python script word`` during the block, and ask it to stop at the block's end.

    Yields None if no process can be started.
    """
    try:
        process = subprocess.Popen(  # noqa: S603 (python, with words of ours)
            [sys.executable, script, word],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # the script meets the same errors
            text=True,
            start_new_session=True,
        )
    except OSError:
        yield None
        return
    try:
        yield Beside(process)
    finally:
        if process.stdin:
            process.stdin.close()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def run(work: Callable[[], None]) -> None:
    """In the second process: do the work, which is interrupted as by Ctrl-C when the script ends or is killed."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have the script ignore it
    threading.Thread(target=_interrupt_at_end_of_stdin, daemon=True).start()
    work()


def tell(progress: int) -> None:
    """In the second process: tell the script how far the work is."""
    say(str(progress))


def _interrupt_at_end_of_stdin() -> None:
    while os.read(0, 1):
        pass
    _thread.interrupt_main()
