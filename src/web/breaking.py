"""Break it: the same network with something switched off or spoiled, and what this costs."""

import copy
from collections import OrderedDict
from threading import Lock
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from neural_net import Network
from pen.calibration import expected_calibration_error
from pen.features import FEATURE_SETS
from pen.recognizer import Recognizer
from utils import accuracy

from .bodies import Drawn, features_of, ink_of
from .digits import Shelf

KEPT = 16  # broken networks' measurements
ECE_BINS = 15


class Switches(BaseModel):
    """What is broken; by default nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    zeroed: Annotated[str, Field(max_length=100)] = ""  # the name of a layer whose parameters become 0
    drop_biases: Annotated[bool, Field(strict=True)] = False
    noise: Annotated[float, Field(ge=0, le=4, allow_inf_nan=False)] = 0.0  # of weights, in their standard deviations
    shuffle_points: Annotated[bool, Field(strict=True)] = False
    no_temperature: Annotated[bool, Field(strict=True)] = False
    seed: Annotated[int, Field(strict=True, ge=0, lt=2**31)] = 0  # of noise and order


class ToBreak(BaseModel):
    """Switches, and a drawing to recognize with them."""

    model_config = ConfigDict(extra="forbid")

    switches: Switches = Switches()
    strokes: Drawn | None = None


class Breaker:
    """A model, copies of it that are broken, and the digits they are measured with."""

    def __init__(self, model: Recognizer, shelf: Shelf) -> None:
        self.model, self.shelf = model, shelf
        self._measured: OrderedDict[Switches, dict[str, float]] = OrderedDict()
        self._lock = Lock()

    def layers(self) -> list[str]:
        """The layers that can be zeroed."""
        return [layer.name for layer in self.model.network.layers if layer.n_parameters]

    def answer(self, asked: ToBreak) -> dict[str, Any]:
        """The measurements with these switches and without, and the probabilities of a drawing with them.

        Raises:
            ValueError: for a layer that the network does not have.
        """
        broken = break_model(self.model, asked.switches)
        found = {"measured": self._measure(asked.switches, broken), "whole": self._measure(Switches(), self.model)}
        if asked.strokes:
            row = reorder(features_of(broken, ink_of([asked.strokes])), broken, asked.switches)
            found["probabilities"] = broken.probabilities(row)[0]
        return found

    def _measure(self, switches: Switches, broken: Recognizer) -> dict[str, float]:
        with self._lock:
            if switches not in self._measured:
                digits = self.shelf.measured
                rows = reorder(digits.rows(broken.features), broken, switches)
                self._measured[switches] = measure(broken.probabilities(rows), digits.y)
                if len(self._measured) > KEPT:
                    self._measured.popitem(last=False)
            return self._measured[switches]


def break_model(model: Recognizer, switches: Switches) -> Recognizer:
    """A broken copy of the model; shuffled points are not its own, see ``reorder``."""
    network = copy.deepcopy(model.network)
    if switches.zeroed:
        zero(network, switches.zeroed)
    rng = np.random.default_rng(switches.seed)
    for _, name, values in arrays_of(network):
        if name.startswith("b") and switches.drop_biases:
            values[...] = 0
        if name == "W" and switches.noise:
            values += (switches.noise * values.std() * rng.standard_normal(values.shape)).astype(values.dtype)
    temperature = 1.0 if switches.no_temperature else model.temperature
    return Recognizer(network, model.dataset, temperature, model.features)


def zero(network: Network, name: str) -> None:
    """Set a layer's parameters to 0, so that it says the same of every input."""
    layer = network[name]
    for inner in layer.walk():
        for parameter in inner.parameters:
            getattr(inner, parameter)[...] = 0


def arrays_of(network: Network) -> list[tuple[str, str, Any]]:
    """The layer, the name and the values of every parameter."""
    return [(layer.name, name, getattr(layer, name)) for layer, name, _ in network.parameters()]


def reorder(rows: Any, model: Recognizer, switches: Switches) -> Any:
    """Rows with their points in another order, the same one for all rows, if the switches say so."""
    if not switches.shuffle_points:
        return rows
    features = FEATURE_SETS[model.features]
    order = np.random.default_rng(switches.seed + 1).permutation(features.n_points)
    points = rows.reshape(len(rows), features.n_points, features.n_channels)
    return points[:, order].reshape(rows.shape)


def measure(p: Any, y: Any) -> dict[str, float]:
    """Accuracy, mean ``-log p[y]``, mean confidence and expected calibration error."""
    p = p.astype(np.float64)
    true = np.maximum(p[np.arange(len(y)), y], np.finfo(np.float64).tiny)
    return {
        "n": len(y),
        "accuracy": accuracy(y, p.argmax(axis=1)),
        "loss": float(-np.log(true).mean()),
        "confidence": float(p.max(axis=1).mean()),
        "ece": expected_calibration_error(p, y, ECE_BINS),
    }
