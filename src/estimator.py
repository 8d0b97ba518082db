"""The network as scikit-learn knows classifiers and regressors: for pipelines, grid searches and cross-validation."""

import copy
import importlib
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any, Self

if "." in __name__:  # src.estimator, imported from the top folder of a checkout, is the module estimator
    sys.path.insert(0, str(Path(__file__).parent))
    sys.modules[__name__] = importlib.import_module("estimator")

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, column_or_1d, validate_data

from neural_net import Network, Training, dense_layers
from neural_net.activations import softmax
from neural_net.callbacks import Callback, EarlyStopping, Record, restore, snapshot
from neural_net.losses import CrossEntropy, Loss, make_loss
from neural_net.optimizers import Optimizer, make_optimizer
from neural_net.values import check, check_count

if Path(__file__).with_name("custom.py").exists():  # an installed library has none
    import custom  # noqa: F401 (so that parameters may name the parts in it)

Array = NDArray[Any]
Rows = tuple[Array, Array, Array | None]  # inputs, targets of the network, weights


@dataclass(eq=False, repr=False)
class _Estimator(BaseEstimator):
    """What classifier and regressor share: the parameters, and how they become a network and its training."""

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
        how["batch_size"] = None if self.batch_size == "full" else self.batch_size
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
        check(0 < share < 1, self, f"validation_fraction must lie strictly between 0 and 1, got {share}")
        held_out = np.zeros(n, dtype=bool)
        groups = targets if targets.ndim == 1 else np.zeros(n)
        for group in np.unique(groups):
            rows = rng.permutation(np.flatnonzero(groups == group))
            held_out[rows[: min(round(share * len(rows)), len(rows) - 1)]] = True
        order, count = rng.permutation(n), held_out.sum()
        check(count > 1, self, f"The validation set is too small: {share=} holds out {count} of {n} rows, not 2")
        return order[~held_out[order]], order[held_out[order]]

    def _make_network(self, X: Array, targets: Array, known: bool, rng: np.random.Generator) -> Network:
        layers, activation = copy.deepcopy((self.hidden_layers, self.activation))
        classes = self.classes_ if targets.ndim == 1 else None
        n_out = targets.shape[1] if classes is None else len(classes)
        normalization = None if self.normalization == "none" else self.normalization
        layers = dense_layers(layers, n_out, activation, normalization=normalization, dropout=self.dropout)
        network = Network(layers, X.shape[1], rng=rng, dtype=X.dtype, classes=classes)
        if known:
            fits = network.n_parameters == self.network_.n_parameters
            check(fits, self, "warm_start needs layers of the same sizes as in the fit before")
            restore(network, snapshot(self.network_))
        return network

    def _outputs(self, X: ArrayLike) -> Array:
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse="csr", dtype=self.network_.dtype, reset=False)
        return self.network_.outputs(_dense(X))


