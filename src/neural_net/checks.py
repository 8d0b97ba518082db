"""What a training checks before it starts: targets, weights of rows, and whether network and loss fit together."""

import math
from typing import Any

import numpy as np

from .activations import ACTIVATIONS
from .losses import ROWS_GATHERED, Loss, Targets
from .network import Network
from .normalization import BatchNorm
from .values import Array, as_numbers


def labels_or_rows(y: Any, n: int, name: str) -> Array:
    """Targets as an array; ValueError unless there are n."""
    y = as_numbers(y, name)
    if y.ndim == 0 or len(y) != n:
        raise ValueError(f"X has {n} rows and {name} has {len(y) if y.ndim else 'no'}")
    return y


def checked_weights(weight: Any, n: int, dtype: Any, name: str = "sample_weight") -> Array | None:
    """The weights of n rows in that dtype; ValueError if they cannot be weights."""
    if weight is None:
        return None
    weight = np.ascontiguousarray(as_numbers(weight, name), dtype)
    if weight.shape != (n,) or not np.isfinite(weight).all() or (weight < 0).any() or not weight.sum() > 0:
        raise ValueError(f"{name} must be {n} numbers of at least 0 that are not all 0")
    return weight


def mean_weight(loss: Loss, targets: Targets, sample_weight: Array | None, n: int) -> float | None:
    """The mean over all n rows of how much each counts in the loss; None if all count the same."""
    if sample_weight is None and loss.row_weights(targets[:1]) is None:
        return None
    mass = 0.0
    for start in range(0, n, ROWS_GATHERED):
        rows = slice(start, start + ROWS_GATHERED)
        weight = loss.row_weights(targets[rows], None if sample_weight is None else sample_weight[rows])
        mass += 0 if weight is None else total(weight)
    return mass / n


def total(weight: Array) -> float:
    """The sum, in float64."""
    return float(weight.sum(dtype=np.float64))


def check_end(network: Network, loss: Loss) -> None:
    """Raise ValueError if the network ends in the activation that the loss applies itself."""
    last = network.layers[-1]
    if loss.includes and isinstance(last, ACTIVATIONS[loss.includes]):
        raise ValueError(
            f"{type(loss).__name__} applies {loss.includes} to the outputs itself; leave out {last.name}, the last "
            "layer, or it is applied twice"
        )


def check_norms(network: Network, batch_size: int) -> None:
    """Raise ValueError if every batch of a batch normalization would have one number for each feature."""
    for layer in network.walk():
        if isinstance(layer, BatchNorm) and layer.trainable and batch_size * math.prod(layer.shape_in[:-1]) == 1:
            raise ValueError(f"{layer.name} needs the statistics of at least two rows, and batch_size is 1")
