"""Calls: what a training step costs at these sizes is the number of calls, so it may not grow unnoticed."""

import sys
from collections import Counter
from types import FrameType
from typing import Any

import numpy as np
import pytest

from neural_net import Callback, Network, Training, dense_layers


class CountCalls(Callback):
    """Counts the functions that the last step of a training calls: Python's, and compiled ones such as NumPy's."""

    def on_batch_begin(self, training: Training) -> None:
        self.calls: Counter[str] = Counter()
        sys.setprofile(self._count)

    def on_batch_end(self, training: Training) -> None:
        sys.setprofile(None)

    def _count(self, frame: FrameType, event: str, argument: Any) -> None:
        self.calls[event] += 1


def calls_of_a_step(hidden: list[int], rows: int, activation: str = "relu") -> Counter[str]:
    rng, counting = np.random.default_rng(0), CountCalls()
    network = Network(dense_layers(hidden, 10, activation), 16, rng=rng)
    X, y = rng.normal(size=(4 * rows, 16)), np.arange(4 * rows) % 10
    Training(network, X, y, rng=rng, epochs=1, batch_size=rows, callbacks=[counting], accuracy=False).run()
    return counting.calls


@pytest.mark.parametrize(("activation", "most_compiled", "most_python"), [("relu", 85, 75), ("gelu", 115, 85)])
def test_a_step_makes_few_calls(activation: str, most_compiled: int, most_python: int) -> None:
    calls = calls_of_a_step([32, 16], 64, activation)
    assert calls["c_call"] <= most_compiled
    assert calls["call"] <= most_python


def test_a_layer_more_costs_few_calls() -> None:
    assert calls_of_a_step([32, 16, 16], 64)["c_call"] - calls_of_a_step([32, 16], 64)["c_call"] <= 20


def test_the_number_of_calls_does_not_depend_on_sizes() -> None:
    small, large = calls_of_a_step([8, 8], 4), calls_of_a_step([128, 64], 256)
    assert small == large