@dataclass(eq=False, repr=False)
class NeuralNetClassifier(ClassifierMixin, _Estimator):
    """A classifier over the same network and training as the pipeline's.

    Parameters that params.yaml has too have the same names, values and meanings. Activation, loss, optimizer, schedule
    and layers are names, ``{"name": {option: value}}``, or objects, which stay as they are: each fit works on copies.
    The network calculates in the dtype of X, float32 or float64. Scale features of unlike sizes (``StandardScaler``).

    If y is (rows, n_labels) of 0 and 1 (multilabel), each label is a question of its own: the loss is the binary
    cross-entropy, and the probabilities of a row do not add up to 1.

    Args:
        hidden_layers: the widths of the hidden layers, or layers as ``make_layer`` takes them.
        activation: one for all hidden layers, or a list with one a layer.
        normalization: ``batch_norm``, ``layer_norm`` or ``none``, in every hidden layer.
        dropout: the share of each hidden layer's outputs that a training step leaves out.
        loss, label_smoothing: what training minimises; smoothing if the loss has this option.
        class_weight: ``{label: weight}`` (1 for the others), or ``balanced``: each class counts the same in all. It
            multiplies ``sample_weight``.
        optimizer: the rule of the steps.
        lr, weight_decay, clip_norm: for the optimizer, if it has these options.
        schedule: what becomes of ``lr`` over the epochs.
        epochs, batch_size: how many times each row is seen, at most; rows a step, or ``full`` for all of them.
        early_stopping: hold rows out, end the training after so many epochs without a lower loss on them, and take the
            best epoch's weights; True: after ``n_iter_no_change`` epochs. None or False: no rows are held out.
        validation_fraction: the share of each class's rows that is held out for early stopping.
        tol: a loss counts as lower only if it is lower by more than this. Without early stopping, the training then
            ends after ``n_iter_no_change`` epochs without a lower training loss. If all ``epochs`` are over first,
            there is a ``ConvergenceWarning``. None: any lower loss counts, the training loss ends nothing, no warning.
        n_iter_no_change: see ``early_stopping`` and ``tol``; may be infinite.
        warm_start: ``fit`` begins with the weights of the fit before; classes and sizes must be the same.
        verbose: show a progress bar; needs tqdm.
        random_state: a number, a ``RandomState`` or None, as in all of scikit-learn, except that None draws afresh and
            not from NumPy's global state. It decides the weights, the batches, dropout and which rows are held out.

    Attributes:
        classes_: (n_classes,) the labels, sorted, in the order of the columns of ``predict_proba``; for multilabel, the
            numbers of the columns of y.
        network_: the ``neural_net.Network``.
        history_: a dictionary an epoch: epoch, lr, train_loss, train_accuracy, and with early stopping val_loss and
            val_accuracy. ``warm_start`` and ``partial_fit`` add to it.
        loss_curve_, best_loss_: the training loss of each epoch, and the lowest; that is None with early stopping.
        validation_scores_, best_validation_score_: with early stopping, the ``score`` of the held-out rows after each
            epoch, and the highest; otherwise None.
        n_iter_: the number of epochs of the latest ``fit`` and the calls of ``partial_fit`` since.
    """

    loss: Any = "cross_entropy"
    label_smoothing: float = 0.0
    class_weight: Any = None

    def partial_fit(
        self, X: ArrayLike, y: ArrayLike, classes: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Train on, for one epoch over these rows, from where the latest ``fit`` or ``partial_fit`` ended.

        The learning rate is ``lr``: how many calls will follow is unknown, so ``schedule`` and ``tol`` do not act.

        Args:
            X, y, sample_weight: as for ``fit``; y need not hold all classes.
            classes: all labels that will ever come; the first call needs them, except for multilabel.

        Errors are those of ``fit``, and a ValueError for a label that is not among the classes.
        """
        check(self.class_weight != "balanced", self, "partial_fit cannot balance classes that it has not seen")
        return self._learn(X, y, sample_weight, partial=True, classes=classes)

    def predict_proba(self, X: ArrayLike) -> Array:
        """The probability of each class, (rows, n_classes): the softmax of the outputs, for multilabel the sigmoid.

        With ``binary_cross_entropy`` and one label a row: sigmoids over their sum. Other elementwise losses give none.
        """
        check_is_fitted(self)
        return np.exp(self.predict_log_proba(X)) if self._by_label else softmax(self._outputs(X))

    def predict_log_proba(self, X: ArrayLike) -> Array:
        """The logarithm of ``predict_proba``, exact where a probability is too small for a float."""
        z = self._outputs(X)
        z = -np.logaddexp(0, -z) if self._by_label else z
        return z if self._multilabel else z - np.logaddexp.reduce(z, axis=1, keepdims=True)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = self.loss == "cross_entropy" or self._loss_for(multilabel=True).binary
        return tags

    def _encode(self, y: Array, known: bool, *, partial: bool, classes: Any = None) -> Array:
        y = column_or_1d(y, warn=True) if y.ndim == 2 and y.shape[1] == 1 else y
        check_classification_targets(y)
        multilabel = y.ndim == 2
        other = known and multilabel != self._multilabel
        fits = not other and (not multilabel or type_of_target(y) == "multilabel-indicator")
        check(fits, self, "y must be one label a row, or for multilabel, rows of 0 and 1; and always the same")
        present = np.arange(y.shape[1]) if multilabel else np.unique(y)
        if known and not partial and not np.array_equal(present, self.classes_):
            raise ValueError(f"warm_start needs the classes of the fit before, {self.classes_}, got {present}")
        if partial and not known and classes is None and not multilabel:
            raise ValueError("the first call of partial_fit needs classes, all labels that will ever come")
        labels = np.unique(np.asarray(classes)) if classes is not None else self.classes_ if known else present
        if known and not np.array_equal(labels, self.classes_):
            raise ValueError(f"classes must be those of the first call, {self.classes_}, got {labels}")
        strange = present[~np.isin(present, labels)]
        check(not len(strange), self, f"the label {strange[:1]} is not among the classes {labels}")
        self.classes_: Array = labels
        self._multilabel: bool = multilabel
        return y if multilabel else np.searchsorted(labels, y)

    def _decode(self, outputs: Array) -> Array:
        return (outputs > 0).astype(int) if self._multilabel else self.classes_[outputs.argmax(axis=1)]

    def _score(self, targets: Array, outputs: Array, weight: Array | None) -> float:
        right = self._decode(outputs) == (targets if self._multilabel else self.classes_[targets])
        return float(np.average(right.all(axis=1) if self._multilabel else right, weights=weight))

    def _make_loss(self) -> Loss:
        loss = self._loss_for(self._multilabel)
        check(loss.binary or not self._multilabel, self, f"multilabel needs binary_cross_entropy, got {self.loss!r}")
        self._by_label = loss.binary
        return loss

    def _loss_for(self, multilabel: bool) -> Loss:
        loss = make_loss(copy.deepcopy(self.loss), label_smoothing=self.label_smoothing)
        if multilabel and isinstance(loss, CrossEntropy):
            loss = make_loss("binary_cross_entropy", label_smoothing=loss.label_smoothing)
        return loss

    def _weigh(self, targets: Array, weight: Array | None) -> Array | None:
        if self.class_weight is None:
            return weight
        check(not self._multilabel, self, "class_weight is for one label a row; for multilabel, give sample_weight")
        labels = self.classes_[targets]
        of_classes = compute_class_weight(self.class_weight, classes=self.classes_, y=labels, sample_weight=weight)
        check(bool(of_classes.min() >= 0), self, f"class_weight must be at least 0, got {self.class_weight}")
        return of_classes[targets] if weight is None else of_classes[targets] * weight


@dataclass(eq=False, repr=False)
class NeuralNetRegressor(RegressorMixin, _Estimator):
    """A regressor over the same network, for one number a row or several.

    It does not scale y: put a ``TransformedTargetRegressor`` around it for numbers that are far from 1.

    Parameters and attributes are those of ``NeuralNetClassifier``, without ``label_smoothing``, ``class_weight``,
    ``classes_`` and accuracies. The score is R². ``loss`` is ``mean_squared_error``, ``mean_absolute_error``, ``huber``
    or one of your own.
    """

    loss: Any = "mean_squared_error"

    def partial_fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Train on, for one epoch over these rows, from where the latest ``fit`` or ``partial_fit`` ended.

        The learning rate is ``lr``, as for ``NeuralNetClassifier``; arguments and errors are those of ``fit``.
        """
        return self._learn(X, y, sample_weight, partial=True)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def _encode(self, y: Array, known: bool, *, partial: bool) -> Array:
        self._one_number = y.ndim == 1
        return y.reshape(len(y), -1)

    def _decode(self, outputs: Array) -> Array:
        return outputs[:, 0] if self._one_number else outputs

    def _score(self, targets: Array, outputs: Array, weight: Array | None) -> float:
        from sklearn.metrics import r2_score  # takes a while to import

        return float(r2_score(targets, outputs, sample_weight=weight))

    def _make_loss(self) -> Loss:
        loss = make_loss(copy.deepcopy(self.loss))
        check(not loss.always_classes and not loss.binary, self, f"the loss {self.loss!r} is for classes")
        return loss


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


def _take(data: Rows, rows: Array) -> Rows:
    return data[0][rows], data[1][rows], None if data[2] is None else data[2][rows]


def _dense(array: Any) -> Array:
    return array.toarray() if hasattr(array, "toarray") else array
