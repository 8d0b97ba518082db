"""What this BLAS can do, and one thread of it while small networks train.

NumPy's matrix products start a thread per core. In a small network they are too short to share: the threads wait for
each other, and take many times the processor time. This module uses threadpoolctl and does nothing where that is not
installed.
"""

import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

try:
    from threadpoolctl import ThreadpoolController
except ImportError:
    ThreadpoolController = None

LARGE = 100_000  # parameters; with 403,000 of them two threads take 0.8 to 0.55 of the time of one, with 38,000 as long


@functools.cache
def multiplies_small_matrices_unpacked() -> bool:
    """Whether this BLAS multiplies small matrices without packing (copying) them: OpenBLAS does, with AVX-512."""
    found = ThreadpoolController().select(user_api="blas").info() if ThreadpoolController else []
    return any(str(blas.get("architecture")).lower() in _WITH_AVX_512 for blas in found)


_WITH_AVX_512 = ("skylakex", "cooperlake", "sapphirerapids")  # OpenBLAS's names of its kernels


class _Limit:
    """The limit that all trainings of this process share: the first one sets it, the last one to end lifts it."""

    def __init__(self) -> None:
        self.lock, self.trainings = threading.Lock(), 0
        self.controller: Any = None
        self.limit: Any = None

    def enter(self) -> None:
        with self.lock:
            if self.trainings == 0:
                self.controller = self.controller or ThreadpoolController().select(user_api="blas")
                self.limit = self.controller.limit(limits=1)
            self.trainings += 1

    def leave(self) -> None:
        with self.lock:
            self.trainings -= 1
            if self.trainings == 0:
                self.limit.restore_original_limits()


_limit = _Limit()


@contextmanager
def suited_blas_threads(n_parameters: int) -> Iterator[None]:
    """Limit BLAS to one thread, in the whole process, while a network of fewer than ``LARGE`` parameters trains.

    Trainings may overlap in several threads: the limit ends with the last of them. A large network keeps the threads
    that BLAS has.
    """
    if ThreadpoolController is None or n_parameters >= LARGE:
        yield
        return
    _limit.enter()
    try:
        yield
    finally:
        _limit.leave()
