"""The classifier keeps scikit-learn's contract and trains the same network as the rest of the project."""

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from joblib import parallel_backend
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris
from sklearn.inspection import permutation_importance
from sklearn.model_selection import cross_val_score
from sklearn.utils.estimator_checks import check_estimator

from estimator import NeuralNetClassifier
from neural_net import DivergedError, ReLU, Step
from pipeline.params import Params

IRIS, DIGITS = load_iris(return_X_y=True), load_digits(return_X_y=True)


def quick(**options: Any) -> NeuralNetClassifier:
    defaults: dict[str, Any] = {"hidden_layers": (16,), "lr": 0.02, "epochs": 5, "random_state": 0}
    return NeuralNetClassifier(**(defaults | options))


def test_keeps_every_rule_that_scikit_learn_checks() -> None:
    results = check_estimator(NeuralNetClassifier(), on_skip=None, on_fail="raise")
    assert {result["check_name"] for result in results if result["status"] != "passed"} <= {"check_array_api_input"}
    assert len(results) > 50


FROM_THE_TOP = """
import pickle
from src.estimator import NeuralNetClassifier
import src.estimator, estimator, neural_net
model = NeuralNetClassifier(activation=neural_net.ReLU(), epochs=1).fit([[0.0], [1.0]], [0, 1])
assert src.estimator is estimator and isinstance(model.network_, neural_net.Network)
assert b"src" not in pickle.dumps(model)
"""


