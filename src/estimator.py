"""The network as scikit-learn knows classifiers: for pipelines, grid searches and cross-validation."""

import copy
import importlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

if "." in __name__:  # src.estimator, imported from the top folder of a checkout, is the module estimator
    sys.path.insert(0, str(Path(__file__).parent))
    sys.modules[__name__] = importlib.import_module("estimator")

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

import custom  # noqa: F401 (so that parameters may name the parts in it)
from neural_net import EarlyStopping, Network, Training, dense_layers, make_loss, make_optimizer
from neural_net.parts import check_count
from utils import split_data

Array = NDArray[Any]


class NeuralNetClassifier(ClassifierMixin, BaseEstimator):
    """A classifier over the same network and training as the pipeline's.

    The parameters have the names, values and meanings of params.yaml. Activation, loss, optimizer, schedule and layers
    are names, ``{"name": {option: value}}``, or objects, which stay as they are: each fit works on copies. The network
    calculates in the dtype of X, float32 or float64. Features of unlike scales want a ``StandardScaler`` in front.

    Args:
        hidden_layers: the widths of the hidden layers, or layers as ``make_layer`` takes them.
        activation: one for all hidden layers, or a list with one a layer.
        normalization: ``batch_norm``, ``layer_norm`` or ``none``, in every hidden layer.
        dropout: the share of each hidden layer's outputs that a training step leaves out.
        loss: what training minimises.
        label_smoothing: for the loss, if it has this option.
        optimizer: the rule of the steps.
        lr, weight_decay, clip_norm: for the optimizer, if it has these options.
        schedule: what becomes of ``lr`` over the epochs.
        epochs: how many times each row is seen.
        batch_size: rows a step, or ``full`` for all of them.
        early_stopping: training ends after so many epochs without a better loss on held-out rows, and takes the best
            weights; None: no rows are held out.
        validation_fraction: the share of each class's rows that is held out for early stopping.
        random_state: a number, a ``RandomState`` or None, as in all of scikit-learn, except that None draws afresh and
            not from NumPy's global state. It decides the weights, the batches, dropout and which rows are held out.

    Attributes:
        classes_: (n_classes,) the labels, sorted; the columns of ``predict_proba`` are in this order.
        network_: the ``neural_net.Network``.
        history_: a dictionary an epoch: epoch, lr, train_loss, train_accuracy, and with early stopping val_loss and
            val_accuracy.
        n_features_in_, feature_names_in_: as in all of scikit-learn.
    """

    def __init__(
        self,
        hidden_layers: Sequence[Any] = (64,),
        *,
        activation: Any = "relu",
        normalization: str | None = "none",
        dropout: float = 0.0,
        loss: Any = "cross_entropy",
        label_smoothing: float = 0.0,
        optimizer: Any = "adamw",
        lr: float = 0.005,
        weight_decay: float = 0.01,
        clip_norm: float | None = None,
        schedule: Any = "cosine",
        epochs: int = 100,
        batch_size: Any = 64,
        early_stopping: int | None = None,
        validation_fraction: float = 0.1,
        random_state: Any = None,
    ) -> None:
        self.hidden_layers = hidden_layers
        self.activation = activation
        self.normalization = normalization
        self.dropout = dropout
        self.loss = loss
        self.label_smoothing = label_smoothing
        self.optimizer = optimizer
        self.lr = lr
        self.weight_decay = weight_decay
        self.clip_norm = clip_norm
        self.schedule = schedule
        self.epochs = epochs
        self.batch_size = batch_size
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> "NeuralNetClassifier":
        """Train a new network.

        Args:
            X: (rows, n_features).
            y: (rows,) labels of at least two classes.
            sample_weight: (rows,) how much each row counts, in training and among the rows held out: one of weight 2 as
                two equal rows. Rows of weight 0 are left out.

        Raises:
            ValueError: for data or parameters that do not fit.
            DivergedError: at the first NaN or infinity.
        """
        if self.early_stopping is not None:
            check_count(self, early_stopping=self.early_stopping)
        with self._all_or_nothing():
            return self._fit(X, y, sample_weight)

    def _fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None) -> "NeuralNetClassifier":
        X, y, weight = self._checked(X, y, sample_weight, new=True)
        classes, numbers = np.unique(y, return_inverse=True)
        self._begin(X, classes)
        how: dict[str, Any] = {"epochs": self.epochs, "schedule": copy.deepcopy(self.schedule)}
        if self.early_stopping is None:
            return self._train(X, numbers, weight, **how)
        rows, held_out, _, _ = split_data(np.arange(len(y)), y, self.validation_fraction, rng=self._rng)
        how["validation"] = X[held_out], numbers[held_out], None if weight is None else weight[held_out]
        how["callbacks"] = [EarlyStopping(self.early_stopping)]
        return self._train(X[rows], numbers[rows], None if weight is None else weight[rows], **how)

    def partial_fit(
        self, X: ArrayLike, y: ArrayLike, classes: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> "NeuralNetClassifier":
        """Train on, for one epoch over these rows, from where the latest ``fit`` or ``partial_fit`` ended.

        The learning rate is ``lr`` and no row is held out: nobody knows how many calls will follow, so ``schedule`` and
        ``early_stopping`` have nothing to go by.

        Args:
            X, y, sample_weight: as for ``fit``; y need not hold all classes.
            classes: all labels that will ever come; the first call needs them.

        Raises:
            ValueError: for data or parameters that do not fit, and for a label that is not among the classes.
            DivergedError: at the first NaN or infinity.
        """
        new = not hasattr(self, "network_")
        if new and classes is None:
            raise ValueError("the first call of partial_fit needs classes, all labels that will ever come")
        known = self.classes_ if classes is None else np.unique(np.asarray(classes))
        if not new and not np.array_equal(known, self.classes_):
            raise ValueError(f"classes must be those of the first call, {self.classes_}, got {known}")
        X, y, weight = self._checked(X, y, sample_weight, new)
        strange = y[~np.isin(y, known)]
        if len(strange):
            raise ValueError(f"the label {strange[0]!r} is not among the classes {known}")
        if new:
            self._begin(X, known)
        return self._train(X, np.searchsorted(known, y), weight, epochs=1)

    def predict_proba(self, X: ArrayLike) -> Array:
        """The probability of each class, (rows, n_classes): the softmax of the outputs.

        The mean squared error does not make them probabilities; its outputs, by ``network_.outputs``, are the scores.
        """
        X = self._checked_inputs(X)
        return self.network_.predict_proba(X)

    def predict(self, X: ArrayLike) -> Array:
        """The most probable label of each row, (rows,)."""
        X = self._checked_inputs(X)
        return self.network_.predict(X)

    @property
    def loss_curve_(self) -> list[float]:
        """The training loss of each epoch."""
        return [record["train_loss"] for record in self.history_]

    @property
    def n_iter_(self) -> int:
        """The number of epochs trained."""
        return len(self.history_)

    @contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        """Put all attributes back after an error, so that classes and network stay those of one fit."""
        before = vars(self).copy()
        try:
            yield
        except Exception:
            self.__dict__.update(before)
            for name in vars(self).keys() - before.keys():
                delattr(self, name)
            raise

    def _checked(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None, new: bool
    ) -> tuple[Array, Array, Array | None]:
        """Rows, labels and weights as arrays, without the rows of weight 0."""
        dtype = (np.float64, np.float32) if new else self.network_.dtype
        rows, labels = validate_data(self, X, y, dtype=dtype, reset=new)
        check_classification_targets(labels)
        if sample_weight is None:
            return rows, labels, None
        weight = _check_sample_weight(sample_weight, rows, dtype=rows.dtype, ensure_non_negative=True)
        counts = weight > 0
        return rows[counts], labels[counts], weight[counts]

    def _checked_inputs(self, X: ArrayLike) -> Array:
        check_is_fitted(self)
        return validate_data(self, X, dtype=self.network_.dtype, reset=False)

    def _begin(self, X: Array, classes: Any) -> None:
        """Make the network, and what a later ``partial_fit`` goes on with."""
        if len(classes) < 2:
            raise ValueError(f"a classifier needs rows of at least two classes, got the one class {classes[0]!r}")
        given = copy.deepcopy(self.get_params(deep=False))
        self.classes_: Array = classes
        self.history_: list[dict[str, float]] = []
        self._rng = self._generator()
        self._optimizer = make_optimizer(
            given["optimizer"], lr=self.lr, weight_decay=self.weight_decay, clip_norm=self.clip_norm
        )
        layers = dense_layers(
            given["hidden_layers"],
            len(classes),
            given["activation"],
            normalization=None if self.normalization == "none" else self.normalization,
            dropout=self.dropout,
        )
        self.network_ = Network(layers, X.shape[1], rng=self._rng, dtype=X.dtype, classes=classes)

    def _generator(self) -> np.random.Generator:
        if self.random_state is None:
            return np.random.default_rng()
        return np.random.default_rng(check_random_state(self.random_state).randint(2**31))

    def _train(self, X: Array, numbers: Array, weight: Array | None, **how: Any) -> "NeuralNetClassifier":
        training = Training(
            self.network_,
            X,
            numbers,
            sample_weight=weight,
            rng=self._rng,
            loss=make_loss(copy.deepcopy(self.loss), label_smoothing=self.label_smoothing),
            optimizer=self._optimizer,
            batch_size=None if self.batch_size == "full" else self.batch_size,
            **how,
        )
        for record in training.run().records:
            self.history_.append(record | {"epoch": len(self.history_) + 1})
        return self
