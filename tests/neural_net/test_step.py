"""Recorded steps give the same bits as plain ones, and what cannot be recorded is called as it is."""

import gc
import threading
import weakref
from typing import Any

import numpy as np
import pytest

from neural_net import Callback, Layer, Network, Optimizer, Training, dense_layers
from neural_net.activations import ACTIVATIONS
from neural_net.layers import LAYERS
from neural_net.losses import LOSSES
from neural_net.optimizers import OPTIMIZERS
from neural_net.step import PLAIN_STEPS, RecordedStep

RNG = np.random.default_rng(0)
X, Y = RNG.random((400, 16)), RNG.integers(0, 4, 400)
PATH = [{"reshape": {"shape": [8, 2]}}, {"conv1d": {"filters": 4}}, "gelu"]


def train(layers: Any, replay: bool, epochs: int = 4, **options: Any) -> tuple[Network, Training]:
    """40 steps: in each epoch nine of 42 rows and one of 22, or as the options say."""
    network = Network(layers, 16, rng=0, dtype=options.pop("dtype", np.float32))
    training = Training(network, X, Y, rng=1, replay=replay, **{"batch_size": 42, "epochs": epochs} | options)
    training.run()
    return network, training


def check_same_bits(layers: Any, **options: Any) -> list[Any]:
    """Train with and without recordings and compare; returns the pieces of the recorded step."""
    (plain, a), (recorded, b) = train(layers(), False, **options), train(layers(), True, **options)
    assert a.history.records == b.history.records
    assert plain.params.tobytes() == recorded.params.tobytes()
    for one, other in zip(plain.get_weights(), recorded.get_weights(), strict=True):
        assert one.tobytes() == other.tobytes()
    step = b.steps.of(X[:42])
    assert isinstance(step, RecordedStep)
    return [*step.parts, step.recorded_loss, step.recorded_change]


def used(pieces: list[Any]) -> list[bool]:
    return [piece.used for piece in pieces if hasattr(piece, "used")]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", [name for name in ACTIVATIONS if name != "softmax"])  # the loss applies it
def test_every_activation(name: str, dtype: Any) -> None:
    assert all(used(check_same_bits(lambda: dense_layers([8, 8], 4, name), dtype=dtype)))


@pytest.mark.parametrize("name", LAYERS)
def test_every_layer(name: str) -> None:
    options = {"linear": {"n_out": 5}, "conv1d": {"filters": 3, "stride": 2}, "reshape": {"shape": [-1, 4]}}
    inner: Any = {"residual": {"layers": [{"conv1d": {"filters": 4}}, "relu"]}}
    layer = inner if name == "residual" else {name: options.get(name, {})}
    pieces = check_same_bits(lambda: [*PATH, layer, "tanh", "flatten", {"linear": {"n_out": 4}}])
    assert all(used(pieces))
    assert len(pieces) == (3 if LAYERS[name].repeatable else 5)


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss(loss: str) -> None:
    pieces = check_same_bits(lambda: dense_layers([8], 4), loss=loss)
    assert used(pieces) == [True, loss != "focal", True]
    check_same_bits(lambda: dense_layers([8], 4), loss=loss, sample_weight=X[:, 0])


OPTIONS = {"sgd": {"momentum": 0.9, "nesterov": True}, "adam": {"amsgrad": True}, "rmsprop": {"centered": True}}


@pytest.mark.parametrize("more", [{}, {"weight_decay": 0.1, "clip_norm": 0.1}, {"clip_value": 0.01}])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer(name: str, more: dict[str, Any]) -> None:
    """With a schedule, and for so many steps that tiny numbers are rounded."""
    options = {"optimizer": {name: OPTIONS.get(name, {}) | more}, "schedule": "cosine", "epochs": 12}
    assert all(used(check_same_bits(lambda: dense_layers([8], 4), **options)))


class Doubling(Layer):
    """A layer of one's own that returns a new array each time."""

    def forward(self, x: Any, training: bool = False) -> Any:
        return 2 * x

    def backward(self, grad_out: Any) -> Any:
        return 2 * grad_out


class Plain(Optimizer):
    def _update(self, params: Any, grads: Any, lr: float, scratch: Any) -> None:
        params -= lr / self.t * grads


def test_parts_of_ones_own_are_called_as_they_are() -> None:
    pieces = check_same_bits(
        lambda: [*dense_layers([8], 4), Doubling(), {"linear": {"n_out": 4}}], optimizer=Plain(0.1)
    )
    assert used(pieces) == [True, True, True, False]


class Forgetful(ACTIVATIONS["relu"]):  # type: ignore[misc]
    """Claims to be one of ours, and computes with an array that no tape sees."""

    __module__ = "neural_net.activations"

    def _value(self, z: Any, y: Any) -> None:
        y[...] = np.tanh(np.asarray(memoryview(z)))


def test_a_recording_that_lacks_a_call_is_not_used() -> None:
    assert used(check_same_bits(lambda: [{"linear": {"n_out": 4}}, Forgetful()])) == [False, True, True]


class Meddling(Callback):
    """Changes what a recording holds as numbers."""

    def on_epoch_begin(self, training: Training) -> None:
        optimizer: Any = training.optimizer
        optimizer.lr *= 0.9
        optimizer.beta1 = 0.9 - 0.01 * (training.epoch // 4)
        training.network[0].trainable = training.epoch < 9
        training.network[1].slope = 0.1 if training.epoch < 6 else 0.3  # type: ignore[union-attr]
        if training.epoch == 11:
            optimizer.reset()


def test_changes_between_epochs_are_followed() -> None:
    options = {"optimizer": "adam", "epochs": 14, "callbacks": [Meddling()]}
    check_same_bits(lambda: dense_layers([8], 4, {"leaky_relu": {"slope": 0.1}}), **options)


def test_short_trainings_and_large_batches_are_not_recorded() -> None:
    for options in ({"epochs": 1, "batch_size": 400 // PLAIN_STEPS}, {"batch_size": None, "epochs": 2}):
        _, training = train(dense_layers([8], 4), True, **options)
        assert not isinstance(training.steps.of(X[: training.batch_size]), RecordedStep)


def test_trainings_in_several_threads_record_by_themselves() -> None:
    wanted = train(dense_layers([8], 4), False)[0].params.tobytes()
    found: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: found.append(train(dense_layers([8], 4), True)[0].params.tobytes()))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [wanted] * 4


def test_recordings_are_freed_with_their_training() -> None:
    network, training = train(dense_layers([8], 4, "relu"), True)
    step = training.steps.of(X[:42])
    pieces = [*step.parts, step.recorded_loss, step.recorded_change]
    memory = [network.params.base, network.grads.base, *(buffer.base for piece in pieces for buffer in piece.buffers)]
    kept = [weakref.ref(one) for one in (*(piece.tape for piece in pieces), *memory)]
    del network, training, step, pieces, memory
    gc.collect()
    assert [one() for one in kept] == [None] * len(kept)
