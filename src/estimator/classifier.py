"""The network as scikit-learn knows classifiers."""

import copy
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from numbers import Real
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import ClassifierMixin
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import check_is_fitted, column_or_1d

from neural_net.activations import softmax
from neural_net.losses import CrossEntropy, Loss, make_loss
from neural_net.values import check

from .base import Array, Estimator


@dataclass(eq=False, repr=False)
class NeuralNetClassifier(ClassifierMixin, Estimator):
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
        shuffle: a new order of the rows in each epoch; False: the order given.
        early_stopping: hold rows out, end the training after so many epochs without a lower loss on them, and take the
            best epoch's weights; True: after ``n_iter_no_change`` epochs. None or False: no rows are held out.
        validation_fraction: the share of each class's rows that is held out for early stopping.
        tol: a loss counts as lower only if it is lower by more than this. Without early stopping, the training then
            ends after ``n_iter_no_change`` epochs without a lower training loss. If all ``epochs`` are over first,
            there is a ``ConvergenceWarning``. None: any lower loss counts, the training loss ends nothing, no warning.
        n_iter_no_change: see ``early_stopping`` and ``tol``; may be infinite.
        warm_start: ``fit`` begins with the weights of the fit before; classes, features and
            layers that have weights must be the same.
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

    __module__ = "estimator"  # in pickles

    loss: Any = "cross_entropy"
    label_smoothing: float = 0.0
    class_weight: Any = None

    def partial_fit(
        self, X: ArrayLike, y: ArrayLike, classes: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Train on, for one epoch over these rows, from where the latest ``fit`` or ``partial_fit`` ended.

        The learning rate is ``lr``: how many calls will follow is unknown, so ``schedule`` and ``tol`` do not act.

        Args:
            X, y, sample_weight: as for ``fit``; y need not hold all classes. The mean weight of all rows that will come
                is taken as 1, so that chunks of heavy rows count more than chunks of light ones.
            classes: all labels that will ever come; the first call needs them, except for multilabel.

        Errors are those of ``fit``, and a ValueError for a label that is not among the classes.
        """
        check(self.class_weight != "balanced", self, "partial_fit cannot balance classes that it has not seen")
        return self._learn(X, y, sample_weight, partial=True, classes=classes)

    def predict_proba(self, X: ArrayLike) -> Array:
        """The probability of each class, (rows, n_classes): the softmax of the outputs, for multilabel the sigmoid.

        With ``binary_cross_entropy`` and one label a row: sigmoids over their sum. After other elementwise losses the
        softmax only orders the classes.
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
        with suppress(ValueError):  # of a wrong parameter; a fit reports it, and predictions do not need it
            tags.classifier_tags.multi_label = self.loss == "cross_entropy" or self._loss_for(multilabel=True).binary
        return tags

    def _encode(self, y: Array, known: bool, *, partial: bool, classes: Any = None) -> Array:
        y = column_or_1d(y, warn=True) if y.ndim == 2 and y.shape[1] == 1 else y
        if not (partial and known):  # it takes a while, and below, y's labels are compared with the classes
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
        if len(strange):
            raise ValueError(f"NeuralNetClassifier: the label {strange[:1]} is not among the classes {labels}")
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
        given, labels = self.class_weight, self.classes_[targets]
        usable = given == "balanced" if isinstance(given, str) else isinstance(given, Mapping)
        if usable and not isinstance(given, str):
            usable = all(isinstance(value, Real) and 0 <= float(value) < np.inf for value in given.values())
        wanted = "class_weight must be balanced or {label: weight} with weights of at least 0"
        check(usable, self, f"{wanted}, got {given!r}")
        of_classes = compute_class_weight(given, classes=self.classes_, y=labels, sample_weight=weight)
        check(bool(of_classes[targets].any()), self, f"class_weight gives all rows the weight 0, got {given!r}")
        return of_classes[targets] if weight is None else of_classes[targets] * weight
