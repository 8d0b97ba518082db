"""What classifier and regressor share: the parameters, and how they become a network and its training."""

import copy
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass
from itertools import zip_longest
from numbers import Real
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from neural_net import Network, Training, dense_layers
from neural_net.callbacks import Callback, EarlyStopping, Record, restore, snapshot
from neural_net.losses import Loss
from neural_net.optimizers import Optimizer, make_optimizer
from neural_net.parts import call
from neural_net.values import check, check_count

Array = NDArray[Any]
Rows = tuple[Array, Array, Array | None]  # inputs, targets of the network, weights


@dataclass(eq=False, repr=False)
class Estimator(BaseEstimator):
    """The base of ``NeuralNetClassifier``, which explains the parameters, and ``NeuralNetRegressor``."""

    hidden_layers: Sequence[Any] = (64,)
    _: KW_ONLY
    activation: Any = "relu"
    normalization: str | None = "none"
    dropout: float = 0.0
    loss: Any = "cross_entropy"
    optimizer: Any = "adamw"
    lr: float = 0.005
    weight_decay: float = 0.01
    clip_norm: float | None = None
    schedule: Any = "cosine"
    epochs: int = 100
    batch_size: Any = 64
    early_stopping: int | bool | None = None
    validation_fraction: float = 0.1
    tol: float | None = None
    n_iter_no_change: float = 10
    shuffle: bool = True
    warm_start: bool = False
    verbose: bool = False
    random_state: Any = None

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Train a new network; with ``warm_start``, from the weights of the one before.

        Args:
            X: (rows, n_features), dense or sparse; sparse rows are made dense.
            y: (rows,), or (rows, n_outputs) for several labels or numbers a row.
            sample_weight: (rows,) how much each row counts, in training and among the rows held out: one of weight 2 as
                two equal rows. Rows of weight 0 are left out.

        Raises:
            ValueError: for data or parameters that do not fit. After any error, the estimator is as it was before.
            DivergedError: at the first NaN or infinity.
        """
        return self._learn(X, y, sample_weight)

    def predict(self, X: ArrayLike) -> Array:
        """The prediction for each row of X (rows, n_features), in the shape of the y in ``fit``."""
        return self._decode(self._outputs(X))

    @property
    def loss_curve_(self) -> list[float]:
        """The training loss of each epoch."""
        return [record["train_loss"] for record in self.history_]

    @property
    def best_loss_(self) -> float | None:
        """The lowest training loss."""
        return min(self.loss_curve_) if self.validation_scores_ is None else None

    @property
    def best_validation_score_(self) -> float | None:
        """The highest score of the held-out rows."""
        return None if self.validation_scores_ is None else max(self.validation_scores_)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def __repr__(self) -> str:
        """The code that makes such an estimator, whole: scikit-learn leaves out the middle of what is long."""
        return call(self)

    # The difference between a classifier and a regressor

    def _encode(self, y: Array, known: bool, *, partial: bool) -> Array:
        """Targets of the network for y; sets what ``_decode`` needs, or if ``known``, checks that y fits it."""
        raise NotImplementedError

    def _decode(self, outputs: Array) -> Array:
        raise NotImplementedError

    def _score(self, targets: Array, outputs: Array, weight: Array | None) -> float:
        raise NotImplementedError

    def _make_loss(self) -> Loss:
        raise NotImplementedError

    def _weigh(self, targets: Array, weight: Array | None) -> Array | None:
        return weight

    # Training and prediction

    def _learn(self, X: Any, y: Any, weight: Any, **how: Any) -> Self:
        learned = copy.copy(self)
        learned._train(X, y, weight, **how)
        self.__dict__ = learned.__dict__  # only now: an error leaves the estimator as it was
        return self

    def _train(self, X: Any, y: Any, weight: Any, *, partial: bool = False, **given: Any) -> None:
        """``partial``: one epoch, with the optimizer and the generator of the training before."""
        if partial and self.early_stopping:
            raise ValueError(f"partial_fit does not support early_stopping={self.early_stopping}")
        known = hasattr(self, "network_") and (partial or self.warm_start)
        data = self._checked(X, y, weight, known, partial=partial, **given)
        if partial and known:
            network, optimizer, rng = self.network_, self._optimizer, self._rng
        else:
            seed = None if self.random_state is None else check_random_state(self.random_state).randint(2**31)
            rng = np.random.default_rng(seed)
            network = self._make_network(*data[:2], known, rng)
            steps = {"lr": self.lr, "weight_decay": self.weight_decay, "clip_norm": self.clip_norm}
            optimizer = make_optimizer(copy.deepcopy(self.optimizer), **steps)
        before = snapshot(network), copy.deepcopy(optimizer.get_state()), rng.bit_generator.state
        how: dict[str, Any] = {"epochs": 1, "mean_weight": 1.0}  # of all rows that will come, as far as is known
        scores: list[float] = []
        if not partial:
            data, how = self._plan(data, rng, scores)
        how |= {"batch_size": None if self.batch_size == "full" else self.batch_size, "shuffle": self.shuffle}
        how |= {"sample_weight": data[2], "rng": rng, "loss": self._make_loss(), "optimizer": optimizer}
        training = Training(network, *data[:2], accuracy=isinstance(self, ClassifierMixin), **how)
        try:
            records = training.run().records
        except BaseException:
            restore(network, before[0])
            optimizer.set_state(network.params, before[1])
            rng.bit_generator.state = before[2]
            raise
        if self.tol is not None and not partial and not training.stopping:
            message = f"the loss still fell by more than tol={self.tol} after epochs={self.epochs}; give it more epochs"
            warnings.warn(message, ConvergenceWarning, stacklevel=4)
        if not known:
            self.history_: list[Record] = []
            self.validation_scores_: list[float] | None = None
        self.network_: Network = network
        self._optimizer: Optimizer = optimizer
        self._rng: np.random.Generator = rng
        self.n_iter_: int = len(records) + (self.n_iter_ if partial and known else 0)
        self.history_ += [record | {"epoch": len(self.history_) + i} for i, record in enumerate(records, 1)]
        self.validation_scores_ = [*(self.validation_scores_ or []), *scores] or None

    def _checked(self, X: Any, y: Any, weight: Any, known: bool, **given: Any) -> Rows:
        """The rows that count, as arrays."""
        dtype = self.network_.dtype if known else (np.float64, np.float32)
        options = {"accept_sparse": "csr", "multi_output": True, "y_numeric": isinstance(self, RegressorMixin)}
        with self._text_reported("X and y" if options["y_numeric"] else "X"):
            X, y = map(_dense, validate_data(self, X, y, dtype=dtype, reset=not known, **options))
        if weight is not None:
            weight = _check_sample_weight(weight, X, dtype=X.dtype, ensure_non_negative=True)
            X, y, weight = X[weight > 0], y[weight > 0], weight[weight > 0]
        targets = self._encode(y, known, **given)
        weight = self._weigh(targets, weight)
        return (X, targets, None) if weight is None else _take((X, targets, weight), weight != 0)

    def _plan(self, data: Rows, rng: np.random.Generator, scores: list[float]) -> tuple[Rows, dict[str, Any]]:
        """The rows to train on, and how; the scores of rows held out will go to ``scores``."""
        check_count(self, epochs=self.epochs)
        positive = self.tol is None or (isinstance(self.tol, Real) and self.tol >= 0)
        check(positive, self, f"tol must be a number of at least 0, or None, got {self.tol!r}")
        callbacks: list[Callback] = [_Progress()] if self.verbose else []
        how = {"epochs": self.epochs, "schedule": copy.deepcopy(self.schedule), "callbacks": callbacks}
        name = "n_iter_no_change" if isinstance(self.early_stopping, bool | None) else "early_stopping"
        patience = self.epochs if getattr(self, name) == np.inf else getattr(self, name)
        check_count(self, **{name: patience})
        if self.early_stopping is None or self.early_stopping is False:
            callbacks += [] if self.tol is None else [_Plateau(patience, "train_loss", self.tol)]
            return data, how
        rows, held_out = self._hold_out(data[1], rng)
        how["validation"] = X, targets, weight = _take(data, held_out)
        measured = _Scores(lambda network: self._score(targets, network.outputs(X), weight), scores)
        callbacks += [measured, EarlyStopping(patience, min_delta=self.tol or 0.0)]
        return _take(data, rows), how

    def _hold_out(self, targets: Array, rng: np.random.Generator) -> tuple[Array, Array]:
        """The numbers of the rows to train on and of those to hold out; each class has its share of both."""
        share, n = self.validation_fraction, len(targets)
        inside = isinstance(share, Real) and 0 < share < 1
        check(inside, self, f"validation_fraction must be a number strictly between 0 and 1, got {share!r}")
        held_out = np.zeros(n, dtype=bool)
        groups = targets if targets.ndim == 1 else np.zeros(n)
        for group in np.unique(groups):
            rows = rng.permutation(np.flatnonzero(groups == group))
            held_out[rows[: min(round(share * len(rows)), len(rows) - 1)]] = True
        order, count = rng.permutation(n) if self.shuffle else np.arange(n), held_out.sum()
        found = f"validation_fraction={share} holds out {count} of {n} rows"
        check(count > 1, self, f"The validation set is too small: {found}, and it needs 2")
        return order[~held_out[order]], order[held_out[order]]

    def _make_network(self, X: Array, targets: Array, known: bool, rng: np.random.Generator) -> Network:
        layers, activation = copy.deepcopy((self.hidden_layers, self.activation))
        classes = self.classes_ if targets.ndim == 1 else None
        n_out = targets.shape[1] if classes is None else len(classes)
        normalization = None if self.normalization == "none" else self.normalization
        layers = dense_layers(layers, n_out, activation, normalization=normalization, dropout=self.dropout)
        network = Network(layers, X.shape[1], rng=rng, dtype=X.dtype, classes=classes)
        if known:
            for before, now in zip_longest(_arrays(self.network_), _arrays(network), fillvalue="no more"):
                fits = before == now
                check(fits, self, f"warm_start needs the layers of the fit before, which had {before}, got {now}")
            network.set_weights(self.network_.get_weights())
        return network

    def _outputs(self, X: ArrayLike) -> Array:
        check_is_fitted(self)
        with self._text_reported("X"):
            X = validate_data(self, X, accept_sparse="csr", dtype=self.network_.dtype, reset=False)
        return self.network_.outputs(_dense(X))

    @contextmanager
    def _text_reported(self, what: str) -> Iterator[None]:
        try:
            yield
        except ValueError as error:
            text = str(error).removeprefix("could not convert string to float: ")
            check(text == str(error), self, f"{what} must be numbers, got the text {text}")
            raise


class _Plateau(EarlyStopping):
    """End the training by the training loss, with the last weights."""

    def on_train_end(self, training: Training) -> None:
        pass


class _Scores(Callback):
    """Collect a score of the network after each epoch."""

    def __init__(self, score: Callable[[Network], float], scores: list[float]) -> None:
        self.score, self.scores = score, scores

    def on_epoch_end(self, training: Training, record: Record) -> None:
        self.scores.append(self.score(training.network))


class _Progress(Callback):
    """Show a progress bar with the losses."""

    def on_train_begin(self, training: Training) -> None:
        from tqdm.auto import tqdm

        self.bar = tqdm(total=training.epochs, unit="epoch")

    def on_epoch_end(self, training: Training, record: Record) -> None:
        self.bar.set_postfix({name: value for name, value in record.items() if name.endswith("loss")}, refresh=False)
        self.bar.update()

    def on_train_end(self, training: Training) -> None:
        self.bar.close()


def _arrays(network: Network) -> Iterator[str]:
    """Each layer that keeps arrays, in words, with their shapes."""
    for layer in network.walk():
        if layer.parameters or layer.state:
            shapes = [str(getattr(layer, name).shape) for name in layer.parameters]
            yield f"{layer.name} of {' and '.join(shapes)}"


def _take(data: Rows, rows: Array) -> Rows:
    return data[0][rows], data[1][rows], None if data[2] is None else data[2][rows]


def _dense(array: Any) -> Array:
    return array.toarray() if hasattr(array, "toarray") else array
