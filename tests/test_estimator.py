"""Classifier and regressor keep scikit-learn's contract and train the same network as the rest of the project."""

import os
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from joblib import Parallel, delayed
from scipy.sparse import csr_array
from sklearn import config_context
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris, make_multilabel_classification
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.utils.estimator_checks import check_estimator

from estimator import NeuralNetClassifier, NeuralNetRegressor
from neural_net import LOSSES, OPTIMIZERS, SCHEDULES, DivergedError, ReLU, Step, save
from pipeline.params import Params

ROOT = Path(__file__).parents[1]

IRIS, DIGITS = load_iris(return_X_y=True), load_digits(return_X_y=True)


def quick(kind: Any = NeuralNetClassifier, **options: Any) -> Any:
    defaults: dict[str, Any] = {"hidden_layers": (16,), "lr": 0.02, "epochs": 5, "random_state": 0}
    return kind(**(defaults | options))


LR = {"sgd": 0.05, "adagrad": 0.05, "rmsprop": 0.005, "adam": 0.01, "adamw": 0.01, "lion": 0.002}
CLASSES, NUMBERS = (
    ["cross_entropy", "binary_cross_entropy", "focal", "mean_squared_error"],
    ["mean_squared_error", "mean_absolute_error", "huber"],
)


def configuration(i: int) -> Any:
    kind, losses = [(NeuralNetClassifier, CLASSES), (NeuralNetRegressor, NUMBERS)][i % 2]
    name = list(OPTIMIZERS)[i // 2 % len(OPTIMIZERS)]
    return kind(
        loss=losses[i // 2 % len(losses)],
        optimizer=name,
        lr=LR[name],
        clip_norm=1.0 if name == "sgd" else None,
        schedule=list(SCHEDULES)[i % len(SCHEDULES)],
        normalization=["none", "batch_norm", "layer_norm"][(i // 2 + 1) % 3],
    )


CONFIGURATIONS = [configuration(i) for i in range(20)]
CHECKED = [NeuralNetClassifier(), NeuralNetRegressor()]
CHECKED += [pytest.param(model, marks=pytest.mark.slow) for model in CONFIGURATIONS]
NOT_FOR_US = {"check_array_api_input", "check_classifiers_multilabel_output_format_decision_function"}


@pytest.mark.parametrize("model", CHECKED, ids=lambda model: re.sub(r"\s+", " ", repr(model)))
def test_keeps_every_rule_that_scikit_learn_checks(model: Any) -> None:
    results = check_estimator(model, on_skip=None, on_fail="raise")
    assert {result["check_name"] for result in results if result["status"] != "passed"} <= NOT_FOR_US
    assert len(results) > 50


def test_the_configurations_have_every_part() -> None:
    used = {name: {getattr(model, name) for model in CONFIGURATIONS} for name in ("loss", "optimizer", "schedule")}
    assert used == {"loss": set(LOSSES), "optimizer": set(OPTIMIZERS), "schedule": set(SCHEDULES)}


def test_the_repr_is_the_whole_code_however_long() -> None:
    model = NeuralNetRegressor([8] * 99, activation=ReLU(), lr=1)
    assert repr(model) == f"NeuralNetRegressor(hidden_layers={[8] * 99}, activation=ReLU(), lr=1)"


# The tests of scikit-learn's own networks that do not pass, and why
ANOTHER = {
    "test_fit": "writes the weights into attributes of its own before partial_fit",
    "test_gradient": "calls a private method of its own (make gradcheck checks ours)",
    "test_lbfgs_regression": "there is no L-BFGS, and Adam gets no R² of 0.98 from 200 steps",
    "test_lbfgs_classification_maxfun": "there is no L-BFGS, whose calls max_fun limits",
    "test_lbfgs_regression_maxfun": "there is no L-BFGS, whose calls max_fun limits",
    "test_partial_fit_errors": "there is no L-BFGS, which takes partial_fit away",
    "test_learning_rate_warmstart": "there is no schedule invscaling",
    "test_adaptive_learning_rate": "reduce_on_plateau does not end a training; reads a private attribute",
    "test_verbose_sgd": "verbose draws a bar instead of printing lines",
    "test_nonfinite_params": "NaN and infinity raise a DivergedError with other words",
    "test_mlp_diverging_loss": "NaN and infinity raise a DivergedError instead of scores of NaN",
    "test_warm_start": "other words for other classes",
    "test_early_stopping_stratified": "a class's only row is never held out, so no error about it",
    "test_mlp_vs_poisson_glm_equivalent": "there is no Poisson loss",
}


@pytest.mark.slow
def test_passes_the_tests_of_scikit_learns_own_networks(tmp_path: Path) -> None:
    """Loaded from the installed package; tests/tools/mlp_as_ours.py translates the names of the parameters."""
    paths = [str(ROOT / folder) for folder in ("src", "tests/tools")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OPENBLAS_NUM_THREADS": "1"}
    command = (
        "-m pytest -q -rA --tb=no -p no:cacheprovider -p mlp_as_ours --pyargs sklearn.neural_network.tests.test_mlp"
    )
    out = subprocess.run(
        [sys.executable, *command.split()], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    ).stdout
    results = re.findall(r"^(PASSED|FAILED|ERROR|SKIPPED).*?::(\w+)", out, re.MULTILINE)
    assert {name for result, name in results if result != "PASSED"} == set(ANOTHER), out
    assert sum(result == "PASSED" for result, _ in results) >= 44


FROM_THE_TOP = """
import pickle, sys
from src.neural_net.schedules import Step
from src.neural_net import Adam, ReLU
from src.estimator import NeuralNetClassifier
import src.estimator.base, src.neural_net.gradcheck, estimator, neural_net
model = NeuralNetClassifier(activation=ReLU(), optimizer=Adam(), schedule=Step(), epochs=1).fit([[0.0], [1.0]], [0, 1])
assert src.estimator is estimator and src.estimator.base is estimator.base
assert src.neural_net is neural_net and isinstance(model.network_, src.neural_net.Network)
assert src.neural_net.gradcheck is neural_net.gradcheck
assert b"src" not in pickle.dumps(model)
pickle.dump(model, open(sys.argv[1], "wb"))
"""
ALONE = """
import pickle, sys
model = pickle.load(open(sys.argv[1], "rb"))
assert model.fit([[0.0], [1.0]], [0, 1]).predict([[1.0]]).shape == (1,)
assert not {"custom", "utils", "sklearn.metrics", "sklearn.model_selection"} & set(sys.modules)
"""


def test_has_one_name_for_pickles_in_a_checkout_and_where_it_is_installed_alone(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    for package in ("neural_net", "estimator"):
        shutil.copytree(ROOT / "src" / package, tmp_path / package)
    for folder, code in ((ROOT, FROM_THE_TOP), (tmp_path, ALONE)):
        command = [sys.executable, "-W", "error", "-c", code, str(tmp_path / "model.pickle")]
        subprocess.run(command, cwd=folder, env=environment, check=True)


def test_reads_iris_with_its_defaults_whose_names_are_those_of_params_yaml() -> None:
    assert cross_val_score(NeuralNetClassifier(random_state=0), *IRIS, cv=5).mean() > 0.95
    of_scikit_learn = {"class_weight", "n_iter_no_change", "random_state", "shuffle", "tol", "verbose", "warm_start"}
    assert set(NeuralNetClassifier().get_params()) - of_scikit_learn <= set(Params.model_fields)
    assert NeuralNetRegressor().get_params().keys() < NeuralNetClassifier().get_params().keys()


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


def test_threads_predict_as_one_does() -> None:
    """With joblib's ``delayed``: scikit-learn's changes the filters of warnings, which the threads share."""
    model, rng = quick().fit(*IRIS), np.random.default_rng(0)
    rows = [IRIS[0][rng.permutation(150)[: 1 + i % 50]] for i in range(400)]
    interval = sys.getswitchinterval()
    try:
        sys.setswitchinterval(1e-6)
        threads = Parallel(n_jobs=4, backend="threading")(delayed(model.predict_proba)(X) for X in rows)
    finally:
        sys.setswitchinterval(interval)
    assert all(map(np.array_equal, threads, map(model.predict_proba, rows)))


@pytest.mark.parametrize(("options", "message"), [
    ({"activation": "rellu"}, "did you mean relu"),
    ({"dropout": 1.5}, "rate must be"),
    ({"lr": -1}, "lr must be greater than 0"),
    ({"hidden_layers": 64}, r"hidden_layers must be a list of widths or layers, such as \[64\], got 64"),
    ({"early_stopping": 0}, "early_stopping must be a whole number of at least 1, got 0"),
    ({"early_stopping": "5"}, "early_stopping must be a whole number of at least 1, got '5'"),
    ({"early_stopping": 2, "validation_fraction": 0.001}, "too small: validation_fraction=0.001 holds out 0 of 150"),
    ({"early_stopping": 2, "validation_fraction": "0.1"}, "validation_fraction must be a number .* got '0.1'"),
    ({"tol": -1}, "Classifier: tol must be a number of at least 0, or None, got -1"),
    ({"class_weight": {0: 0, 1: 0, 2: 0.0}}, "class_weight gives all rows the weight 0, got {0: 0, 1: 0, 2: 0.0}"),
    ({"class_weight": {0: "much"}}, "class_weight must be balanced or {label: weight} with .*, got {0: 'much'}"),
    ({"class_weight": "even"}, "class_weight must be .* got 'even'"),
])  # fmt: skip
def test_says_which_parameter_is_wrong(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        quick(**options).fit(*IRIS)


@pytest.mark.parametrize("options", [{"activation": "rellu"}, {"loss": "hinge"}, {"optimizer": "sgd", "lr": 1e30}])
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


def test_a_partial_fit_that_diverges_changes_nothing() -> None:
    X, y = IRIS
    model, twin = (quick(optimizer={"sgd": {"momentum": 0.9}}).partial_fit(X, y, [0, 1, 2]) for _ in range(2))
    with pytest.raises(DivergedError):
        model.set_params(batch_size=1).partial_fit(np.full((2, 4), 1e200), [0, 1])
    model.set_params(batch_size=64)
    assert np.array_equal(model.partial_fit(X, y).predict_proba(X), twin.partial_fit(X, y).predict_proba(X))


def test_says_what_is_wrong_with_the_data(tmp_path: Path) -> None:
    X, y = IRIS
    with pytest.raises(DivergedError, match="smaller lr"):
        quick(optimizer="sgd", loss="mean_squared_error", lr=1e6, epochs=50).fit(X, y)
    for rows in (["a", "b"], [["a"], ["b"]]):
        with pytest.raises(ValueError, match="Classifier: X must be numbers, got the text 'a'"):
            quick().fit(rows, [0, 1])
    with pytest.raises(ValueError, match="X and y must be numbers, got the text 'a'"):
        quick(NeuralNetRegressor).fit(X[:2], np.array(["a", "b"], dtype=object))
    with pytest.raises(ValueError, match="must be of type Network, got NeuralNetClassifier"):
        save(quick(), tmp_path)
    with pytest.raises(ValueError, match="y must have 1 numbers a row as before, got 3"):
        quick(NeuralNetRegressor).partial_fit(X, y).partial_fit(X, np.eye(3)[y])
    with pytest.raises(ValueError, match="rows of 0 and 1"):
        quick().fit(X, np.stack([y, y], 1))
    with pytest.raises(ValueError, match="multilabel needs binary_cross_entropy, got 'focal'"):
        quick(loss="focal").fit(X, np.eye(3)[y])
    with pytest.raises(ValueError, match="the loss 'focal' is for classes"):
        quick(NeuralNetRegressor, loss="focal").fit(X, y)
    with pytest.raises(ValueError, match="partial_fit cannot balance"):
        quick(class_weight="balanced").partial_fit(X, y, [0, 1, 2])


# Regression
@pytest.mark.parametrize(("loss", "level"), [("mean_squared_error", 4), ("mean_absolute_error", 0), ("huber", 1)])
def test_a_regressor_finds_the_level_that_has_the_least_loss(loss: str, level: float) -> None:
    """Of 0, 0 and 12 the mean is 4 and the median 0; 1 is Huber's level, where the slopes 1, 1 and 2 add up to 0."""
    spec = {"huber": {"delta": 2.0}} if loss == "huber" else loss
    options = {"loss": spec, "batch_size": "full", "epochs": 1000, "lr": 0.01}
    model = quick(NeuralNetRegressor, **options).fit(np.ones((3, 1)), [0, 0, 12])
    assert model.predict([[1.0]]) == pytest.approx([level], abs=0.1)


@pytest.mark.parametrize("shape", [(150,), (150, 1), (150, 3)])
def test_a_regressor_predicts_in_the_shape_of_y(shape: tuple[int, ...]) -> None:
    X, labels = IRIS
    y = np.eye(3)[labels][:, : shape[-1]].reshape(shape) if len(shape) > 1 else labels - 1.0
    model = quick(NeuralNetRegressor, epochs=150).fit(X.astype(np.float32), y)
    assert (model.predict(X).shape, model.predict(X).dtype) == (shape, np.float32)
    assert model.score(X, y) > 0.4
    assert model.partial_fit(X, y).n_iter_ == 151


# Weights
@pytest.mark.parametrize("kind", [NeuralNetClassifier, NeuralNetRegressor])
def test_rows_of_weight_0_are_absent_also_from_those_held_out(kind: Any) -> None:
    X, y = IRIS
    counts = np.arange(150) % 3 > 0
    model = quick(kind, early_stopping=3, normalization="batch_norm").fit(X, y, sample_weight=2.0 * counts)
    without = quick(kind, early_stopping=3, normalization="batch_norm").fit(X[counts], y[counts], np.full(100, 2.0))
    assert model.history_ == without.history_
    assert (model.validation_scores_, len(model.validation_scores_)) == (without.validation_scores_, 5)


@pytest.mark.parametrize("given", ["balanced", {"b": 3.0}, {"a": 0.0}])
def test_weights_of_classes_multiply_those_of_rows(given: Any) -> None:
    """Of rows that are all alike, the weights are 3 for "a" and 2 for "b" before those of the classes."""
    X, y, weight = np.ones((3, 2)), ["a", "b", "b"], [3.0, 1.0, 1.0]
    model = quick(epochs=300, class_weight=given).fit(X, y, sample_weight=weight)
    p = {"balanced": 1 / 2, "{'b': 3.0}": 3 / 9, "{'a': 0.0}": 0}[str(given)]
    assert model.predict_proba(X[:1])[0] == pytest.approx([p, 1 - p], abs=0.01)


def test_weights_of_rows_are_routed_as_scikit_learn_routes_them() -> None:
    """A score of 1 and a fit that knows class 0 only: the rows of other classes have the weight 0."""
    X, y = IRIS
    with config_context(enable_metadata_routing=True):
        model = quick(epochs=1).set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        search = GridSearchCV(model, {"lr": [0.01]}, cv=3, refit=False).fit(X, y, sample_weight=(y == 0) * 1.0)
    assert search.cv_results_["mean_test_score"] == [1.0]


@pytest.mark.parametrize("seed", range(3))
def test_a_chunk_whose_rows_weigh_more_moves_the_weights_more(seed: int) -> None:
    """All rows are alike, and half of all weight is of the 1 % that are 1: many chunks have none of these."""
    y, X, p = np.arange(6400) % 100 == 0, np.ones((64, 1)), []
    model = quick(hidden_layers=(), optimizer="sgd")
    for chunk in np.random.default_rng(seed).permutation(np.tile(y, 3)).reshape(-1, 64):
        model.partial_fit(X, chunk, [0, 1], np.where(chunk, 99.0, 1.0))
        p.append(model.predict_proba(X[:1])[0, 1])
    assert np.mean(p[100:]) == pytest.approx(0.5, abs=0.03)


# What else scikit-learn's networks can
def test_multilabel() -> None:
    X, y = make_multilabel_classification(100, random_state=0)
    model = quick(epochs=100, early_stopping=100).fit(X, y)
    proba = model.predict_proba(X)
    assert model.score(X, y) > 0.4
    assert np.array_equal(model.predict(X), proba > 0.5)
    assert proba == pytest.approx(1 / (1 + np.exp(-model.network_.outputs(X))))
    assert np.std(proba.sum(axis=1)) > 0.1
    assert model.validation_scores_[-1] in np.arange(11) / 10
    with pytest.raises(ValueError, match="always the same"):
        model.set_params(early_stopping=None).partial_fit(X, y[:, 0], classes=np.arange(5))


def test_one_class_and_sparse_rows() -> None:
    X, y = IRIS
    model = quick().fit(X[:9], ["only"] * 9)
    assert (model.predict(X[:1]).tolist(), model.predict_proba(X[:1]).tolist()) == (["only"], [[1.0]])
    assert np.array_equal(quick().fit(csr_array(X), y).predict_proba(csr_array(X)), quick().fit(X, y).predict_proba(X))


@pytest.mark.parametrize("loss", ["cross_entropy", "binary_cross_entropy"])
def test_logarithms_of_probabilities_do_not_end_at_0(loss: str) -> None:
    X, y = IRIS
    model = quick(loss=loss, epochs=30).fit(X, y)
    assert np.exp(model.predict_log_proba(X)).sum(axis=1) == pytest.approx(1)
    model.network_.layers[-1].b = [-1e4, 0, 1e4]
    assert np.isfinite(model.predict_log_proba(X)).all()
    assert model.predict_proba(X).tolist() == [[0, 0, 1]] * 150 or loss != "cross_entropy"


def test_warm_start_goes_on_with_the_weights() -> None:
    X, y = IRIS
    model = quick(warm_start=True, normalization="batch_norm", epochs=30).fit(X, y)
    first = model.loss_curve_
    model.set_params(epochs=2).fit(X, y)
    assert (model.loss_curve_[:30], len(model.history_), model.n_iter_) == (first, 32, 2)
    assert model.loss_curve_[30] < first[0] / 2
    assert [record["epoch"] for record in model.history_] == list(range(1, 33))
    with pytest.raises(ValueError, match=r"classes of the fit before, \[0 1 2\], got \[0 1\]"):
        model.fit(X[:100], y[:100])


@pytest.mark.parametrize(("first", "then", "message"), [
    ({"hidden_layers": (8,)}, {"hidden_layers": (16,)}, r"linear1 of \(4, 8\) and \(8,\), got .*\(4, 16\)"),
    ({"hidden_layers": (2, 6)}, {"hidden_layers": (6, 1)}, r"linear1 of \(4, 2\)"),  # as many parameters
    ({"normalization": "layer_norm"}, {"normalization": "batch_norm"}, "had layernorm1 of .*, got batchnorm1"),
    ({"hidden_layers": ()}, {"hidden_layers": (3,)}, "which had no more, got linear2"),
    ({}, {"dropout": 0.5, "activation": "tanh", "lr": 0.01}, None),
])  # fmt: skip
def test_warm_start_refuses_other_layers(first: dict[str, Any], then: dict[str, Any], message: str | None) -> None:
    model, (X, y) = quick(warm_start=True, **first).fit(*IRIS), IRIS
    if message is None:
        assert model.set_params(**then).fit(X, y).loss_curve_[5] < model.loss_curve_[0]
        return
    with pytest.raises(ValueError, match=message):
        model.set_params(**then).fit(X, y)


def test_a_training_ends_when_the_loss_falls_by_less_than_tol_or_warns() -> None:
    X, y = IRIS
    model = quick(epochs=500, tol=0.01, n_iter_no_change=4, schedule="constant").fit(X, y)
    best = np.minimum.accumulate(model.loss_curve_)
    assert 5 < model.n_iter_ < 500
    assert best[-5] - best[-1] <= 0.01
    assert (model.best_loss_, model.validation_scores_, model.best_validation_score_) == (best[-1], None, None)
    for options in ({"n_iter_no_change": np.inf}, {"early_stopping": True}):
        with pytest.warns(ConvergenceWarning, match="more than tol=0.0 after epochs=2; give it more"):
            quick(tol=0.0, epochs=2, **options).fit(X, y)


def test_early_stopping_measures_the_score_of_rows_held_out() -> None:
    X, y = IRIS
    model = quick(NeuralNetRegressor, epochs=200, early_stopping=True, n_iter_no_change=3).fit(X, y)
    losses = [record["val_loss"] for record in model.history_]
    assert len(model.validation_scores_) == model.n_iter_ == int(np.argmin(losses)) + 1 + 3
    assert int(np.argmax(model.validation_scores_)) == int(np.argmin(losses))
    assert (model.best_loss_, model.best_validation_score_) == (None, max(model.validation_scores_))
    with pytest.raises(ValueError, match="does not support early_stopping=True"):
        model.partial_fit(X, y)


def test_verbose_draws_a_bar(capsys: pytest.CaptureFixture[str]) -> None:
    quick(verbose=True).fit(*IRIS)
    assert "5/5" in (shown := capsys.readouterr().err)
    assert "train_loss=" in shown
