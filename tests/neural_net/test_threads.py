"""Threads: whatever one asks of a network outside of its training gives in many threads what it gives in one."""

import copy
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

import neural_net as nn
from neural_net import Callback, CrossEntropy, Layer, Network, dense_layers, evaluate, fit

RNG = np.random.default_rng
X = RNG(0).normal(size=(2000, 16))
Y = RNG(1).integers(3, size=2000)


class Remembers:
    """An activation as custom.md has it, that keeps its latest batch."""

    def Forward_prop(self, Z: np.ndarray) -> np.ndarray:
        self.root = np.sqrt(Z * Z + 1)
        self.Y = (Z + self.root) / 2
        return self.Y

    def Backward_prop(self, dA: np.ndarray) -> np.ndarray:
        return dA * self.Y / self.root


class Both(Layer):
    """The sum of two layers, in attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.others = dense_layers([], 8)[0], tuple(dense_layers([], 8))

    def children(self) -> Iterator[Layer]:
        yield from (self.first, *self.others)

    def _shapes(self, shape_in: Any) -> Any:
        return [child.build(shape_in) for child in self.children()][-1]

    @property
    def n_parameters(self) -> int:
        return sum(child.n_parameters for child in self.children())

    def bind(self, params: np.ndarray, grads: np.ndarray) -> None:
        for child, *views in zip(self.children(), np.split(params, 2), np.split(grads, 2), strict=True):
            child.bind(*views)

    def forward(self, x: np.ndarray, training: bool = False) -> np.ndarray:
        return self.first.forward(x, training) + self.others[0].forward(x, training)


class Scratch(Layer):
    """Writes into arrays that it keeps in an object."""

    def __init__(self) -> None:
        super().__init__()
        self.kept = SimpleNamespace(rows=np.empty((1100, 16)), by_name={"sum": np.empty((1100, 16))})

    def forward(self, x: np.ndarray, training: bool = False) -> np.ndarray:
        self.library, self.lock = np, threading.Lock()  # which cannot be copied
        rows, total = self.kept.rows[: len(x)], self.kept.by_name["sum"][: len(x)]
        np.sin(x, out=rows, casting="unsafe")
        np.add(x, rows, out=total)
        return total.copy()


class OwnScratch:
    """The same as an activation."""

    def __init__(self) -> None:
        self.layer = Scratch()

    def Forward_prop(self, Z: np.ndarray) -> np.ndarray:
        return self.layer.forward(Z)

    Backward_prop = Forward_prop


PATH = [{"reshape": {"shape": [8, 2]}}, {"conv1d": {"filters": 4}}, "batch_norm", "gelu", "max_pool1d", "flatten"]
STACKS: dict[str, list[Any]] = {
    "dense": dense_layers([32, 32], 3, "relu", normalization="batch_norm", dropout=0.2, residual=True),
    "path": dense_layers(PATH, 3),
    "strided": dense_layers([PATH[0], {"conv1d": {"filters": 4, "dilation": 2}}, {"gelu": {"approximate": False}},
                             {"max_pool1d": {"stride": 1, "padding": "same"}}, {"average_pool1d": {"stride": 1}},
                             {"linear": {"n_out": 5, "use_bias": False}}, "tanh", "flatten"], 3),
    "scratch": [Scratch(), OwnScratch(), {"linear": {"n_out": 3}}],
    "own": [Both(), Remembers(), {"linear": {"n_out": 3}}],
}  # fmt: skip


@pytest.fixture(autouse=True)
def restless_threads() -> Iterator[None]:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    with threadpool_limits(1):
        yield
    sys.setswitchinterval(interval)


@pytest.mark.parametrize("stack", STACKS)
def test_eight_threads_get_what_one_gets(stack: str) -> None:
    network, loss = Network(copy.deepcopy(STACKS[stack]), 16, rng=RNG(0)), CrossEntropy(0.1, [1, 2, 3])
    work = [slice(start, start + rows) for start in range(0, 600, 3) for rows in (1, 7, 1100)]

    def answers(rows: slice) -> tuple[Any, ...]:
        outputs, measured = network.outputs(X[rows]), evaluate(network, X[rows], Y[rows], loss)
        return network.predict(X[rows]).tolist(), network.predict_proba(X[rows]).tobytes(), outputs.tobytes(), measured

    alone = [answers(rows) for rows in work]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(answers, work)) == alone


def test_threads_may_predict_while_one_trains_and_all_may_be_the_first() -> None:
    def train(threads: int) -> bytes:
        network = Network(copy.deepcopy(STACKS["dense"]), rng=RNG(0))
        with ThreadPoolExecutor(8) as pool:
            started = [pool.submit(network.outputs, X[:5]) for _ in range(threads)]
            assert len({future.result().tobytes() for future in started}) <= 1  # one of them built it
            network.check_inputs(X)
            asked = [pool.submit(network.predict_proba, X[:rows]) for rows in range(1, threads)]
            fit(network, X, Y, rng=RNG(1), epochs=3)
            assert all(np.isfinite(future.result()).all() for future in asked)
        return network.params.tobytes()

    assert train(threads=300) == train(threads=0)


def test_trainings_in_threads_may_share_a_loss_and_a_schedule() -> None:
    loss, schedule = CrossEntropy(0.1, [1, 2, 3]), nn.ReduceOnPlateau(patience=1)

    def train(seed: int) -> bytes:
        network = Network(copy.deepcopy(STACKS["dense"]), 16, rng=seed)
        fit(network, X[:300], Y[:300], rng=seed, epochs=5, loss=loss, schedule=schedule)
        return network.params.tobytes()

    alone = [train(seed) for seed in range(16)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(train, range(16))) == alone


@pytest.mark.parametrize("shared", [{"optimizer": nn.Adam()}, {"callbacks": [nn.WeightAverage()]}], ids=str)
def test_an_optimizer_or_callback_of_a_running_training_is_refused_elsewhere(shared: dict[str, Any]) -> None:
    first, second = (Network(copy.deepcopy(STACKS["dense"]), 16, rng=0) for _ in range(2))
    options: dict[str, Any] = {"rng": 1, "epochs": 1, "callbacks": []} | shared

    class Another(Callback):
        def on_batch_end(self, training: Any) -> None:
            before = second.params.copy()
            with ThreadPoolExecutor(1) as pool, pytest.raises(ValueError, match="object is in use by a training"):
                pool.submit(fit, second, X, Y, **options).result()
            assert np.array_equal(second.params, before)

    fit(first, X[:64], Y[:64], **options | {"callbacks": [*options["callbacks"], Another()]})
    fit(second, X[:64], Y[:64], **options)  # afterwards it is free
