"""Small networks train with one BLAS thread; afterwards BLAS has as many threads as before."""

import threading
from collections.abc import Callable

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from neural_net import Callback, Network, blas, dense_layers, fit


def blas_threads() -> set[int]:
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


class Watch(Callback):
    """Does something after the epoch, then looks at the number of BLAS threads."""

    def __init__(self, work: Callable[[], None] = lambda: None) -> None:
        self.work = work

    def on_epoch_end(self, training, record) -> None:
        self.work()
        self.seen = blas_threads()


def train(watch: Watch, width: int = 4) -> set[int]:
    rng = np.random.default_rng(0)
    network = Network(dense_layers([width], 2), n_in=4, rng=rng)
    fit(network, rng.normal(size=(8, 4)), np.arange(8) % 2, rng=rng, epochs=1, callbacks=[watch])
    return watch.seen


@pytest.mark.parametrize(("width", "threads"), [(4, 1), (blas.LARGE // 4, 2)])
def test_one_thread_for_a_small_network_only(width, threads):
    with threadpool_limits(2, user_api="blas"):
        assert train(Watch(), width) == {threads}
        assert blas_threads() == {2}


def test_the_last_of_overlapping_trainings_restores_the_limit():
    def train_in_a_thread() -> None:
        other = threading.Thread(target=train, args=[Watch()])
        other.start()
        other.join()

    with threadpool_limits(2, user_api="blas"):
        assert train(Watch(train_in_a_thread)) == {1}
        assert blas_threads() == {2}


def test_an_error_restores_the_limit():
    with threadpool_limits(2, user_api="blas"):
        with pytest.raises(ZeroDivisionError):
            train(Watch(lambda: 1 / 0))
        assert blas_threads() == {2}
