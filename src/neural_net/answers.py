"""What a network answers: the predictions and probabilities that its outputs stand for.

That depends on ``network.task``, which the loss decides when a training begins:

| task           | trained with                                  | predict            | probabilities              |
|----------------|-----------------------------------------------|--------------------|----------------------------|
| classification | a loss of classes, class numbers, or softmax  | the largest output | softmax                    |
| one_vs_rest    | binary cross-entropy and class numbers        | the largest output | each sigmoid / their sum   |
| multilabel     | binary cross-entropy and rows of 0 and 1      | 1 if positive      | the sigmoid of each output |
| regression     | another loss and rows of numbers              | the outputs        | none                       |
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .activations import Identity, Softmax, sigmoid, softmax
from .layer import Layer
from .layers import Chain, Dropout, Flatten, Reshape
from .losses import Loss
from .over_steps import OverSteps
from .parts import lookup
from .values import Array

if TYPE_CHECKING:
    from .network import Network

#: The operations that turn outputs into probabilities; sigmoids over their sum are the softmax of their logarithms.
TASKS: dict[str, tuple[str, ...]] = {
    "classification": ("softmax",),
    "one_vs_rest": ("log_sigmoid", "softmax"),
    "multilabel": ("sigmoid",),
    "regression": (),
}
_PASSING = (Identity, Dropout, Flatten, Reshape)  # layers that calculate nothing in a prediction
_OPERATIONS: dict[str, Any] = {
    "softmax": lambda z: softmax(z, out=z),
    "sigmoid": lambda z: sigmoid(z, out=z, rest=np.empty_like(z)),
    "log_sigmoid": lambda z: -np.logaddexp(0, -z),
}


def task_of(loss: Loss, y: Array, network: "Network") -> str:
    """The task of a network that is trained with this loss and these targets."""
    loss = loss.loss if isinstance(loss, OverSteps) else loss
    class_numbers = y.ndim == len(network.shape_out) and (network.n_outputs > 1 or loss.always_classes)
    if loss.binary:
        return "one_vs_rest" if class_numbers else "multilabel"
    classes = class_numbers or loss.always_classes or network.classes is not None or network.ends_in_softmax
    return "classification" if classes else "regression"


def end_of(layers: Sequence[Layer]) -> Layer | None:
    """The last layer that calculates: the end of a chain is that of the layers inside, and shapes do not count."""
    for layer in reversed(layers):
        end = end_of(layer.layers) if type(layer) is Chain else layer
        if end is not None and not isinstance(end, _PASSING):
            return end
    return None


def ends_in_softmax(chain: Chain) -> bool:
    """Whether the outputs of these layers are probabilities of several classes already."""
    end = end_of(chain.layers)
    return isinstance(end, Softmax) and end.shape_out[-1] == chain.shape_out[-1] > 1


def to_probabilities(network: "Network") -> tuple[str, ...]:
    """The operations that turn the outputs into probabilities; none if the network ends in softmax.

    Raises:
        ValueError: if the outputs are numbers.
    """
    operations = lookup("the task of a network", TASKS, network.task)
    if network.task == "regression":
        raise ValueError("the network was trained to predict numbers, which have no probabilities; use predict")
    if network.n_outputs == 1 and network.task != "multilabel" and network.classes is None:
        raise ValueError("a network with a single output has no classes; predict gives its number for each row")
    return () if network.ends_in_softmax else operations


def probabilities(network: "Network", outputs: Array) -> Array:
    """The probabilities for outputs of ``network``, which may be written over."""
    operations = to_probabilities(network)
    for operation in operations if len(outputs) else ():
        outputs = _OPERATIONS[operation](outputs)
    return outputs


def predictions(network: "Network", outputs: Array) -> Array:
    """The predictions for outputs of ``network``."""
    task, classes = network.task, network.classes
    if task == "multilabel":
        outputs = (outputs > 0).astype(int)
    if task in ("multilabel", "regression") or (outputs.shape[-1] == 1 and classes is None):
        return outputs[..., 0] if outputs.shape[-1] == 1 else outputs
    best = outputs.argmax(-1)
    return best if classes is None else classes[best]
