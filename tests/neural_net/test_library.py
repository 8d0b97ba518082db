"""What holds for the library as a whole: what it imports, and what it explains."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import neural_net
from neural_net import (
    ACTIVATIONS,
    INITIALIZERS,
    LAYERS,
    LOSSES,
    OPTIMIZERS,
    SCHEDULES,
    UnknownNameError,
    make_activation,
    make_layer,
    make_loss,
    make_optimizer,
    make_schedule,
)
from neural_net.names import OTHER_NAMES, OTHER_OPTIONS, own_name
from neural_net.parts import options

FOLDER = Path(neural_net.__file__).parent
TREES = {path.name: ast.parse(path.read_text()) for path in sorted(FOLDER.glob("*.py"))}
PARTS = {**ACTIVATIONS, **LAYERS, **LOSSES, **INITIALIZERS, **OPTIMIZERS, **SCHEDULES}
BUILT_IN = {name: part for name, part in PARTS.items() if part.__module__.startswith("neural_net")}


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield (node.module or "").split(".")[0]


@pytest.mark.parametrize("name", TREES)
def test_it_imports_numpy_and_the_standard_library_only(name: str) -> None:
    optional = {"blas.py": {"threadpoolctl"}, "onnx_export.py": {"onnx"}}.get(name, set())
    assert set(imports(TREES[name])) <= {"numpy", *sys.stdlib_module_names} | optional


# Names
SPECS = {
    make_activation: ["identity Identity linear Linear", "leaky_relu lrelu LReLU"],
    make_layer: ["leaky_relu LeakyReLU leakyrelu LEAKY-RELU", "silu swish SiLU Swish", "sigmoid logistic",
                 "max_pool1d MaxPool1D MaxPooling1D", "batch_norm BatchNorm batchnorm BatchNorm1d"],
    make_loss: ["mean_squared_error mse MSE MSELoss MeanSquaredError squared_error L2", "focal FocalLoss",
                "mean_absolute_error mae MAE L1Loss l1", "binary_cross_entropy BCE BCEWithLogitsLoss",
                "cross_entropy nll softmax_cross_entropy CrossEntropyLoss log_loss logloss LogLoss",
                "huber SmoothL1Loss"],
    make_optimizer: ["adamw AdamW", "rmsprop RMSProp rms_prop"],
    make_schedule: ["one_cycle OneCycle onecycle", "cosine CosineAnnealingLR", "reduce_on_plateau ReduceLROnPlateau",
                    "polynomial linear"],
    lambda init: make_layer({"linear": {"n_out": 3, "init": init}}): ["he_normal HeNormal kaiming_normal", "auto Auto"],
    lambda dense: make_layer({dense: {"n_out": 3}}): ["linear Linear dense Dense"],
    lambda option: make_layer({"linear": {option: 3}}): ["n_out units Units out_features width"],
    lambda option: make_optimizer({"adam": {option: 0.5}}): ["lr learning_rate learningRate LR", "eps epsilon"],
    lambda option: make_optimizer({"rmsprop": {option: 0.5}}): ["rho alpha"],
    lambda option: make_layer({"leaky_relu": {option: 0.5}}): ["slope negative_slope alpha"],
    lambda option: make_layer({"elu": {option: 0.5}}): ["alpha Alpha"],
    lambda option: make_layer({"max_pool1d": {option: 3}}): ["size pool_size kernel_size"],
    lambda option: make_layer({"dropout": {option: 0.25}}): ["rate p"],
}  # fmt: skip


@pytest.mark.parametrize(("make", "names"), [(make, line.split()) for make, lines in SPECS.items() for line in lines])
def test_a_part_goes_by_its_own_name_in_any_case_and_by_the_fields_others(make: Any, names: list[str]) -> None:
    assert len({repr(make(name)) for name in names}) == 1


@pytest.mark.parametrize(("make", "message"), [
    (lambda: neural_net.Adam("0.1"), "Adam: lr must be a finite number, got '0.1'"),  # type: ignore[arg-type]
    (lambda: neural_net.SGD(momentum="a"), "SGD: momentum must be a finite number, got 'a'"),  # type: ignore[arg-type]
    (lambda: neural_net.Dropout("a"), "Dropout: rate must be a finite number, got 'a'"),  # type: ignore[arg-type]
    (lambda: neural_net.Reshape(2), "Reshape: shape must be a list of whole numbers, got 2"),  # type: ignore[arg-type]
    (lambda: neural_net.Huber(None), "Huber: delta must be a finite number, got None"),  # type: ignore[arg-type]
    (lambda: neural_net.Polynomial(floor="a"), "Polynomial: floor must be a finite number, got 'a'"),  # type: ignore[arg-type]
    (lambda: neural_net.WeightAverage([1]), r"WeightAverage: decay must be a finite number, got \[1\]"),  # type: ignore[arg-type]
])  # fmt: skip
def test_an_option_of_the_wrong_type_is_named(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_every_other_name_is_of_one_part_of_its_table_and_hides_none() -> None:
    tables = (ACTIVATIONS, LAYERS, LOSSES, INITIALIZERS, OPTIMIZERS, SCHEDULES)
    others = {(other, name): table for table in tables for name in table for other in OTHER_NAMES.get(name, [])}
    assert [(other, own_name(table, other)) for (other, _), table in others.items()] == list(others)
    assert PARTS.keys() >= OTHER_NAMES.keys()
    assert {option for part in PARTS.values() for option in options(part)} >= OTHER_OPTIONS.keys()


@pytest.mark.parametrize(("given", "message"), [
    ({"lr": 1, "learning_rate": 2}, "optimizer adam takes the option lr once, got 'lr', 'learning_rate'"),
    ({"learing_rate": 1}, "must be one of amsgrad, .*, got 'learing_rate'"),
    ({"beta_3": 1}, r"got 'beta_3' \(did you mean beta"),
])  # fmt: skip
def test_an_option_has_one_name_at_a_time(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_optimizer({"adam": given})


@pytest.mark.parametrize("name", ["", "_", "lin ear2", 5, "mse"])
def test_no_other_name_is_understood(name: Any) -> None:
    with pytest.raises(UnknownNameError, match=f"layer must be one of average_pool1d, .*, got {name!r}"):
        make_layer({name: {}})


# Documentation


def test_everything_named_for_export_is_there_and_explained_and_no_part_is_left_out() -> None:
    assert all(getattr(neural_net, name).__doc__ for name in neural_net.__all__)
    classes = {part.__name__ for part in BUILT_IN.values() if isinstance(part, type)}
    assert classes <= set(neural_net.__all__)
