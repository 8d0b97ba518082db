"""Diagnostics: what happens inside a network while it trains, such as vanishing gradients and dead units."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from .activations import Activation
from .callbacks import Callback, Record
from .training import Training
from .values import Array, check, copy_like

#: The measured quantities and their meaning.
QUANTITIES = {
    "gradient_norm": "length of the loss's gradient by the layer's parameters",
    "weight_norm": "length of the layer's parameters",
    "update_ratio": "how far a step in the epoch's middle moves the layer's parameters, over their length",
    "dead_share": "share of an activation's units that answer alike to every row",
    "activation_mean": "mean of an activation's outputs",
    "activation_deviation": "standard deviation of an activation's outputs",
}


class Diagnostics(Callback):
    """Measure every layer before the training, as epoch 0, and after each epoch, without changing the training.

    Gradients and activations are those of a fixed sample of the training rows, without dropout and augmentation, so
    that epochs can be compared. This takes about one more training step per epoch, and two copies of the parameters.

    Args:
        rows: the number of rows in the sample; they are spread evenly over the training rows.

    Attributes:
        records: dictionaries of epoch, layer, quantity and value; the quantities are the keys of ``QUANTITIES``. Layers
            with parameters have the first three (there is no ``update_ratio`` in epoch 0), activations the others.
    """

    def __init__(self, rows: int = 256) -> None:
        check(rows >= 1, self, f"rows must be at least 1, got {rows}")
        self.rows = rows
        self._forget()

    def _forget(self) -> None:
        self.records: list[dict[str, Any]] = []
        self._spans: dict[str, slice] = {}
        self._snapshots: dict[int, tuple[Array, Array]] = {}

    def on_train_begin(self, training: Training) -> None:
        self._forget()
        self._spans = dict(_spans(training))
        self._sample = np.linspace(0, len(training.X) - 1, min(self.rows, len(training.X))).astype(int)
        self._measure(training)

    def get_state(self) -> dict[str, Any]:
        return {"records": self.records, "snapshots": [[epoch, *kept] for epoch, kept in self._snapshots.items()]}

    def set_state(self, training: Training, state: Mapping[str, Any]) -> None:
        params, grads = training.network.params, training.network.grads
        self.records = list(state["records"])
        self._snapshots = {
            int(epoch): (copy_like(params, a), copy_like(grads, b)) for epoch, a, b in state["snapshots"]
        }

    def on_batch_begin(self, training: Training) -> None:
        middle = training.step % training.steps_per_epoch == training.steps_per_epoch // 2
        self._before = training.network.params.copy() if middle else None

    def on_batch_end(self, training: Training) -> None:
        if self._before is None:
            return
        change = training.network.params - self._before
        for layer, span in self._spans.items():
            ratio = _length(change[span]) / max(_length(self._before[span]), _TINY)
            self._record(training, layer, update_ratio=ratio)

    def on_epoch_end(self, training: Training, record: Record) -> None:
        self._measure(training)

    def _measure(self, training: Training) -> None:
        """Measure the layers on the sample, and keep the first and the latest parameters and gradients."""
        network, loss = training.network, training.loss
        of_training = network.grads.copy()
        with np.errstate(all="ignore"):  # the training reports a divergence
            weight = None if training.sample_weight is None else training.sample_weight[self._sample]
            loss.forward(network.forward(training.X[self._sample]), training.targets[self._sample], weight)
            network.backward_parameters(loss.backward())
            for layer, span in self._spans.items():
                norms = {"gradient_norm": _length(network.grads[span]), "weight_norm": _length(network.params[span])}
                self._record(training, layer, **norms)
            for part in network.walk():
                if isinstance(part, Activation):
                    self._record(training, part.name, **_of_activation(part.y))
        first = dict(list(self._snapshots.items())[:1])
        self._snapshots = first | {training.epoch: (network.params.copy(), network.grads.copy())}
        network.grads[...] = of_training

    def _record(self, training: Training, layer: str, **values: float) -> None:
        for quantity, value in values.items():
            self.records.append({"epoch": training.epoch, "layer": layer, "quantity": quantity, "value": value})

    def histograms(self, bins: int = 40) -> list[dict[str, Any]]:
        """Histograms of each layer's parameters and gradients before the training and after the latest epoch.

        Returns:
            a dictionary of epoch, layer, of, low, high and share for each bin. If ``of`` is ``weights``, which includes
            biases, the bins are equally wide. If it is ``gradients``, they are bins of magnitudes, equally wide on a
            logarithmic scale, and gradients that are 0 are in no bin.
        """
        found: list[dict[str, Any]] = []
        for layer, span in self._spans.items():
            weights = {epoch: params[span] for epoch, (params, _) in self._snapshots.items()}
            gradients = {epoch: np.abs(grads[span]) for epoch, (_, grads) in self._snapshots.items()}
            edges = np.histogram_bin_edges(np.concatenate(list(weights.values())), bins)
            found += _bars(weights, edges, layer=layer, of="weights")
            found += _bars(gradients, _logarithmic_edges(gradients, bins), layer=layer, of="gradients")
        return found


def _logarithmic_edges(numbers: dict[int, Array], bins: int) -> Array:
    """Edges of bins for all numbers that are finite, greater than 0 and more than a trillionth of the greatest."""
    values = np.concatenate(list(numbers.values()))
    top = values.max(where=np.isfinite(values), initial=_TINY)
    least = values.min(where=values > 1e-12 * top, initial=top)
    return np.geomspace(least / 1.001, top * 1.001, bins + 1, dtype=np.float64)


def _bars(numbers: dict[int, Array], edges: Array, **where: str) -> Iterator[dict[str, Any]]:
    for epoch, values in numbers.items():
        shares = np.histogram(values, edges)[0] / values.size
        for low, high, share in zip(edges[:-1], edges[1:], shares, strict=True):
            yield {"epoch": epoch, **where, "low": float(low), "high": float(high), "share": float(share)}


_TINY = 1e-30  # replaces 0 in divisions and logarithms


def _spans(training: Training) -> Iterator[tuple[str, slice]]:
    """The place of each layer's parameters in the network's vector."""
    start = 0
    for layer in training.network.walk():
        size = sum(parameter.size for parameter in layer.parameters.values())
        if size:
            yield layer.name, slice(start, start + size)
        start += size


def _of_activation(y: Array) -> dict[str, float]:
    """The quantities of an activation with outputs y (rows, ..., units)."""
    by_unit = y.reshape(-1, y.shape[-1])
    dead = np.ptp(by_unit, axis=0) < 1e-6
    return {
        "dead_share": float(dead.mean()),
        "activation_mean": float(y.mean()),
        "activation_deviation": float(y.std()),
    }


def _length(vector: Array) -> float:
    return math.sqrt(float(np.dot(vector, vector)))
