"""Training: the loop over epochs and batches.

One step is four lines of ``_train_epoch``: outputs, loss, gradients, and the optimizer's change of the parameters.
"""

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from .answers import task_of
from .blas import suited_blas_threads
from .callbacks import Callback, Record, StateError, restore
from .checks import (
    check_end,
    check_norms,
    checked_validation,
    checked_weights,
    labels_or_rows,
    mean_weight,
    reserved,
    total,
)
from .history import History
from .layer import Layer
from .layers import Chain
from .losses import ROWS_GATHERED, Loss, Targets
from .network import Network
from .optimizers import Optimizer, make_optimizer
from .over_steps import loss_for, right
from .schedules import Schedule, make_schedule
from .step import Steps
from .values import Array, Rng, check, check_count, check_positive, generator, listed, of_type

Augment = Callable[[Array, np.random.Generator], Array]


class DivergedError(ArithmeticError):
    """Training met NaN or infinity; the message names the epoch, the layer and the quantity, and what usually helps."""


@dataclass
class Tally:
    """The sums of the running epoch so far; the epoch's record is made from them."""

    rows: int = 0  # rows trained on; the next step begins with this one
    loss: float = 0.0  # the weighted sum of the losses of these rows
    mass: float = 0.0  # the sum of the weights of these rows
    hits: float = 0  # right predictions; with weights of rows, the sum of theirs
    factor: float = 1.0  # the schedule's factor of the learning rate in the latest step


