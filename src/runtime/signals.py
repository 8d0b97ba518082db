"""Requests to stop: Ctrl-C, SIGTERM and, where the system has it, SIGHUP."""

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

STOPS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
TOGETHER = 1.0  # seconds in which several signals are one request: `timeout` sends its own to the whole group


@contextlib.contextmanager
def handle_stops(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Call ``handler`` for each request to stop during the block. Signals that come together are one request.

    A signal that was ignored before stays ignored: `nohup`, for instance, ignores SIGHUP. Python lets only the main
    thread set handlers; in other threads the block changes nothing.
    """
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        outer = next((known for known in map(signal.getsignal, STOPS) if isinstance(known, _Once)), None)
        once = _Once(handler, outer)
        for number in STOPS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, once)
    try:
        yield
    finally:
        for changed, was in before.items():
            if signal.getsignal(changed) is once:  # else the block has set a handler of its own
                signal.signal(changed, was)


def ignore_stops() -> None:
    """Ignore requests to stop from now on."""
    for number in STOPS:
        signal.signal(number, signal.SIG_IGN)


class _Once:
    """Calls a handler, but not again for a signal that comes right after another one, even one in an outer block."""

    def __init__(self, handler: Callable[[int, FrameType | None], None], outer: "_Once | None") -> None:
        self.handler = handler
        self.last: list[float] = outer.last if outer else []

    def __call__(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if not self.last or now > self.last[-1] + TOGETHER:
            self.last.append(now)
            self.handler(number, frame)
