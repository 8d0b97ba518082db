"""Many trainings at once: a process a core, with one BLAS thread each, so the results are those of one process."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any, TypeVar

import numpy as np  # noqa: F401 (its BLAS must be there when its threads are limited)
from threadpoolctl import threadpool_limits

Result = TypeVar("Result")


def each(work: Callable[..., Result], arguments: Iterable[tuple[Any, ...]], processes: int = 1) -> Iterator[Result]:
    """Yield ``work(*arguments)`` of each, in their order; with more than one process, several are at work at a time.

    Args:
        work: a function of a module's, so that another process finds it.
        processes: 1: the work is done in this process.
    """
    if processes == 1:
        with threadpool_limits(1):
            for given in arguments:
                yield work(*given)
        return
    spawn = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
    with ProcessPoolExecutor(processes, spawn, initializer=_begin) as pool:
        try:
            for future in [pool.submit(work, *given) for given in arguments]:
                yield future.result()
        except BaseException:
            for process in multiprocessing.active_children():  # else their trainings would be waited for
                process.terminate()
            raise


def _begin() -> None:
    """In each process: one BLAS thread, no answer to Ctrl-C, which the first process handles, and an end with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    threadpool_limits(1)


def _end_with_parent() -> None:
    if parent := multiprocessing.parent_process():
        parent.join()
    os._exit(1)