class Training:
    """One training of one network. ``run`` trains; callbacks may read the attributes.

    BLAS works with one thread meanwhile, unless the network is large (see ``blas``).

    Args:
        network: changed in place.
        X, y: rows (rows, *shape_in), and targets as the loss takes them.
        loss, optimizer, schedule: objects, names or ``{"name": {option: value}}``. The training works on copies of loss
            and schedule. An optimizer object that has trained this network goes on where it ended; one that has trained
            another network starts anew. Optimizers and callbacks serve one running training at a time.
        epochs: the number of passes over the rows.
        batch_size: the number of rows in a step; None: all of them, which is full-batch gradient descent.
        shuffle: draw a new order of the rows for every epoch; False: take them in the order given.
        rng: draws the order of the rows, and serves dropout and augmentation; a generator, or a whole
            number as its seed.
        validation: (X, y) or (X, y, sample_weight) to measure after each epoch, or None.
        sample_weight: (rows,) how much each row counts in loss and accuracy: one of weight 2 as a row given twice. The
            loss of a batch is the weighted sum of its rows' losses, over their number times the mean weight of all
            rows of the training; the same holds for class weights.
        mean_weight: the mean weight to divide by instead, if these rows are a part of all rows.
        augment: ``augment(X, rng) -> X`` makes the rows of each epoch from the given ones.
        callbacks: see ``Callback``.
        accuracy: also measure the share of right predictions. A network with a single output has no accuracy,
            unless the loss is binary cross-entropy.
        replay: record the steps and repeat them, which gives the same bits in less time (see ``step``).

    Attributes:
        epoch: the number of the running epoch, from 1.
        step: the number of optimizer steps done.
        history: see ``History``.
        stopping: set it to True to end the training after this epoch.

    Raises:
        ValueError: if the data do not fit the network, the loss, or each other.
    """

    def __init__(
        self,
        network: Network,
        X: Any,
        y: Any,
        *,
        rng: Rng,
        loss: Any = "cross_entropy",
        optimizer: Any = "adam",
        schedule: Any = "constant",
        epochs: int = 100,
        batch_size: int | None = 64,
        shuffle: bool = True,
        validation: Sequence[Any] | None = None,
        sample_weight: Any = None,
        mean_weight: float | None = None,
        augment: Augment | None = None,
        callbacks: Sequence[Callback] = (),
        accuracy: bool = True,
        replay: bool = True,
    ) -> None:
        self.network, self.rng = of_type(Network, "network", network), generator(rng)
        self.optimizer: Optimizer = make_optimizer(optimizer)
        self.schedule: Schedule = make_schedule(copy.deepcopy(schedule))
        self.X = network.check_inputs(X).view()
        self.loss: Loss = loss_for(network.shape_out, copy.deepcopy(loss))
        self.X.flags.writeable = False  # it may be the caller's own array, which ``augment`` must not change
        self.y = labels_or_rows(y, len(self.X), "y")
        if not len(self.X):
            raise ValueError("training needs at least one row, got none")
        check_end(network, self.loss)
        check_count(self, epochs=epochs, batch_size=len(self.X) if batch_size is None else batch_size)
        self.epochs, self.batch_size = epochs, min(batch_size or len(self.X), len(self.X))
        self.targets = Targets(self.loss, self.y, network.n_outputs, network.dtype)
        self.validation = None if validation is None else checked_validation(validation, network, self.loss)
        self.sample_weight = checked_weights(sample_weight, len(self.X), network.dtype)
        if mean_weight is not None:
            check_positive(self, mean_weight=mean_weight)
        self.mean_weight = mean_weight
        check(augment is None or callable(augment), self, f"augment must be a function, got {augment!r}")
        self.shuffle, self.augment = shuffle, augment
        self.accuracy = accuracy and (network.n_outputs > 1 or self.loss.binary)
        self.callbacks = [of_type(Callback, "a callback", given) for given in listed("callbacks", callbacks)]
        check_norms(network, self.batch_size if len(self.X) > 1 else 2)
        self.steps = Steps(network, self.loss, self.optimizer, replay)
        self.history, self.tally = History(), Tally()
        self.epoch = self.step = 0
        self.stopping = False

    @property
    def quantities(self) -> list[str]:
        """What the training measures: the keys of an epoch's record, to which callbacks may add."""
        rows = ["train"] if self.validation is None else ["train", "val"]
        values = ["loss", "accuracy"] if self.accuracy else ["loss"]
        return ["epoch", "lr", *(f"{of}_{value}" for of in rows for value in values)]

    @property
    def steps_per_epoch(self) -> int:
        """The number of batches in an epoch; the last one may be smaller."""
        return math.ceil(len(self.X) / self.batch_size)

    def run(self, state: Mapping[str, Any] | None = None) -> History:
        """Train; returns the history.

        Args:
            state: the result of ``state`` in a training with the same arguments. This training continues from there
                and ends with the same bits.

        Raises:
            DivergedError: at the first NaN or infinity.
            StateError: if the state does not belong to such a training.
        """
        with self.network.lock, reserved(self.optimizer, *self.callbacks):
            return self._run(state)

    def _run(self, state: Mapping[str, Any] | None) -> History:
        self.network.set_rng(self.rng)
        self.optimizer.belong(self.network.identity)
        self._mean_weight = mean_weight(self.loss, self.targets, self.sample_weight, len(self.X))
        if self._mean_weight is not None:
            self._mean_weight = self.mean_weight or self._mean_weight
        self.schedule.start()
        self._tell("on_train_begin")
        if state is not None:
            self._restore(state)
        self.network.task = task_of(self.loss, self.y, self.network)
        try:
            with suited_blas_threads(self.network.n_parameters):
                self._run_epochs()
        except DivergedError:
            self._tell("on_divergence")
            self._tell("on_train_end")  # early stopping puts the best weights back
            raise
        finally:
            self._weigh_rows(None)
        self._tell("on_train_end")
        return self.history

    def _run_epochs(self) -> None:
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # _explain_divergence reports it
            if self.epoch > len(self.history):  # resumed in the middle of an epoch
                self._run_epoch()
            while self.epoch < self.epochs and not self.stopping:
                self.epoch += 1
                self.tally = Tally()
                self._tell("on_epoch_begin")
                self._run_epoch()

    def _run_epoch(self) -> None:
        record = self._train_epoch()
        self.history.records.append(record)
        self.schedule.observe(record.get("val_loss", record["train_loss"]))
        for callback in self.callbacks:
            callback.on_epoch_end(self, record)

    def _train_epoch(self) -> Record:
        network, n, tally = self.network, len(self.X), self.tally
        steps, watched = self.steps_per_epoch, bool(self.callbacks)
        trained = self.steps.begin_epoch()
        for X, targets, classes, weight in self._batches():
            if watched:
                self._tell("on_batch_begin")
            row_weight = None
            if self._mean_weight is not None:
                row_weight = self.loss.row_weights(targets, weight)
                self._weigh_rows(row_weight)
            step = self.steps.of(X)
            outputs, value = step.forward(X, targets, weight)
            if not math.isfinite(value):
                self._explain_divergence(X, training=True)
            if classes is not None:
                hits = right(outputs, classes)
                weighed = hits if weight is None else hits * weight
                tally.hits += int(np.count_nonzero(hits)) if weighed.dtype == bool else total(weighed)
            mass = share = float(len(X))
            if row_weight is not None and self._mean_weight is not None:
                mass, share = total(row_weight), len(X) * self._mean_weight
            step.backward(mass / share)
            tally.factor = self.schedule.during(self.step / steps, 1 / steps, self.epochs)
            step.update(tally.factor, trained)
            self.step += 1
            tally.rows += len(X)
            tally.loss += value * mass
            tally.mass += mass
            if watched:
                self._tell("on_batch_end")
        if not np.isfinite(network.params).all():
            self._explain_divergence(self.X[: self.batch_size], training=True)
        self._tell("on_validation_begin")
        record = {"epoch": self.epoch, "lr": self.optimizer.lr * tally.factor, "train_loss": tally.loss / tally.mass}
        if self.accuracy:
            record["train_accuracy"] = tally.hits / (n if self.sample_weight is None else total(self.sample_weight))
        if self.validation is not None:
            record["val_loss"], val_accuracy = evaluate(network, **self.validation, loss=self.loss)
            if not math.isfinite(record["val_loss"]):
                self._explain_divergence(self.validation["X"], training=False)
            if self.accuracy:
                record["val_accuracy"] = val_accuracy
        return record

    def _weigh_rows(self, weight: Array | None) -> None:
        for layer in self.network.walk() if self._mean_weight is not None else ():
            layer.row_weight = weight

    def _batches(self) -> Iterator[tuple[Array, Array, Array | None, Array | None]]:
        """The epoch's batches of rows, targets, classes and weights; the last two may be None.

        Rows are gathered a few thousand at a time, so that X may be a memory-mapped file larger than the memory.
        """
        n, size, done = len(self.X), self.batch_size, self.tally.rows
        self._drawn_from = self.rng.bit_generator.state
        order = self.rng.permutation(n) if size < n and self.shuffle else None
        made = self.X if self.augment is None else self.augment(self.X, self.rng)
        returned = len(made) if hasattr(made, "__len__") else made
        if returned != n:
            raise ValueError(f"augment must return as many rows as it is given, {n}, and returned {returned}")
        all_rows = self.X if self.augment is None else self.network.check_inputs(made)
        if done:  # resumed: order and rows were drawn as before; the steps continue with the numbers after theirs
            self.rng.bit_generator.state = self._goes_on_from
        at_once = max(ROWS_GATHERED // size, 1) * size
        for first in range(done, n, at_once):
            rows: Any = slice(first, first + at_once)
            if order is None:
                X = all_rows[rows]
            else:
                rows = order[rows]
                X = all_rows.take(rows, axis=0)
            targets = self.targets[rows]
            classes = self.targets.classes(rows) if self.accuracy else None
            weight = None if self.sample_weight is None else self.sample_weight[rows]
            for start in range(0, len(X), size):
                batch = slice(start, start + size)
                yield (
                    X[batch],
                    targets[batch],
                    None if classes is None else classes[batch],
                    None if weight is None else weight[batch],
                )

    # Stopping and resuming

    def state(self) -> dict[str, Any]:
        """Everything that ``run`` needs to continue from here to the same bits: arrays, and values that json can hold.

        Only the last callback may ask for it, in ``on_batch_end`` or ``on_epoch_end``. The arrays are the training's
        own: write or copy them before the training continues.
        """
        return {
            "epoch": self.epoch,
            "step": self.step,
            "stopping": self.stopping,
            "tally": asdict(self.tally),
            "history": self.history.records,
            "drawn_from": self._drawn_from,
            "rng": self.rng.bit_generator.state,
            "params": self.network.params,
            "layers": [layer.state for layer in self.network.walk()],
            "optimizer": self.optimizer.get_state(),
            "schedule": self.schedule.get_state(),
            "callbacks": [{"kind": type(callback).__name__, **callback.get_state()} for callback in self.callbacks],
        }

    def _restore(self, state: Mapping[str, Any]) -> None:
        try:
            self.epoch, self.step, self.stopping = state["epoch"], state["step"], bool(state["stopping"])
            self.tally = Tally(**state["tally"])
            self.history.records[:] = state["history"]
            _check_place(self, [kept["kind"] for kept in state["callbacks"]])
            self.rng.bit_generator.state = self._goes_on_from = state["rng"]
            if self.epoch > len(self.history):
                self.rng.bit_generator.state = state["drawn_from"]
            restore(self.network, (state["params"], state["layers"]))
            self.optimizer.set_state(self.network.params, state["optimizer"])
            self.schedule.set_state(state["schedule"])
            for callback, kept in zip(self.callbacks, state["callbacks"], strict=True):
                callback.set_state(self, kept)
        except StateError:
            raise
        except (AttributeError, LookupError, TypeError, ValueError, OverflowError) as error:
            raise StateError(f"not the state of such a training: {type(error).__name__} {error}") from None

    def _tell(self, event: str) -> None:
        for callback in self.callbacks:
            getattr(callback, event)(self)

    def _explain_divergence(self, rows: Array, training: bool) -> None:
        """Raise DivergedError with the first place of NaN or infinity: gradient, weights, or outputs for these rows."""
        self._weigh_rows(None)
        network, when = self.network, f"after step {self.step}" if self.step else "from the start"
        parameters = [(layer, name) for layer, name, _ in network.parameters()]
        bad_weights = [place for place in parameters if not _finite(*place)]
        bad_gradients = [(layer, f"d{name}") for layer, name in parameters if not _finite(layer, f"d{name}")]
        if bad_weights and bad_gradients:  # the backward pass met the last layer first
            layer, name = bad_gradients[-1]
            where = f"the gradient {layer.name}.{name} of step {self.step}"
        elif bad_weights:
            layer, name = bad_weights[0]
            where = f"the weights {layer.name}.{name} {when}"
        else:
            outputs = _outputs(network.chain.layers, rows, training)
            where = next((f"the output of {name}" for name, y in outputs if not np.isfinite(y).all()), "the loss")
            where += "" if training else " for the validation rows"
            where += f" {when}"
        raise DivergedError(
            f"training diverged in epoch {self.epoch}: NaN or infinity in {where}. "
            f"What usually helps: a smaller lr (it is {self.optimizer.lr:g}), another init, or clip_norm: 1"
        )


def fit(
    network: Network,
    X: Any,
    y: Any,
    *,
    rng: Rng,
    loss: Any = "cross_entropy",
    optimizer: Any = "adam",
    schedule: Any = "constant",
    epochs: int = 100,
    batch_size: int | None = 64,
    shuffle: bool = True,
    validation: Sequence[Any] | None = None,
    sample_weight: Any = None,
    mean_weight: float | None = None,
    augment: Augment | None = None,
    callbacks: Sequence[Callback] = (),
    accuracy: bool = True,
    replay: bool = True,
) -> History:
    """Train a network and return the history. The arguments are those of ``Training``, which explains them."""
    arguments = locals()
    return Training(**arguments).run()


def evaluate(
    network: Network, X: Any, y: Any, loss: Any = "cross_entropy", sample_weight: Any = None
) -> tuple[float, float]:
    """Loss and accuracy of a network on any rows, with targets as the loss takes them, and weights of the rows.

    If targets are rows of numbers, the index of the largest is the class; binary cross-entropy takes each number for a
    yes or a no, and a positive output for a yes. In paths, each step counts. A network with a single output has no
    classes for other losses, and its accuracy is NaN.
    """
    outputs = of_type(Network, "network", network).outputs(X)
    loss = loss_for(network.shape_out, copy.copy(loss))
    check_end(network, loss)
    y = labels_or_rows(y, len(outputs), "y")
    if not len(outputs):
        raise ValueError("evaluation needs at least one row, got none")
    targets = Targets(loss, y, network.n_outputs, network.dtype)
    weight = checked_weights(sample_weight, len(outputs), network.dtype)
    value = loss.forward(outputs, targets[:], weight)
    if network.n_outputs == 1 and not loss.binary:
        return value, math.nan
    return value, float(np.average(right(outputs, targets.classes(slice(None))), weights=weight))


def _outputs(layers: Sequence[Layer], rows: Array, training: bool) -> Iterator[tuple[str, Array]]:
    """The name and the output of each layer in turn; layers inside another come before it."""
    for layer in layers:
        if isinstance(layer, Chain):
            yield from _outputs(layer.layers, rows, training)
        rows = layer.forward(rows, training)
        yield layer.name, rows


def _check_place(training: Training, callbacks: list[str]) -> None:
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


def _check_tally(tally: Tally, training: Training) -> None:
    """Raise StateError for sums that this number of rows cannot give."""
    rows, mass, finite = tally.rows, tally.mass, all(abs(x) < 1e300 for x in (tally.loss, tally.mass, tally.factor))
    weighed = mass == rows if training._mean_weight is None else mass > 0 or (mass == 0 and rows < len(training.X))
    most = rows if training.sample_weight is None else total(training.sample_weight) * (1 + 1e-12)
    if not finite or not weighed or not 0 <= tally.hits <= most:
        raise StateError("the running epoch's sums are not those of its rows")


def _finite(layer: Any, name: str) -> bool:
    return bool(np.isfinite(getattr(layer, name)).all())
