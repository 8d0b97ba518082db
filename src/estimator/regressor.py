"""The network as scikit-learn knows regressors."""

import copy
from dataclasses import dataclass
from typing import Any, Self

from numpy.typing import ArrayLike
from sklearn.base import RegressorMixin

from neural_net.losses import Loss, make_loss
from neural_net.values import check

from .base import Array, Estimator


@dataclass(eq=False, repr=False)
class NeuralNetRegressor(RegressorMixin, Estimator):
    """A regressor over the same network, for one number a row or several.

    It does not scale y: put a ``TransformedTargetRegressor`` around it for numbers that are far from 1.

    Parameters and attributes are those of ``NeuralNetClassifier``, without ``label_smoothing``, ``class_weight``,
    ``classes_`` and accuracies. The score is R². ``loss`` is ``mean_squared_error``, ``mean_absolute_error``, ``huber``
    or one of your own.
    """

    __module__ = "estimator"  # in pickles

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
        targets = y.reshape(len(y), -1)
        n = self.network_.n_outputs if known else targets.shape[1]
        check(targets.shape[1] == n, self, f"y must have {n} numbers a row as before, got {targets.shape[1]}")
        return targets

    def _decode(self, outputs: Array) -> Array:
        return outputs[:, 0] if self._one_number else outputs

    def _score(self, targets: Array, outputs: Array, weight: Array | None) -> float:
        from sklearn.metrics import r2_score  # takes a while to import

        return float(r2_score(targets, outputs, sample_weight=weight))

    def _make_loss(self) -> Loss:
        loss = make_loss(copy.deepcopy(self.loss))
        check(not loss.always_classes and not loss.binary, self, f"the loss {self.loss!r} is for classes")
        return loss
