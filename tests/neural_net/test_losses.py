"""Losses: values that can be checked by head or come from SciPy, and what they make of targets and weights."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from neural_net import (
    LOSSES,
    BinaryCrossEntropy,
    CrossEntropy,
    FocalLoss,
    Huber,
    Loss,
    MeanAbsoluteError,
    MeanSquaredError,
    make_loss,
)

LOG2, LOG3 = math.log(2), math.log(3)
LOGITS = arrays(np.float64, (6, 4), elements=st.floats(-30, 30))
LABELS = arrays(np.int64, 6, elements=st.integers(0, 3))


def value(loss: Loss, outputs: Any, y: Any, weight: Any = None) -> float:
    outputs = np.array(outputs, dtype=np.float64)
    weight = None if weight is None else np.array(weight, dtype=np.float64)
    return loss.forward(outputs, loss.targets(y, outputs.shape[1]), weight)


# Worked examples; exp(log 3) = 3, so that the softmax of (0, log 3) is (1/4, 3/4)
@pytest.mark.parametrize(("loss", "outputs", "y", "expected", "gradient"), [
    (CrossEntropy(), [[7, 7, 7]], [1], LOG3, [[1 / 3, -2 / 3, 1 / 3]]),  # equal logits: log n
    (CrossEntropy(), [[0, LOG3]], [0], 2 * LOG2, [[-0.75, 0.75]]),
    (CrossEntropy(), [[0, LOG3], [0, 0]], [1, 0], 1.5 * LOG2 - LOG3 / 2, [[0.125, -0.125], [-0.25, 0.25]]),
    (CrossEntropy(label_smoothing=0.5), [[0, LOG3]], [0], 2 * LOG2 - LOG3 / 4, [[-0.5, 0.5]]),
    (CrossEntropy(class_weights=[3, 1]), [[0, 0], [0, LOG3]], [0, 0], 1.5 * LOG2, [[-0.25, 0.25], [-0.375, 0.375]]),
    (CrossEntropy(class_weights=[3, 1]), [[0, 0], [0, LOG3]], [0, 1], (5 * LOG2 - LOG3) / 4, None),
    (MeanSquaredError(), [[1, 2], [3, 4]], [[1, 0], [0, 4]], 13 / 4, [[0, 1], [1.5, 0]]),
    (MeanSquaredError(), [[3], [5]], [1, 2], 13 / 2, [[2], [3]]),
    (MeanSquaredError(), [[0.5, 0.5]], [1], 0.25, [[0.5, -0.5]]),  # a class number is a row with a 1
    (MeanAbsoluteError(), [[1, 2], [3, 4]], [[1, 0], [5, 4]], 1, [[0, 0.25], [-0.25, 0]]),
    (Huber(), [[0.5, 4]], [[0, 1]], (0.125 + 2.5) / 2, [[0.25, 0.5]]),
    (Huber(delta=2), [[1], [-5]], [0, 0], (0.5 + 2 * 4) / 2, [[0.5], [-1]]),
    (BinaryCrossEntropy(), [[0], [LOG3]], [1, 0], 1.5 * LOG2, [[-0.25], [0.375]]),
    (BinaryCrossEntropy(), [[LOG3, -LOG3]], [[1, 1]], 2 * LOG2 - LOG3 / 2, [[-0.125, -0.375]]),
    (BinaryCrossEntropy(label_smoothing=0.5), [[LOG3, 0]], [0], (2 * LOG2 - 0.75 * LOG3 + LOG2) / 2, [[0, 0.125]]),
    (FocalLoss(), [[0, 0]], [0], LOG2 / 4, None),  # (1 - 1/2)^2 log 2
    (FocalLoss(), [[0, LOG3]], [0], 9 / 16 * 2 * LOG2, None),
    (FocalLoss(gamma=1), [[0, LOG3]], [1], (2 * LOG2 - LOG3) / 4, None),
])  # fmt: skip
def test_known_values(loss: Loss, outputs: Any, y: Any, expected: float, gradient: Any) -> None:
    assert value(loss, outputs, y) == pytest.approx(expected)
    if gradient is not None:
        np.testing.assert_allclose(loss.backward(), gradient, atol=1e-15)


@pytest.mark.parametrize(("loss", "n", "floor"), [
    (CrossEntropy(label_smoothing=0.5), 2, 2 * LOG2 - 0.75 * LOG3),  # the entropy of (3/4, 1/4)
    (BinaryCrossEntropy(label_smoothing=0.5), 3, 2 * LOG2 - 0.75 * LOG3),
    (CrossEntropy(label_smoothing=0.05), 10, -0.955 * math.log(0.955) - 0.045 * math.log(0.005)),
    (CrossEntropy(0.5, class_weights=[2, 6]), 2, (3 * LOG2 + 5 * math.log(10) - 9 * LOG3) / 8),
    *((loss(), 3, 0) for loss in LOSSES.values()),
])  # fmt: skip
def test_the_floor_is_the_value_where_the_slope_is_zero(loss: Loss, n: int, floor: float) -> None:
    assert loss.floor(n) == pytest.approx(floor)
    if floor:
        assert loss.backward() == pytest.approx(np.zeros((n, n)), abs=1e-15)


@given(LOGITS, LABELS)
def test_focal_loss_lies_between_nothing_and_the_cross_entropy(z: np.ndarray, y: np.ndarray) -> None:
    cross_entropy = value(CrossEntropy(), z, y)
    assert value(FocalLoss(gamma=0), z, y) == pytest.approx(cross_entropy, abs=1e-12)
    assert 0 <= value(FocalLoss(), z, y) <= value(FocalLoss(gamma=1), z, y) <= cross_entropy + 1e-12


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("loss", "wrong", "slope"), [
    (CrossEntropy(), 2000, 1), (CrossEntropy(label_smoothing=0.5), 1500, 0.75), (FocalLoss(), 2000, 1),
    (FocalLoss(gamma=0.5), 2000, 1), (FocalLoss(gamma=0), 2000, 1), (MeanSquaredError(), 1_000_000, 1000),
    (BinaryCrossEntropy(), 1000, 0.5), (MeanAbsoluteError(), 1000, 0.5), (Huber(0.5), 500, 0.25),
])  # fmt: skip
def test_stable_far_from_zero(loss: Loss, wrong: float, slope: float, dtype: type) -> None:
    z = np.array([[1000, -1000]], dtype)
    with np.errstate(all="raise", under="ignore"):
        right_value = loss.forward(z, loss.targets([0], 2, dtype))
        assert np.isfinite([right_value, *loss.backward()[0]]).all()
        assert loss.forward(z, loss.targets([1], 2, dtype)) == pytest.approx(wrong, rel=2e-3)
        gradient = loss.backward()
    assert (gradient[0], gradient.dtype) == (pytest.approx([slope, -slope], rel=2e-3), dtype)


# Targets
@pytest.mark.parametrize("y", [
    [1, 0, 2], (1.0, 0.0, 2.0), np.array([1, 0, 2], np.uint8), np.array([1, 0, 2], object),
    [[0, 1, 0], [1, 0, 0], [0, 0, 1]], np.asfortranarray([[0, 1, 0], [1, 0, 0], [0, 0, 1]]),
])  # fmt: skip
@pytest.mark.parametrize("name", LOSSES)
def test_targets_in_all_their_forms_are_the_same(name: str, y: Any) -> None:
    rows = make_loss(name).targets(y, 3, np.float32)
    assert (rows.tolist(), rows.dtype) == ([[0, 1, 0], [1, 0, 0], [0, 0, 1]], np.float32)
    assert rows.flags.c_contiguous


@pytest.mark.parametrize(("loss", "y", "message"), [
    (CrossEntropy(), [0, 3], "CrossEntropy expects class numbers from 0 to 2, got 0 to 3"),
    (CrossEntropy(), [-1, 0], "CrossEntropy expects class numbers from 0 to 2, got -1 to 0"),
    (FocalLoss(), [0.5, 1], "FocalLoss expects class numbers, got numbers that are not whole"),
    (CrossEntropy(), [math.nan, 1], "CrossEntropy expects class numbers, got numbers that are not whole"),
    (CrossEntropy(), ["a", "b"], "CrossEntropy's targets must be an array of numbers: .*'a'"),
    (CrossEntropy(), [[0], [1]], r"expects targets of shape \(rows, 3\), or class numbers, got shape \(2, 1\)"),
    (CrossEntropy(), [[1, 1, 0]], "rows of targets must be probabilities that add up to 1"),
    (CrossEntropy(), [[2, -1, 0]], "rows of targets must be probabilities that add up to 1"),
    (BinaryCrossEntropy(), [[1, 1.5, 0]], "BinaryCrossEntropy: the targets must be numbers from 0 to 1"),
    (MeanSquaredError(), [[1, math.inf, 0]], "MeanSquaredError: the targets hold NaN or infinity"),
    (MeanSquaredError(), [[1, 1e300, 0]], r"the targets hold 1e\+300 \(too large for float32\)"),
    (CrossEntropy(class_weights=[1, 2]), [0, 1], "CrossEntropy has 2 class_weights for 3 outputs"),
])  # fmt: skip
def test_targets_that_do_not_fit_are_named(loss: Loss, y: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        loss.targets(y, 3, np.float32)


def test_weights_of_classes_are_a_list() -> None:
    with pytest.raises(ValueError, match=r"class_weights must list a number for each class in order, got \{1: 5"):
        CrossEntropy(class_weights={1: 5.0, 2: 1.0, 3: 1.0})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("shape", [(3,), (1, 3), (3, 1), (0, 3)])
def test_arguments_of_two_shapes_do_not_broadcast(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=f"{type(make_loss(name)).__name__} expects rows of targets"):
        make_loss(name).forward(np.ones((shape[0] and 3, 3)), np.ones(shape))


@pytest.mark.parametrize(("spec", "message"), [
    ({"cross_entropy": {"label_smoothing": 1}}, "label_smoothing must be at least 0 and less than 1, got 1"),
    ({"cross_entropy": {"class_weights": [1, 0]}}, r"class_weights must be numbers greater than 0, got \[1, 0\]"),
    ({"cross_entropy": {"class_weights": []}}, "class_weights must be numbers greater than 0"),
    ({"focal": {"gamma": -1}}, "FocalLoss: gamma must be at least 0, got -1"),
    ({"huber": {"delta": 0}}, "Huber: delta must be greater than 0, got 0"),
    ({"binary_cross_entropy": {"label_smoothing": 1}}, "label_smoothing must be at least 0 and less than 1, got 1"),
    ("crossentrpy", r"loss must be one of .*did you mean cross_entropy\?"),
    (CrossEntropy, r"loss must be a name, .*, or an object, got <class .*; write CrossEntropy\(\.\.\.\)"),
])  # fmt: skip
def test_faulty_options_are_named(spec: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_loss(spec)


# Weights of samples
EVERY_LOSS = [
    *LOSSES, {"cross_entropy": {"label_smoothing": 0.2, "class_weights": [1, 2, 3, 4]}}, {"focal": {"gamma": 0.5}},
    {"huber": {"delta": 0.2}},
]  # fmt: skip


@given(LOGITS, LABELS, arrays(np.int64, 6, elements=st.integers(0, 3)).filter(lambda w: w.any()))
def test_a_weight_is_as_good_as_repeated_rows(z: np.ndarray, y: np.ndarray, weight: np.ndarray) -> None:
    for spec in EVERY_LOSS:
        loss, repeated = make_loss(spec), make_loss(spec)
        once = value(loss, z, y, weight)
        assert once == pytest.approx(value(repeated, np.repeat(z, weight, 0), np.repeat(y, weight)), abs=1e-9)
        sums = np.zeros_like(z)
        np.add.at(sums, np.repeat(np.arange(6), weight), repeated.backward())
        np.testing.assert_allclose(loss.backward(), sums, atol=1e-9)


@pytest.mark.parametrize("spec", EVERY_LOSS)
def test_weights_of_nothing_but_0_say_nothing(spec: Any) -> None:
    loss = make_loss(spec)
    assert value(loss, np.eye(4), [3, 2, 1, 0], np.zeros(4)) == 0
    assert not loss.backward().any()