def test_imported_from_the_top_folder_it_is_the_same_module() -> None:
    """So that what was pickled after one import can be loaded after the other."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    root = Path(__file__).parents[1]
    subprocess.run([sys.executable, "-W", "error", "-c", FROM_THE_TOP], cwd=root, env=environment, check=True)


def test_reads_iris_with_its_defaults_whose_names_are_those_of_params_yaml() -> None:
    assert cross_val_score(NeuralNetClassifier(random_state=0), *IRIS, cv=5).mean() > 0.95
    assert set(NeuralNetClassifier().get_params()) - {"random_state"} <= set(Params.model_fields)


def test_weights_are_how_often_a_row_is_seen() -> None:
    """Of rows that are all alike, three fourths of the weight are of "b"; a class without weight is no class."""
    X, y, weight = np.ones((4, 2)), np.array(["a", "b", "b", "c"]), np.array([1.0, 1.0, 2.0, 0.0])
    model = quick(epochs=200).fit(X, y, sample_weight=weight)
    assert list(model.classes_) == ["a", "b"]
    assert model.predict_proba(X[:1])[0] == pytest.approx([0.25, 0.75], abs=0.01)


def test_same_state_same_numbers() -> None:
    X, y = IRIS
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    first, again, other = (quick(dropout=0.2, random_state=seed).fit(X, y).predict_proba(X) for seed in (1, 1, 2))
    unseeded, once_more = (quick(random_state=None).fit(X, y).predict_proba(X) for _ in range(2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert not np.array_equal(unseeded, once_more)
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_calculates_in_the_dtype_of_the_data(dtype: Any) -> None:
    X, y = IRIS
    assert quick().fit(X.astype(dtype), y).predict_proba(X).dtype == dtype


def test_partial_fit_goes_on_where_it_ended() -> None:
    """Epoch by epoch, with a pickle in between, is the same as all epochs at once."""
    X, y = IRIS
    options = {"normalization": "batch_norm", "batch_size": 32}
    model = quick(**options).partial_fit(X, y, [0, 1, 2])
    for _ in range(4):
        model = pickle.loads(pickle.dumps(model)).partial_fit(X, y)  # noqa: S301 (made here)
    at_once = quick(epochs=5, schedule="constant", **options).fit(X, y)
    assert np.array_equal(model.predict_proba(X), at_once.predict_proba(X))
    assert (model.history_, model.n_iter_) == (at_once.history_, 5)


def test_partial_fit_takes_rows_of_some_classes_and_needs_all_labels_at_first() -> None:
    X, y = IRIS
    model = quick()
    with pytest.raises(ValueError, match="needs classes"):
        model.partial_fit(X, y)
    with pytest.raises(ValueError, match="is not among the classes"):
        model.partial_fit(X, y, [0, 1])
    assert not hasattr(model, "network_")
    model.partial_fit(X[y == 1], y[y == 1], classes=[2, 1, 0])
    assert model.predict_proba(X).shape == (150, 3)
    with pytest.raises(ValueError, match=r"the label .*7.* is not among the classes \[0 1 2\]"):
        model.partial_fit(X[:1], [7])
    with pytest.raises(ValueError, match="must be those of the first call"):
        model.partial_fit(X, y, classes=[0, 1])


def test_early_stopping_keeps_the_best_weights() -> None:
    model = quick(epochs=500, early_stopping=3, validation_fraction=0.2, schedule="constant").fit(*IRIS)
    losses = [record["val_loss"] for record in model.history_]
    assert model.n_iter_ == len(model.loss_curve_) == int(np.argmin(losses)) + 1 + 3
    assert model.n_iter_ < 500


def test_rows_held_out_count_by_their_weights() -> None:
    """All rows are alike, so that the loss of those held out, half of each class, follows from the probabilities."""
    y = np.arange(100) % 2
    model = quick(early_stopping=3, epochs=2).fit(np.ones((100, 2)), y, sample_weight=1 + 2 * y)
    p = model.predict_proba(np.ones((1, 2)))[0]
    assert min(model.history_, key=lambda record: record["val_loss"])["val_loss"] == pytest.approx(
        -np.log(p) @ [0.25, 0.75]
    )


def test_objects_given_as_parameters_stay_as_they_are() -> None:
    """One activation object for two layers, one schedule and one optimizer for two fits: each works on its own copy."""
    relu, schedule = ReLU(), Step(every=2)
    model = NeuralNetClassifier((8, 8), activation=relu, schedule=schedule, epochs=3, random_state=0)
    by_name = NeuralNetClassifier((8, 8), activation="relu", schedule={"step": {"every": 2}}, epochs=3, random_state=0)
    X, y = IRIS
    assert np.array_equal(clone(model).fit(X, y).predict_proba(X), by_name.fit(X, y).predict_proba(X))
    assert np.array_equal(model.fit(X, y).predict_proba(X), by_name.predict_proba(X))
    assert model.activation is relu
    assert not hasattr(relu, "y")


def test_threads_measure_the_importance_of_features_as_one_does() -> None:
    model, (X, y) = quick().fit(*IRIS), IRIS
    interval = sys.getswitchinterval()
    try:
        sys.setswitchinterval(1e-6)
        with parallel_backend("threading"):
            threads = permutation_importance(model, X, y, n_repeats=60, n_jobs=4, random_state=0)
    finally:
        sys.setswitchinterval(interval)
    alone = permutation_importance(model, X, y, n_repeats=60, random_state=0)
    assert np.array_equal(threads.importances, alone.importances)


@pytest.mark.parametrize(("options", "message"), [
    ({"activation": "rellu"}, "did you mean relu"),
    ({"dropout": 1.5}, "rate must be"),
    ({"lr": -1}, "lr must be greater than 0"),
    ({"hidden_layers": 64}, r"hidden_layers must be a list of widths or layers, such as \[64\], got 64"),
    ({"early_stopping": 0}, "early_stopping must be a whole number of at least 1, got 0"),
    ({"early_stopping": 2, "validation_fraction": 0.001}, "leaves one side without a row"),
])  # fmt: skip
def test_says_which_parameter_is_wrong(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        quick(**options).fit(*IRIS)


@pytest.mark.parametrize("options", [{"activation": "rellu"}, {"optimizer": "sgd", "lr": 1e30}])
def test_a_fit_that_fails_changes_nothing(options: dict[str, Any]) -> None:
    X, y = IRIS
    model = quick().fit(X, y)
    before, proba = vars(model).copy(), model.predict_proba(X)
    with pytest.raises((ValueError, DivergedError)):
        model.set_params(**options).fit(X[:, :2], np.array(["a", "b", "c"])[y])
    assert vars(model).keys() == before.keys()
    assert (model.classes_.tolist(), model.n_features_in_) == ([0, 1, 2], 4)
    assert np.array_equal(model.predict_proba(X), proba)
    with pytest.raises((ValueError, DivergedError)):
        (unfitted := quick(**options)).fit(X, y)
    assert not hasattr(unfitted, "classes_")


def test_says_what_is_wrong_with_the_data() -> None:
    X, y = IRIS
    with pytest.raises(ValueError, match="at least two classes"):
        quick().fit(X[:10], y[:10])
    with pytest.raises(DivergedError, match="smaller lr"):
        quick(optimizer="sgd", loss="mean_squared_error", lr=1e6, epochs=50).fit(X, y)
