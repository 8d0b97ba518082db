"""What a training checks before it starts: targets, weights, parts that do not fit together, a state to go on from."""

import math
import reprlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .activations import ACTIVATIONS, Sigmoid, Softmax
from .answers import end_of
from .callbacks import StateError
from .losses import ROWS_GATHERED, Loss, Targets, usual_weights
from .network import Network
from .normalization import BatchNorm
from .values import Array, as_numbers

if TYPE_CHECKING:
    from .training import Training


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


@dataclass
class Tally:
    """The sums of the running epoch so far; the epoch's record is made from them."""

    rows: int = 0  # rows trained on; the next step begins with this one
    loss: float = 0.0  # the weighted sum of the losses of these rows
    mass: float = 0.0  # the sum of the weights of these rows
    hits: float = 0  # right predictions; with weights of rows, the sum of theirs
    factor: float = 1.0  # the schedule's factor of the learning rate in the latest step


def check_place(training: "Training", callbacks: list[str]) -> None:
    """Raise StateError unless epoch, step, rows and history fit together, and the callbacks are of these classes."""
    kinds = [type(callback).__name__ for callback in training.callbacks]
    if callbacks != kinds:
        raise StateError(f"the training's callbacks are {', '.join(kinds)}, the state's {callbacks}")
    epoch, step, rows, size = training.epoch, training.step, training.tally.rows, training.batch_size
    done = len(training.history)
    numbers = [*asdict(training.tally).values(), *(x for record in training.history.records for x in record.values())]
    whole = all(type(n) is int for n in (epoch, step, rows)) and all(isinstance(x, int | float) for x in numbers)
    if not whole or not 0 < epoch <= training.epochs or epoch - done not in (0, 1) or not 0 < rows <= len(training.X):
        raise StateError("epoch, rows and history do not belong together")
    if step != (epoch - 1) * training.steps_per_epoch + math.ceil(rows / size):
        raise StateError("epoch, rows and step do not belong together")
    _check_tally(training.tally, training)


def _check_tally(tally: Tally, training: "Training") -> None:
    """Raise StateError for sums that this number of rows cannot give."""
    rows, mass, finite = tally.rows, tally.mass, all(abs(x) < 1e300 for x in (tally.loss, tally.mass, tally.factor))
    weighed = mass == rows if training._mean_weight is None else mass > 0 or (mass == 0 and rows < len(training.X))
    most = rows if training.sample_weight is None else total(training.sample_weight) * (1 + 1e-12)
    if not finite or not weighed or not 0 <= tally.hits <= most:
        raise StateError("the running epoch's sums are not those of its rows")
