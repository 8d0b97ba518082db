"""Step through: one digit goes forward and backward through a small network, with every number on the way."""

import copy
import dataclasses
import re
from collections import OrderedDict
from threading import Lock
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from neural_net import Activation, CrossEntropy, Linear, Network, dense_layers, fit, make_optimizer
from neural_net.activations import softmax
from pen.features import FEATURE_SETS
from pen.recognizer import CLASSES
from pen.strokes import strokes_of

from .bodies import Drawn, ink_of
from .digits import Shelf
from .sources import lines_of

TABLE = FEATURE_SETS["table"]
KEPT = 8  # trained networks
Width = Annotated[int, Field(strict=True, ge=1, le=16)]
Name = Annotated[str, Field(max_length=40)]


class SmallNetwork(BaseModel):
    """A small network over the table's eight points, and how long it was trained on the training digits."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    hidden_layers: Annotated[tuple[Width, ...], Field(max_length=3)] = (6,)
    activation: Name = "relu"
    epochs: Annotated[int, Field(strict=True, ge=0, le=20)] = 0
    seed: Annotated[int, Field(strict=True, ge=0, lt=2**31)] = 0


class ToStep(BaseModel):
    """One step of training on one drawing."""

    model_config = ConfigDict(extra="forbid")

    strokes: Drawn
    truth: Annotated[int, Field(strict=True, ge=0, le=9)]
    network: SmallNetwork = SmallNetwork()
    optimizer: Name = "sgd"
    lr: Annotated[float, Field(gt=0, le=10, allow_inf_nan=False)] = 0.1


class Stepper:
    """Makes small networks and steps through them."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self._made: OrderedDict[SmallNetwork, Network] = OrderedDict()
        self._lock = Lock()

    def network(self, asked: SmallNetwork) -> Network:
        """A copy of the network that is asked for, in float64.

        Raises:
            ValueError: for an activation that is not known.
        """
        with self._lock:
            if asked not in self._made:
                self._made[asked] = self._train(asked)
                if len(self._made) > KEPT:
                    self._made.popitem(last=False)
            return copy.deepcopy(self._made[asked])

    def _train(self, asked: SmallNetwork) -> Network:
        layers = dense_layers(list(asked.hidden_layers), len(CLASSES), asked.activation)
        network = Network(layers, TABLE.size, rng=asked.seed, dtype=np.float64)
        if asked.epochs:
            digits = self.shelf.training
            fit(network, digits.table, digits.y, rng=asked.seed, epochs=asked.epochs, optimizer={"adam": {"lr": 0.01}})
        return network

    def step(self, asked: ToStep) -> dict[str, Any]:
        """Go through one training step.

        Returns:
            x (16,), what the network reads; layers, from the first on, each with its input, output, parameters and the
            gradients of all of them; logits, probabilities and loss with the gradient of the logits; after, the same
            numbers after the optimizer's step, and how the parameters changed; constants, the optimizer's; code,
            the lines that computed it.
        """
        network, truth = self.network(asked.network), np.array([asked.truth])
        optimizer = make_optimizer(asked.optimizer, lr=asked.lr)
        x = TABLE.of(strokes_of(ink_of([asked.strokes]))).astype(np.float64)
        loss, layers = CrossEntropy(), forward(network, x)
        targets = loss.targets(truth, len(CLASSES))
        logits = network.forward(x)
        value = loss.forward(logits, targets)
        found = {"x": x[0], "logits": logits[0].copy(), "probabilities": softmax(logits)[0].copy(), "loss": value}
        found["d_logits"] = backward(network, loss.backward(), layers)[0]
        before = network.params.copy()
        optimizer.step(network.params, network.grads.copy(), network.decays)
        logits = network.forward(x)
        found["after"] = {
            "probabilities": softmax(logits)[0].copy(),
            "loss": loss.forward(logits, targets),
            "largest_change": np.abs(network.params - before).max(),
            "parameters": changes(network, before),
        }
        code = {"softmax": softmax, "loss": CrossEntropy.compute, "d_logits": CrossEntropy.backward}
        code["optimizer"] = type(optimizer)._update
        constants = {field.name: getattr(optimizer, field.name, None) for field in dataclasses.fields(optimizer)}
        found["constants"] = {name: value for name, value in constants.items() if isinstance(value, int | float)}
        return found | {"layers": layers, "code": {name: lines_of(function) for name, function in code.items()}}


def forward(network: Network, x: Any) -> list[dict[str, Any]]:
    """One row forward: each layer's name, kind, input, output and parameters, and the lines that computed them."""
    steps = []
    for layer in network.layers:
        step = {"name": layer.name, "kind": type(layer).__name__, "x": x[0].copy()}
        x = layer.forward(x)
        own: Any = type(layer)
        lines = (own._value, own._gradient) if isinstance(layer, Activation) else (own.forward, own.backward_parameters)
        step |= {"y": x[0].copy(), "forward": lines_of(lines[0]), "backward": lines_of(lines[1])}
        step["formula"] = "".join(re.findall("``(.+?)``", own.__doc__ or "")[:1])
        if isinstance(layer, Linear):
            step |= {"W": layer.W.copy(), "b": layer.b.copy()}
        steps.append(step)
    return steps


def backward(network: Network, grad: Any, steps: list[dict[str, Any]]) -> Any:
    """The gradient of the outputs backward; adds to each layer's step dy, dx, and dW and db if it has weights.

    Returns:
        the gradient of the outputs, copied.
    """
    first = grad = grad.copy()
    for layer, step in zip(reversed(network.layers), reversed(steps), strict=True):
        step["dy"] = grad[0].copy()
        grad = layer.backward(grad)
        step["dx"] = grad[0].copy()
        if isinstance(layer, Linear):
            step |= {"dW": layer.dW.copy(), "db": layer.db.copy()}
    return first


def changes(network: Network, before: Any) -> dict[str, dict[str, Any]]:
    """For each layer with parameters, their values after a step, and the differences to those before it."""
    found: dict[str, dict[str, Any]] = {}
    start = 0
    for layer, name, parameter in network.parameters():
        old = before[start : start + parameter.size].reshape(parameter.shape)
        new = getattr(layer, name)
        found.setdefault(layer.name, {}).update({name: new.copy(), f"change_{name}": new - old})
        start += parameter.size
    return found
