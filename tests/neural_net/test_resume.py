"""Trainings that go on from a state: every bit as if they had never been stopped."""

import copy
from contextlib import suppress
from typing import Any

import numpy as np
import pytest

from neural_net import Callback, Diagnostics, EarlyStopping, Network, StateError, Training, WeightAverage, dense_layers
from neural_net.callbacks import Record

RNG = np.random.default_rng
X = RNG(1).normal(size=(37, 4))
Y = RNG(2).integers(0, 3, 37)
HELD_OUT = (RNG(3).normal(size=(11, 4)), RNG(4).integers(0, 3, 11))
EPOCHS = 6


class Stopped(Exception):  # noqa: N818
    """Stands for whatever ends a process."""


class Keep(Callback):
    """Keeps the state after the given event, counted from 0, and ends the training there."""

    def __init__(self, event: int | None = None) -> None:
        self.event, self.count, self.kept = event, 0, None

    def _one_more(self, training: Training) -> None:
        if self.count == self.event:
            self.kept: Any = copy.deepcopy(training.state())
            raise Stopped
        self.count += 1

    def on_batch_end(self, training: Training) -> None:
        self._one_more(training)

    def on_epoch_end(self, training: Training, record: Record) -> None:
        self._one_more(training)


def jitter(rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return rows + rng.normal(0, 0.1, rows.shape)


CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "full batch": {"batch_size": None, "optimizer": {"sgd": {"lr": 0.1, "momentum": 0.9}}},
    "dropout": {"layers": {"dropout": 0.3}},
    "batch norm": {"layers": {"normalization": "batch_norm"}},
    "weight average": {"average": 0.9, "layers": {"normalization": "batch_norm"}},
    "early stopping": {"patience": 1, "optimizer": {"adam": {"lr": 0.3}}},
    "average kept early": {"patience": 2, "average": 0.8, "optimizer": {"adam": {"lr": 0.3}}},
    "plateau": {"schedule": {"reduce_on_plateau": {"rate": 0.5, "patience": 0}}, "optimizer": {"adam": {"lr": 0.3}}},
    "warm plateau": {"schedule": {"warmup": {"schedule": "reduce_on_plateau", "epochs": 1.5}}},
    "one cycle": {"schedule": "one_cycle"},
    "augmented": {"augment": jitter, "layers": {"dropout": 0.2}},
    "augmented full batch": {"augment": jitter, "batch_size": None, "layers": {"dropout": 0.2}},
    "weighted": {"sample_weight": np.arange(37) % 3},
    "no validation": {"validation": None},
    "watched": {"watch": True, "layers": {"dropout": 0.2}},
    **{name: {"optimizer": name} for name in ("adagrad", "rmsprop", "adamw", "lion")},
    **{flag: {"optimizer": {name: {flag: True}}} for name, flag in (("adam", "amsgrad"), ("rmsprop", "centered"))},
}


def make(case: dict[str, Any], event: int | None = None, generator: Any = np.random.PCG64) -> tuple[Training, Keep]:
    case = {"validation": HELD_OUT, "batch_size": 8, **case}
    rng = np.random.Generator(generator(7))
    layers = dense_layers([9, 6], 3, **case.pop("layers", {}))
    callbacks: list[Callback] = [Diagnostics(8)] if case.pop("watch", False) else []
    callbacks += [WeightAverage(case.pop("average"))] if "average" in case else []
    callbacks += [EarlyStopping(case.pop("patience"))] if "patience" in case else []
    keep = Keep(event)
    network = Network(layers, 4, rng=rng)
    return Training(network, X, Y, rng=rng, epochs=EPOCHS, callbacks=[*callbacks, keep], **case), keep


def outcome(training: Training) -> list[Any]:
    """Everything that a run leaves behind, in a form whose parts can be compared to the bit."""
    states = [array.tobytes() for layer in training.network.walk() for array in layer.state.values()]
    records = [callback.records for callback in training.callbacks if isinstance(callback, Diagnostics)]
    bars = [callback.histograms() for callback in training.callbacks if isinstance(callback, Diagnostics)]
    return [training.network.params.tobytes(), states, training.history.records, training.step, records, bars]


