"""Draw: what a network makes of a drawing, from the points that it reads to its probabilities."""

from collections.abc import Iterator
from functools import cached_property
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from neural_net import Activation, Layer, Linear, Network
from pen.features import FEATURE_SETS
from pen.ink import resample
from pen.recognizer import CLASSES, Recognizer

from .bodies import Drawing, features_of, ink_of
from .digits import Shelf

SURE_FROM = 0.9  # calibrated probabilities: of the digits answered with less, more than a tenth would be wrong
USUAL_SHARE, FAR = 0.99, 2.0  # far from all training digits: so many times as far as this share of held-out digits is
NEAREST = 5  # training digits


class ToUnit(Drawing):
    """A drawing, and a unit of one of the layers that the page shows, counted from 0."""

    layer: Annotated[int, Field(strict=True, ge=0)]
    unit: Annotated[int, Field(strict=True, ge=0)]


class Thinker:
    """A model and the digits that it is compared with; answers for one drawing at a time, in any thread."""

    def __init__(self, model: Recognizer, shelf: Shelf) -> None:
        self.model, self.shelf = model, shelf

    def think(self, strokes: list[Any]) -> dict[str, Any]:
        """Everything the page shows of a drawing.

        Args:
            strokes: lists of points x, y, with y upwards.

        Returns:
            probabilities (10,); digit, the likeliest; unsure, why the answer should not be believed, or "";
            points (n, 2), where the network's points lie on the drawing; row, what the network reads; layers, what
            ``layers_of`` yields; towards (10, n, 2), the gradient of each digit's logit by the points; nearest.
        """
        ink = ink_of([strokes])
        row = features_of(self.model, ink)
        p = self.model.probabilities(row)[0]
        features = FEATURE_SETS[self.model.features]
        gradient = gradient_by_inputs(self.model.network, row)
        nearest = self.nearest(row)
        return {
            "probabilities": p,
            "digit": p.argmax(),
            "unsure": self._doubt(float(p.max()), nearest[0]["distance"]),
            "points": resample(ink, features.n_points)[0],
            "row": row[0],
            "layers": list(layers_of(self.model.network, row)),
            "towards": gradient.reshape(len(CLASSES), features.n_points, features.n_channels)[..., :2],
            "nearest": nearest,
        }

    def nearest(self, row: NDArray[np.float32]) -> list[dict[str, Any]]:
        """The training digits whose rows are nearest, in Euclidean distance, with their ink as strokes."""
        distance = np.sqrt(np.square(self._rows - row).sum(axis=1))
        training = self.shelf.training
        return [
            {
                "digit": training.y[i],
                "writer": training.writer[i],
                "distance": distance[i],
                "strokes": strokes_shown(training.strokes.points[i], training.strokes.stroke[i]),
            }
            for i in np.argsort(distance, kind="stable")[:NEAREST]
        ]

    def contributions(self, strokes: list[Any]) -> dict[str, Any]:
        """How each unit of the last hidden layer adds to each logit: ``logit_k = b_k + sum over i of a_i W_ik``.

        Returns:
            contributions (units, 10), a_i W_ik; bias (10,); logits (10,). Empty if the last layer is not linear.
        """
        row = features_of(self.model, ink_of([strokes]))
        *before, last = self.model.network.chain.twin().layers
        for layer in before:
            row = layer.forward(row)
        if not isinstance(last, Linear):
            return {}
        bias = last.b if last.use_bias else np.zeros(last.n_out)
        return {"contributions": row[0][:, None] * last.W, "bias": bias, "logits": last.forward(row)[0]}

    def added(self, asked: ToUnit) -> dict[str, Any]:
        """What each value of the layer before a unit adds to it, as the page shows the layers.

        Raises:
            ValueError: if there is no such unit.
        """
        row = features_of(self.model, ink_of([asked.strokes]))
        return {"added": added_to(self.model.network, row, asked.layer, asked.unit)}

    @cached_property
    def _rows(self) -> NDArray[np.float32]:
        return self.shelf.training.rows(self.model.features)

    @cached_property
    def _usual_distance(self) -> float:
        """The distance to the nearest training digit that most digits of new writers keep within."""
        rows, others = self.shelf.measured.rows(self.model.features), self._rows
        squares = np.square(rows).sum(1)[:, None] + np.square(others).sum(1) - 2 * rows @ others.T
        return float(np.quantile(np.sqrt(np.maximum(squares.min(axis=1), 0)), USUAL_SHARE))

    def _doubt(self, confidence: float, distance: float) -> str:
        if distance > FAR * self._usual_distance:
            return "no training digit is like this"
        return f"less than {100 * SURE_FROM:.0f} % sure" if confidence < SURE_FROM else ""


def layers_of(network: Network, row: NDArray[np.float32]) -> Iterator[dict[str, Any]]:
    """The output of every layer that computes something new for one row: name, kind, shape and values."""
    x = row
    layers: list[Layer] = network.chain.twin().layers
    for layer in layers:
        x = layer.forward(x)
        if isinstance(layer, Activation) or layer is layers[-1]:
            kind = type(layer).__name__ if isinstance(layer, Activation) else "logits"
            yield {"name": layer.name, "kind": kind, "shape": x.shape[1:], "values": x[0].ravel().copy()}


def added_to(network: Network, row: NDArray[np.float32], layer: int, unit: int) -> NDArray[np.float32]:
    """``a_i dz/da_i`` for what a unit computes before its activation, ``z = b + sum over i of a_i W_i``.

    Batch normalization after training is a part of W and b. The network's ``grads`` are overwritten.

    Args:
        layer, unit: the place among the layers of ``layers_of``, and among the numbers of this layer.

    Returns:
        one number for each value a of the layer before, or of the row.
    """
    with network.lock:
        x, before, between, seen = row, row, list[Layer](), 0
        for part in network.layers:
            is_activation = isinstance(part, Activation)
            if is_activation and seen == layer:
                break
            x = part.forward(x)
            between.append(part)
            if is_activation:
                before, between, seen = x.copy(), [], seen + 1
        if seen < layer or unit >= x.size:
            raise ValueError(f"the network has no unit {unit} in layer {layer}")
        grad = np.zeros_like(x)
        grad.reshape(-1)[unit] = 1
        for part in reversed(between):
            grad = part.backward(grad)
        return np.ravel(before * grad)


def gradient_by_inputs(network: Network, row: NDArray[np.float32]) -> NDArray[np.float32]:
    """The gradient of each logit by the inputs, (classes, features); the network's ``grads`` are overwritten."""
    with network.lock:
        network.forward(np.repeat(row, network.n_outputs, axis=0))
        return network.backward(np.eye(network.n_outputs, dtype=network.dtype)).copy()


def strokes_shown(points: NDArray[np.float32], stroke: NDArray[np.int8]) -> list[NDArray[np.float32]]:
    """The strokes of one digit, each (its points, 2), from -1 to 1."""
    return [points[stroke == number] for number in range(int(stroke.max()) + 1)]
