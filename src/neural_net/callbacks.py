"""Callbacks: methods that the training calls as it runs. Early stopping and weight averaging are callbacks."""

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .memory import aligned_copy
from .network import Network
from .parts import Shown, is_ours
from .values import Array, check, check_below_1, check_count, copy_like

if TYPE_CHECKING:
    from .training import Training

Record = dict[str, float]
Snapshot = tuple[Array, list[dict[str, Array]]]


class StateError(ValueError):
    """A state does not belong to this training; the message says what does not fit."""


class Callback(Shown):
    """The contract of all callbacks: a subclass overrides the events that it needs.

    ``training`` is the running ``Training``.
    """

    def on_train_begin(self, training: "Training") -> None:
        """Before the first epoch."""

    def on_epoch_begin(self, training: "Training") -> None:
        """Before the first batch of an epoch; ``training.epoch`` is its number, from 1."""

    def on_batch_begin(self, training: "Training") -> None:
        """Before each step; ``training.step`` steps are done."""

    def on_batch_end(self, training: "Training") -> None:
        """After each step; ``training.network.grads`` still has the step's gradient."""

    def on_validation_begin(self, training: "Training") -> None:
        """After the last batch of an epoch, before the validation rows are measured."""

    def on_epoch_end(self, training: "Training", record: Record) -> None:
        """After each epoch, with its measurements; ``training.stopping = True`` ends the training."""

    def on_divergence(self, training: "Training") -> None:
        """After a divergence, before ``on_train_end``."""

    def on_train_end(self, training: "Training") -> None:
        """After the last epoch and after a divergence, but not after any other error."""

    def get_state(self) -> dict[str, Any]:
        """Everything that the callback keeps between calls: arrays, and values that json can hold."""
        return {}

    def set_state(self, training: "Training", state: Mapping[str, Any]) -> None:
        """Restore the result of ``get_state``; called after ``on_train_begin``, when the training is restored."""


class EarlyStopping(Callback):
    """End the training ``patience`` epochs after ``monitor`` last improved, and restore that epoch's weights.

    The weights are also restored after a divergence.

    Args:
        monitor: a key of the history's records. More is better if it ends in ``accuracy``; otherwise less is better.
        min_delta: a smaller improvement does not count.
    """

    def __init__(self, patience: int = 10, monitor: str = "val_loss", min_delta: float = 0.0) -> None:
        check_count(self, patience=patience)
        check(min_delta >= 0, self, f"min_delta must be at least 0, got {min_delta}")
        self.patience, self.monitor, self.min_delta = patience, monitor, min_delta

    def on_train_begin(self, training: "Training") -> None:
        watched = f"EarlyStopping watches {self.monitor}, which needs"
        if self.monitor in ("val_loss", "val_accuracy") and training.validation is None:
            raise ValueError(f"{watched} validation=(X, y)")
        if self.monitor in ("train_accuracy", "val_accuracy") and not training.accuracy:
            raise ValueError(f"{watched} accuracy=True and several outputs")
        before = training.callbacks[: training.callbacks.index(self)]  # a user's own may add to what is measured
        if all(map(is_ours, before)):
            self._check(training.quantities)
        self.best, self.best_epoch = math.inf, 0
        self.kept: Snapshot | None = None

    def get_state(self) -> dict[str, Any]:
        return {"best": self.best, "best_epoch": self.best_epoch, "kept": self.kept}

    def set_state(self, training: "Training", state: Mapping[str, Any]) -> None:
        self.best, self.best_epoch, self.kept = float(state["best"]), int(state["best_epoch"]), state["kept"]
        if self.kept is not None:
            now = snapshot(training.network)
            restore(training.network, self.kept)  # raises ValueError if it does not fit
            restore(training.network, now)

    def on_epoch_end(self, training: "Training", record: Record) -> None:
        self._check(record)
        value = -record[self.monitor] if self.monitor.endswith("accuracy") else record[self.monitor]
        if value < self.best - self.min_delta:
            self.best, self.best_epoch, self.kept = value, training.epoch, snapshot(training.network)
        elif training.epoch - self.best_epoch >= self.patience:
            training.stopping = True

    def _check(self, measured: Iterable[str]) -> None:
        if self.monitor not in measured:
            raise ValueError(f"EarlyStopping watches {self.monitor}, and the training measures {', '.join(measured)}")

    def on_train_end(self, training: "Training") -> None:
        if self.kept is not None:
            restore(training.network, self.kept)


class WeightAverage(Callback):
    """Update ``average = decay * average + (1 - decay) * weights`` after each step, and end with it in the network.

    This is Polyak averaging with an exponential window (Polyak and Juditsky 1992). ``decay`` grows as
    ``(1 + t) / (10 + t)`` up to the given value, so that the start is forgotten. Between the last step of an epoch and
    the first of the next, the average is in the network: validation measures it, and ``EarlyStopping`` keeps it. After
    a divergence the latest finite average is in the network.
    """

    def __init__(self, decay: float = 0.999) -> None:
        check_below_1(self, decay=decay)
        self.decay = decay

    def on_train_begin(self, training: "Training") -> None:
        self.average = aligned_copy(training.network.params)
        self.scratch = aligned_copy(self.average)  # after each step, the average before it
        self.steps_taken, self.aside = 0, False
        _, self.states = snapshot(training.network)

    def get_state(self) -> dict[str, Any]:
        return {"average": self.average, "steps_taken": self.steps_taken}

    def set_state(self, training: "Training", state: Mapping[str, Any]) -> None:
        self.average, self.steps_taken = copy_like(training.network.params, state["average"]), training.step
        if state["steps_taken"] != training.step:
            raise StateError(f"the average is of {state['steps_taken']} steps, the training of {training.step}")
        self.aside = training.epoch > len(training.history)

    def on_epoch_begin(self, training: "Training") -> None:
        if self.steps_taken:
            self._swap(training.network)
        self.aside = True  # the average is not in the network
        _, self.states = snapshot(training.network)

    def on_batch_end(self, training: "Training") -> None:
        self.steps_taken += 1
        decay = min(self.decay, (1 + self.steps_taken) / (10 + self.steps_taken))
        np.subtract(training.network.params, self.average, out=self.scratch)
        self.scratch *= 1 - decay
        self.scratch += self.average
        self.average, self.scratch = self.scratch, self.average

    def on_validation_begin(self, training: "Training") -> None:
        self._swap(training.network)
        self.aside = False

    def on_divergence(self, training: "Training") -> None:
        finite = [average for average in (self.average, self.scratch) if np.isfinite(average).all()]
        if self.aside and finite:
            _, states = snapshot(training.network)
            healthy = all(np.isfinite(array).all() for state in states for array in state.values())
            restore(training.network, (finite[0], states if healthy else self.states))

    def _swap(self, network: Network) -> None:
        self.scratch[...] = network.params
        network.params[...] = self.average
        self.average[...] = self.scratch


def snapshot(network: Network) -> Snapshot:
    """A copy of everything that training changes in a network."""
    states = [{name: array.copy() for name, array in layer.state.items()} for layer in network.walk()]
    return network.params.copy(), states


def restore(network: Network, kept: Snapshot) -> None:
    """Put a snapshot back, in place."""
    params, states = kept
    network.params[...] = copy_like(network.params, params)
    for layer, state in zip(network.walk(), states, strict=True):
        for name, array in layer.state.items():
            array[...] = copy_like(array, state[name])
