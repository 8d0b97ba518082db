"""A pytest plugin: scikit-learn's tests of its own networks, sklearn/neural_network/tests/test_mlp.py, run on ours.

It puts our estimators in the place of MLPClassifier and MLPRegressor and translates the names of the parameters. Many
tests use L-BFGS, which we do not have, only to converge: Adam with full batches stands in for it.

    PYTHONPATH=src:tests/tools python -m pytest -p mlp_as_ours --pyargs sklearn.neural_network.tests.test_mlp
"""

import inspect
from typing import Any

import sklearn.neural_network

from estimator import NeuralNetClassifier, NeuralNetRegressor

SAME = ("validation_fraction", "tol", "early_stopping", "warm_start", "verbose", "random_state", "shuffle")
ACTIVATIONS = {"logistic": "sigmoid"}
LOSSES = {"log_loss": "cross_entropy", "squared_error": "mean_squared_error"}
SCHEDULES = {"adaptive": {"reduce_on_plateau": {"rate": 0.2, "patience": 2}}}


def translate(theirs: dict[str, Any]) -> dict[str, Any]:
    """The parameters of our estimators for those of an MLPClassifier or MLPRegressor."""
    ours = {name: theirs[name] for name in SAME}
    ours |= {"epochs": theirs["max_iter"], "weight_decay": theirs["alpha"]}
    ours["random_state"] = 0 if ours["random_state"] is None else ours["random_state"]  # else each run draws anew
    sizes, momentum = theirs["hidden_layer_sizes"], theirs["momentum"]
    ours["hidden_layers"] = (sizes,) if isinstance(sizes, int) else sizes
    ours["activation"] = ACTIVATIONS.get(theirs["activation"], theirs["activation"])
    ours["optimizer"], ours["lr"] = {
        "sgd": ({"sgd": {"momentum": momentum, "nesterov": momentum > 0}}, theirs["learning_rate_init"]),
        "adam": ("adam", theirs["learning_rate_init"]),
        "lbfgs": ("adam", 0.01),
    }[theirs["solver"]]
    ours["batch_size"] = 200 if theirs["batch_size"] == "auto" else theirs["batch_size"]
    if theirs["solver"] == "lbfgs":
        ours["batch_size"] = "full"
    ours["schedule"] = SCHEDULES.get(theirs["learning_rate"], theirs["learning_rate"])
    ours["n_iter_no_change"] = theirs["n_iter_no_change"] + 1  # theirs end after one epoch more than they say
    if "loss" in theirs:
        ours["loss"] = LOSSES.get(theirs["loss"], theirs["loss"])
    return ours


class Translated:
    """Takes and shows the names of an MLPClassifier or MLPRegressor."""

    theirs: type

    def __init__(self, hidden_layer_sizes: Any = (100,), **given: Any) -> None:
        super().__init__()
        parameters = list(inspect.signature(self.theirs).parameters.values())
        self.set_params(**{p.name: p.default for p in parameters} | {"hidden_layer_sizes": hidden_layer_sizes} | given)

    def set_params(self, **given: Any) -> None:
        vars(self).update(given)
        translated = translate({name: vars(self)[name] for name in inspect.signature(self.theirs).parameters})
        vars(self).update(translated)

    @property
    def coefs_(self) -> list[Any]:
        return [layer.W for layer in self.network_.layers if hasattr(layer, "W")]

    @property
    def intercepts_(self) -> list[Any]:
        return [layer.b for layer in self.network_.layers if hasattr(layer, "b")]

    @property
    def _no_improvement_count(self) -> int:
        """The epochs since the training loss last fell by more than ``tol``."""
        best, waited = float("inf"), 0
        for loss in self.loss_curve_:
            best, waited = (loss, 0) if loss < best - self.tol else (best, waited + 1)
        return waited


class MLPClassifier(Translated, NeuralNetClassifier):
    theirs = sklearn.neural_network.MLPClassifier

    def _encode(self, *args: Any, **given: Any) -> Any:
        """Of several labels theirs add up the losses, ours take the mean: for SGD, another learning rate."""
        targets = super()._encode(*args, **given)
        self.lr *= targets.shape[1] if targets.ndim == 2 and self.solver == "sgd" else 1
        return targets


class MLPRegressor(Translated, NeuralNetRegressor):
    theirs = sklearn.neural_network.MLPRegressor


sklearn.neural_network.MLPClassifier, sklearn.neural_network.MLPRegressor = MLPClassifier, MLPRegressor
