"""Losses of networks that end in paths, and which of the outputs of any network are right."""

import math
from typing import Any

import numpy as np

from .losses import Loss, make_loss
from .values import Array, as_numbers


class OverSteps(Loss):
    """A loss of paths: each step of a sample is a row, with the weight of the sample, and the mean goes over all steps.

    Outputs and targets are (batch, ..., n_outputs). ``targets`` takes such numbers, or class numbers (batch, ...).

    Args:
        loss: of rows (batch, n_outputs).
        steps: the axes of a sample before the last one.
    """

    def __init__(self, loss: Loss, steps: tuple[int, ...]) -> None:
        super().__init__()
        self.loss, self.steps = loss, steps
        self.binary, self.includes = loss.binary, loss.includes

    def targets(self, y: Any, n_outputs: int, dtype: Any = np.float64) -> Array:
        y = as_numbers(y, f"{type(self.loss).__name__}'s targets")
        n = 1 + len(self.steps)
        if y.ndim not in (n, n + 1) or y.shape[1:n] != self.steps:
            shape = ", ".join(map(str, ("rows", *self.steps, n_outputs)))
            raise ValueError(
                f"{type(self.loss).__name__} expects targets of shape ({shape}), or class numbers without the last "
                f"axis, for a network that ends in paths, got shape {y.shape}; flatten makes it end in rows"
            )
        rows = self.loss.targets(y.reshape(math.prod(y.shape[:n]), *y.shape[n:]), n_outputs, dtype)
        return rows.reshape(*y.shape[:n], n_outputs)

    def table(self, n_outputs: int, dtype: Any = np.float64) -> Array:
        return self.loss.table(n_outputs, dtype)

    def forward(self, outputs: Array, targets: Array, sample_weight: Array | None = None) -> float:
        self._check_shapes(outputs, targets)
        self._shape = outputs.shape
        return self.loss.forward(_flat(outputs), _flat(targets), self._of_steps(outputs, sample_weight))

    def backward(self) -> Array:
        return self.loss.backward().reshape(self._shape)

    def row_weights(self, targets: Array, sample_weight: Array | None = None) -> Array | None:
        weights = self.loss.row_weights(_flat(targets), self._of_steps(targets, sample_weight))
        return None if weights is None else weights.reshape(len(targets), -1).mean(axis=1)

    def _of_steps(self, outputs: Array, sample_weight: Array | None) -> Array | None:
        """The weight of each step, that of its sample."""
        if sample_weight is None:
            return None
        weights = self._buffer("of steps", outputs, (len(outputs), math.prod(self.steps)))
        weights[...] = sample_weight[:, None]
        return weights.reshape(-1)


def _flat(paths: Array) -> Array:
    return paths.reshape(math.prod(paths.shape[:-1]), paths.shape[-1])


def loss_for(shape_out: tuple[int, ...], spec: Any) -> Loss:
    """A loss as ``make_loss`` takes it, for outputs of samples of that shape: rows, or paths (``OverSteps``)."""
    loss = make_loss(spec)
    loss = loss.loss if isinstance(loss, OverSteps) else loss
    return OverSteps(loss, shape_out[:-1]) if len(shape_out) > 1 else loss


def gradient(loss: Loss, outputs: Array) -> Array:
    """The gradient of the latest value, by these outputs; ValueError if a loss of one's own returns another shape."""
    grad = np.asarray(loss.backward(), outputs.dtype)
    if grad.shape != outputs.shape:
        name = type(getattr(loss, "loss", loss)).__name__
        raise ValueError(f"{name}: backward must return an array of shape {outputs.shape}, got the shape {grad.shape}")
    return grad


def right(outputs: Array, classes: Array) -> Array:
    """Whether each row of outputs gives its class, as ``Targets.classes`` has it; with several to a row, the share."""
    found = outputs > 0 if classes.ndim == outputs.ndim else outputs.argmax(axis=-1)
    hits: Array = found == classes
    return hits if hits.ndim == 1 else hits.reshape(len(hits), -1).mean(axis=1)
