"""What the evaluate stage measures, on numbers that can be checked by head."""

import math

import numpy as np
import pytest

from evaluate import evaluate, expected_calibration_error, macro_f1, predictions_csv


def probabilities(*best: tuple[int, float]) -> np.ndarray:
    """Rows whose given digit has the given probability; the rest is shared by digit 9, or 8."""
    p = np.zeros((len(best), 10))
    for row, (digit, value) in zip(p, best, strict=True):
        row[digit], row[8 if digit == 9 else 9] = value, 1 - value
    return p


def test_metrics_of_three_right_and_one_wrong() -> None:
    p = probabilities((0, 0.75), (1, 0.75), (2, 0.75), (3, 0.75))
    metrics = evaluate(p, np.array([0, 1, 2, 9]), ece_bins=10)
    assert metrics["n_test"] == 4
    assert metrics["test_accuracy"] == 0.75
    assert metrics["test_loss"] == pytest.approx((3 * math.log(4 / 3) + math.log(4)) / 4, abs=1e-6)
    assert metrics["test_ece"] == 0  # 75 % sure and 75 % right
    assert metrics["test_macro_f1"] == pytest.approx(3 / 5, abs=1e-6)  # 1, 1, 1, 0 for the 3 and 0 for the 9


def test_calibration_error_adds_up_the_bins_gaps() -> None:
    p = probabilities((0, 0.9), (0, 0.9), (1, 0.6), (1, 0.6))
    # bin of 0.9: one of two right, gap 0.4; bin of 0.6: both right, gap 0.4
    assert expected_calibration_error(p, np.array([0, 5, 1, 1]), bins=10) == pytest.approx(0.4)
    # in one bin the gaps cancel: mean confidence 0.75, three of four right
    assert expected_calibration_error(p, np.array([0, 5, 1, 1]), bins=1) == pytest.approx(0)


def test_f1_counts_each_digit_alike() -> None:
    y, predicted = np.array([0, 0, 0, 1]), np.array([0, 0, 0, 0])
    assert macro_f1(y, predicted) == pytest.approx((6 / 7 + 0) / 2)


def test_impossible_truth_gives_a_large_but_finite_loss() -> None:
    metrics = evaluate(probabilities((0, 1.0)), np.array([5]), ece_bins=15)
    assert 100 < metrics["test_loss"] < 1000


def test_predictions_name_row_writer_and_probabilities() -> None:
    table = predictions_csv(np.array([7]), np.array([3]), np.array([9]), probabilities((1, 0.75))).decode()
    assert table.splitlines() == [
        "row,writer,digit,predicted,p0,p1,p2,p3,p4,p5,p6,p7,p8,p9",
        "7,3,9,1,0.000000,0.750000,0.000000,0.000000,0.000000,0.000000,0.000000,0.000000,0.000000,0.250000",
    ]
