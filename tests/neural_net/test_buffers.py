"""Buffers: a step in the steady state allocates nothing that grows with the batch, and no batch disturbs another."""

import copy
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from neural_net import ACTIVATIONS, LOSSES, OPTIMIZERS, Chain, Network, make_loss, make_optimizer
from neural_net.gradcheck import check_layer

PATH = {"reshape": {"shape": [8, 2]}}
HEAD = {"linear": {"n_out": 10}}
CONV = {"conv1d": {"filters": 4}}
STACKS: dict[str, list[Any]] = {
    **{
        name: [{"linear": {"n_out": 8}}, name, HEAD]
        for name, kind in ACTIVATIONS.items()
        if kind.__module__.startswith("neural_net")
    },
    "exact gelu": [{"linear": {"n_out": 8}}, {"gelu": {"approximate": False}}, HEAD],
    "dropout": [{"linear": {"n_out": 8}}, "dropout", HEAD],
    "normalization": [{"linear": {"n_out": 8}}, "batch_norm", "layer_norm", HEAD],
    "residual": [{"residual": {"layers": [{"linear": {"n_out": 16}}, "relu"]}}, HEAD],
    "conv1d": [PATH, CONV, "relu", {"conv1d": {"filters": 4, "stride": 2, "padding": "valid"}}, "flatten", HEAD],
    "conv1d in the middle": [{"linear": {"n_out": 16}}, PATH, CONV, "flatten", HEAD],
    "pools": [PATH, CONV, "max_pool1d", "average_pool1d", "flatten", HEAD],
    "pools with stride": [
        PATH, {"conv1d": {"filters": 4, "dilation": 2}}, {"max_pool1d": {"size": 3, "stride": 2, "padding": "same"}},
        {"average_pool1d": {"stride": 1, "padding": "same"}}, "flatten", HEAD,
    ],
    "linear on paths": [PATH, {"linear": {"n_out": 4}}, "relu", CONV, {"linear": {"n_out": 4, "use_bias": False}}, CONV,
                        "flatten", HEAD],
    "linear twice on paths": [PATH, {"linear": {"n_out": 4}}, {"linear": {"n_out": 4}}, "flatten", HEAD],
    "normalised paths": [PATH, CONV, "batch_norm", "layer_norm", "flatten", HEAD],
}  # fmt: skip
EVERY_LOSS = [
    {"cross_entropy": {"label_smoothing": 0.1, "class_weights": [1.0] * 10}}, *LOSSES,
]  # fmt: skip


def bytes_of_a_step(layers: list[Any], rows: int, loss: Any = "cross_entropy", weighted: bool = False) -> int:
    """The most memory that one training step has in use beside what was there before it."""
    rng = np.random.default_rng(0)
    network = Network(layers, 16, rng=rng)
    network.set_rng(rng)
    loss, optimizer = make_loss(loss), make_optimizer("adam")
    X, weight = rng.normal(size=(rows, 16)).astype(np.float32), np.ones(rows, np.float32) if weighted else None
    targets = loss.targets(np.arange(rows) % 10, 10, np.float32)

    def step() -> None:
        loss.forward(network.forward(X, training=True), targets, weight)
        network.backward_parameters(loss.backward())
        optimizer.step(network.params, network.grads, network.decays)

    return _peak(step)


def _peak(step: Callable[[], None]) -> int:
    for _ in range(2):
        step()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        step()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def assert_bounded(*arguments: Any) -> None:
    """NumPy itself takes blocks of constant size; beside them not even a byte a row may come."""
    few, many = (bytes_of_a_step(arguments[0], rows, *arguments[1:]) for rows in (9_000, 19_000))
    assert many - few < 5_000


@pytest.mark.parametrize("stack", STACKS)
def test_layers_allocate_nothing_that_grows_with_the_batch(stack: str) -> None:
    assert_bounded(STACKS[stack])


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("loss", EVERY_LOSS, ids=str)
def test_losses_allocate_nothing_that_grows_with_the_batch(loss: Any, weighted: bool) -> None:
    assert_bounded([HEAD], loss, weighted)


