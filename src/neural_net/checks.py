"""What a training checks before it starts: targets, weights, parts that do not fit together or are in use."""

import math
import reprlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from .activations import ACTIVATIONS, Sigmoid, Softmax
from .answers import end_of
from .losses import ROWS_GATHERED, Loss, Targets, usual_weights
from .network import Network
from .normalization import BatchNorm
from .values import Array, as_numbers


def labels_or_rows(y: Any, n: int, name: str) -> Array:
    """Targets as an array; ValueError unless there are n."""
    try:
        y = as_numbers(y, name)
    except ValueError as error:
        raise ValueError(f"{error}; np.unique(labels, return_inverse=True) numbers labels") from None
    if y.ndim == 0 or len(y) != n:
        raise ValueError(f"X has {n} rows and {name} has {len(y) if y.ndim else 'no'}")
    return y


def checked_weights(weight: Any, n: int, dtype: Any, name: str = "sample_weight") -> Array | None:
    """The weights of n rows in that dtype; ValueError if they cannot be weights."""
    if weight is None:
        return None
    weight = as_numbers(weight, name).astype(np.float64)
    if weight.shape != (n,) or not np.isfinite(weight).all() or (weight < 0).any() or not weight.any():
        raise ValueError(f"{name} must be {n} numbers of at least 0 that are not all 0")
    return usual_weights(weight).astype(dtype)


def checked_validation(validation: Any, network: Network, loss: Loss) -> dict[str, Any]:
    """The arguments of ``evaluate`` after the network, from (X, y) or (X, y, sample_weight); or ValueError."""
    of_two_or_three = isinstance(validation, tuple | list) and len(validation) in (2, 3)
    if not of_two_or_three:
        got = f"{len(validation)} of them" if isinstance(validation, tuple | list) else reprlib.repr(validation)
        raise ValueError(f"validation must be (X, y) or (X, y, sample_weight), got {got}")
    try:
        X = network.check_inputs(validation[0])
        y = labels_or_rows(validation[1], len(X), "the validation's y")
        Targets(loss, y, network.n_outputs, network.dtype)
        weight = checked_weights((*validation, None)[2], len(X), network.dtype, "the validation's sample_weight")
    except ValueError as error:
        raise ValueError(f"validation: {error}") from None
    if not len(X):
        raise ValueError("validation needs at least one row, got none")
    return {"X": X, "y": y, "sample_weight": weight}


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
    """Raise ValueError if the end of the network does not suit the loss.

    That is a single output for a loss of classes, and an activation at the end if the loss applies one itself: the same
    one, softmax or sigmoid.
    """
    loss, end = getattr(loss, "loss", loss), end_of(network.chain.layers)
    if loss.always_classes and network.n_outputs == 1 and network.classes is None:
        raise ValueError(
            f"{type(loss).__name__} needs an output for each class, and the network has a single one; for a yes or no "
            "use binary_cross_entropy, for a number mean_squared_error"
        )
    if loss.includes and isinstance(end, (Softmax, Sigmoid, ACTIVATIONS[loss.includes])):
        raise ValueError(
            f"{type(loss).__name__} applies {loss.includes} to the outputs itself; leave out "
            f"{end.name} at the end of the network, or the outputs are squashed twice"
        )


def check_norms(network: Network, batch_size: int) -> None:
    """Raise ValueError if every batch of a batch normalization would have one number for each feature."""
    for layer in network.walk():
        if isinstance(layer, BatchNorm) and layer.trainable and batch_size * math.prod(layer.shape_in[:-1]) == 1:
            raise ValueError(f"{layer.name} needs the statistics of at least two rows, and batch_size is 1")


_running: set[int] = set()  # the ids of optimizers and callbacks in running trainings
_change = threading.Lock()


@contextmanager
def reserved(*parts: object) -> Iterator[None]:
    """Keep other trainings from using these objects meanwhile; ValueError if one of them is in a running training."""
    ids = {id(part) for part in parts}
    with _change:
        for part in parts:
            if id(part) in _running:
                kind = type(part).__name__
                raise ValueError(f"this {kind} object is in use by a training that still runs; give each its own")
        _running.update(ids)
    try:
        yield
    finally:
        with _change:
            _running.difference_update(ids)
