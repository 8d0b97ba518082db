"""Calls: at these sizes what a training step costs is the number of NumPy calls, so it may not grow unnoticed."""

import sys
from collections import Counter
from typing import Any

import numpy as np
import pytest

from neural_net import Network, dense_layers, make_loss, make_optimizer

CALCULATING = ("activations", "layers", "losses", "optimizers")


class Counting:
    """Stands for NumPy, or for one of its functions, and counts the calls by name."""

    def __init__(self, real: Any, name: str, calls: Counter[str]) -> None:
        self._real, self._name, self._calls = real, name, calls

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._real, name)
        return found if isinstance(found, type) or not callable(found) else Counting(found, name, self._calls)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self._calls[self._name] += 1
        return self._real(*args, **kwargs)


def calls_of_a_step(
    monkeypatch: pytest.MonkeyPatch, hidden: list[int], rows: int = 64, activation: str = "relu"
) -> Counter[str]:
    """The NumPy functions that layers, loss and optimizer call in one training step, after a first one.

    Of what arrays do by themselves, the product is counted.
    """
    network = Network(dense_layers(hidden, 10, activation), 16, rng=np.random.default_rng(0))
    loss, optimizer = make_loss("cross_entropy"), make_optimizer("adam")
    X, targets = np.ones((rows, 16), np.float32), loss.targets(np.arange(rows) % 10, 10, np.float32)

    def step() -> None:
        loss.forward(network.forward(X, training=True), targets)
        network.backward_parameters(loss.backward())
        optimizer.step(network.params, network.grads, network.decays)

    step()
    calls: Counter[str] = Counter()
    with monkeypatch.context() as patch:
        for name in CALCULATING:
            patch.setattr(sys.modules[f"neural_net.{name}"], "np", Counting(np, "numpy", calls))
        before = sys.getprofile()
        sys.setprofile(lambda frame, event, called: _count_product(calls, event, called))
        try:
            step()
        finally:
            sys.setprofile(before)
    return calls


def _count_product(calls: Counter[str], event: str, called: Any) -> None:
    if event == "c_call" and called.__name__ == "dot":
        calls["dot"] += 1


@pytest.mark.parametrize(("activation", "most"), [("relu", 34), ("gelu", 60)])
def test_a_step_makes_few_calls(monkeypatch: pytest.MonkeyPatch, activation: str, most: int) -> None:
    calls = calls_of_a_step(monkeypatch, [32, 16], activation=activation)
    assert calls.total() <= most
    assert calls["dot"] == 3 * 3 - 1 + 2  # three a layer, none to the data, and the loss's sums over classes and rows


def test_a_layer_more_costs_six_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    more = calls_of_a_step(monkeypatch, [32, 16, 16]) - calls_of_a_step(monkeypatch, [32, 16])
    assert more == {"dot": 3, "maximum": 1, "greater": 1, "multiply": 1}


def test_the_calls_do_not_depend_on_the_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert calls_of_a_step(monkeypatch, [8, 8], 4) == calls_of_a_step(monkeypatch, [128, 128], 512)


def test_the_optimizer_goes_once_over_each_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """A block of the vector is 32768 numbers; [256, 128] has 38538, [128, 128] 19978."""
    more = calls_of_a_step(monkeypatch, [256, 128]) - calls_of_a_step(monkeypatch, [128, 128])
    assert more.total() == 10