@pytest.mark.parametrize(
    ("name", "own"),
    [*((name, {}) for name in OPTIMIZERS), ("adam", {"amsgrad": True}), ("rmsprop", {"centered": True})],
)
def test_optimizers_allocate_nothing_that_grows_with_the_network(name: str, own: dict[str, Any]) -> None:
    options = {"weight_decay": 0.1, "clip_norm": 1.0, "clip_value": 0.1} | own
    optimizer, vectors = make_optimizer({name: options}), list(np.ones((3, 100_000), np.float32))
    assert _peak(lambda: optimizer.step(*vectors)) < 10_000


def gradients(network: Network, X: np.ndarray) -> np.ndarray:
    loss = make_loss("cross_entropy")
    loss.forward(network.forward(X, training=True), loss.targets(np.arange(len(X)) % 10, 10, np.float32))
    network.backward_parameters(loss.backward())
    return network.grads.copy()


@pytest.mark.parametrize("stack", ["gelu", "normalization", "residual", "conv1d", "pools"])
def test_many_batch_sizes_do_not_disturb_each_other(stack: str, rng: np.random.Generator) -> None:
    network = Network(STACKS[stack], 16, rng=np.random.default_rng(0))
    X = rng.normal(size=(120, 16)).astype(np.float32)
    for rows in [*range(1, 121), 1, 60, 7, 119, 7]:
        fresh = Network(STACKS[stack], 16, rng=np.random.default_rng(0))
        for layer, same in zip(fresh.walk(), network.walk(), strict=True):  # one row is normalised by running means
            layer.state = copy.deepcopy(same.state)
        assert np.array_equal(gradients(network, X[:rows]), gradients(fresh, X[:rows]))
    first = network.forward(X[:8])
    kept = first.copy()
    network.forward(X[:5] + 1)
    assert np.array_equal(first, kept)  # outputs hold until the next batch of their own size


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("stack", STACKS)
def test_a_layer_with_a_place_in_the_next_ones_buffers_is_as_good_as_alone(stack: str, dtype: Any) -> None:
    network = Network(STACKS[stack], 16, rng=np.random.default_rng(0))
    rng = np.random.default_rng(1)
    for layer in (one for one in network.layers if dtype == network.dtype or not one.n_parameters):
        x, grad = (rng.normal(size=(40, *shape)).astype(dtype) for shape in (layer.shape_in, layer.shape_out))
        given, alone = (x.copy(), grad.copy()), layer.twin()
        layer.rng, alone.rng = np.random.default_rng(2), np.random.default_rng(2)
        results = [(one.forward(x, True).copy(), one.backward(grad)) for one in (alone, layer)]
        for expected, result in zip(*results, strict=True):
            assert (result.dtype, result.tobytes()) == (expected.dtype, expected.tobytes())
        assert np.array_equal(given[0], x)
        assert np.array_equal(given[1], grad)


@pytest.mark.parametrize("stack", STACKS)
def test_sharing_buffers_changes_no_bit(stack: str, rng: np.random.Generator) -> None:
    linked, apart = (Network(STACKS[stack], 16, rng=np.random.default_rng(0)) for _ in range(2))
    for layer in apart.walk():
        layer.following = None
    for rows in (40, 7, 40, 250):
        X = rng.normal(size=(rows, 16)).astype(np.float32)
        for network in (linked, apart):
            network.set_rng(np.random.default_rng(1))
        assert gradients(linked, X).tobytes() == gradients(apart, X).tobytes()
        assert linked.outputs(X).tobytes() == apart.outputs(X).tobytes()


class Sum(Chain):
    """Layers side by side: ``y = f_1(x) + f_2(x)``."""

    def forward(self, x: Any, training: bool = False) -> Any:
        return sum(layer.forward(x, training) for layer in self.layers)

    def backward(self, grad_out: Any) -> Any:
        return sum(layer.backward(grad_out) for layer in self.layers)


def test_a_chain_of_ones_own_may_run_its_layers_in_another_way() -> None:
    assert check_layer(Sum(["tanh", {"linear": {"n_out": 6}}]), (6,), 0) < 1e-6
    assert check_layer(Sum(["relu", "tanh"]), (6,), 0) < 1e-6