def after_two_stops(case: dict[str, Any], event: int, generator: Any = np.random.PCG64) -> Training:
    """A training that was stopped after an event, resumed, stopped two events later if it had any, and resumed."""
    state = None
    for stop in (event, 1):
        stopped, keep = make(case, stop, generator)
        try:
            stopped.run(state)
        except Stopped:
            state = keep.kept
    resumed, _ = make(case, generator=generator)
    resumed.run(state)
    return resumed


def n_events(training: Training) -> int:
    return training.step + len(training.history)


@pytest.mark.parametrize("name", CASES)
def test_stopped_anywhere_it_ends_as_if_never_stopped(name: str) -> None:
    whole, _ = make(CASES[name])
    whole.run()
    for event in range(n_events(whole)):
        assert outcome(after_two_stops(CASES[name], event)) == outcome(whole), event


@pytest.mark.parametrize("generator", [np.random.MT19937, np.random.Philox, np.random.SFC64])
def test_any_of_numpys_generators_goes_on(generator: Any) -> None:
    whole, _ = make(CASES["augmented"], generator=generator)
    whole.run()
    assert outcome(after_two_stops(CASES["augmented"], 8, generator)) == outcome(whole)


def test_callbacks_hear_the_rest_of_the_epoch_and_not_its_beginning() -> None:
    class Ear(Keep):
        def on_epoch_begin(self, training: Training) -> None:
            heard.append(f"epoch {training.epoch}")

        def on_batch_begin(self, training: Training) -> None:
            heard.append(f"after step {training.step}")

        def set_state(self, training: Training, state: Any) -> None:
            heard.append(f"restored with {len(training.history)} epochs and {state['note']}")

        def get_state(self) -> dict[str, Any]:
            return {"note": "a note"}

    state: Any = None
    for event in (8, None):  # an epoch has 5 steps and its end: this is the third step of the second
        heard: list[str] = []
        training, _ = make({"validation": None})
        ear = Ear(event)
        training.callbacks = [ear]
        with suppress(Stopped):
            training.run(state)
        state = ear.kept
    assert heard[:4] == ["restored with 1 epochs and a note", "after step 8", "after step 9", "epoch 3"]


# States that lie
@pytest.fixture(scope="module")
def state() -> dict[str, Any]:
    stopped, keep = make(CASES["average kept early"], 8)
    with pytest.raises(Stopped):
        stopped.run()
    return dict(keep.kept)


def places(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a state, as the keys that lead there."""
    inner = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list | tuple) else ()
    return [path, *(place for key, value in inner for place in places(value, (*path, key)))]


def changed(tree: Any, path: tuple[Any, ...], value: Any) -> Any:
    """A copy with another value in one place; without the place where the value is ``...``."""
    if not path:
        return value
    copied = list(tree) if isinstance(tree, list | tuple) else dict(tree)
    if len(path) == 1 and value is ...:
        del copied[path[0]]
    else:
        copied[path[0]] = changed(copied[path[0]], path[1:], value)
    return copied


LIES = [..., None, True, -1, 0, 10**30, 0.5, float("nan"), "x", [], {}, [[]], np.zeros(3), np.zeros((2, 2), np.int8)]
LIES += [-10, 10**400]


def test_every_place_with_every_lie_is_refused_or_harmless(state: dict[str, Any]) -> None:
    tried = refused = 0
    for place in places(state):
        for lie in LIES:
            if not place and lie is None:
                continue  # no state at all: from the start
            training, _ = make(CASES["average kept early"])
            tried += 1
            try:
                training.run(changed(state, place, lie) if place or lie is not ... else {})
            except StateError:
                refused += 1
    assert tried > 500
    assert refused > tried / 2


@pytest.mark.parametrize(("case", "message"), [
    ({"average": 0.8}, "the training's callbacks are WeightAverage, Keep, the state's"),
    ({"average": 0.8, "patience": 2, "layers": {"normalization": "batch_norm"}}, "expected an array of shape"),
    ({"average": 0.8, "patience": 2, "batch_size": 4}, "do not belong together"),
])  # fmt: skip
def test_a_state_of_another_training_is_refused(case: dict[str, Any], message: str, state: dict[str, Any]) -> None:
    training, _ = make(case)
    with pytest.raises(StateError, match=message):
        training.run(state)
