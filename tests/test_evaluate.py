"""What the evaluate stage measures, on numbers that can be checked by head."""

import math

import numpy as np
import pytest

from evaluate import evaluate, over_writers, predictions_csv
from pipeline.rows import Rows
from utils import wilson


def probabilities(*best: tuple[int, float]) -> np.ndarray:
    """Rows whose given digit has the given probability; the rest is shared by digit 9, or 8."""
    p = np.zeros((len(best), 10))
    for row, (digit, value) in zip(p, best, strict=True):
        row[digit], row[8 if digit == 9 else 9] = value, 1 - value
    return p


def test_metrics_of_three_right_and_one_wrong() -> None:
    metrics = evaluate(
        probabilities(*((digit, 0.75) for digit in range(4))),
        np.array([0, 1, 2, 9]),
        np.array([1, 2, 1, 2]),
        ece_bins=10,
    )
    assert metrics == {
        "n_test": 4,
        "test_log_loss": pytest.approx((3 * math.log(4 / 3) + math.log(4)) / 4, abs=1e-6),
        "test_accuracy": 0.75,
        "test_accuracy_low": pytest.approx(0.3006, abs=5e-5),  # of published tables
        "test_accuracy_high": pytest.approx(0.9544, abs=5e-5),
        "test_accuracy_people_low": 0.5,  # a quarter of the draws has the second writer twice
        "test_accuracy_people_high": 1,
        "test_macro_f1": 0.6,  # each digit alike: 1, 1, 1, 0 for the 3 and 0 for the 9
        "test_ece": 0,  # 75 % sure and 75 % right
        "test_left_to_a_person": 1,  # all are equally sure
    }
    metrics = evaluate(probabilities((0, 1.0)), np.array([5]), np.array([1]), ece_bins=15)
    assert 100 < metrics["test_log_loss"] < 1000
    assert "test_accuracy_people_low" not in metrics  # one writer tells nothing of others


def test_the_interval_over_writers_is_that_of_their_mean() -> None:
    rng = np.random.default_rng(0)
    writer = np.repeat(np.arange(400), 5)
    right = np.repeat(rng.random(400) < 0.8, 5)  # a writer is right or wrong as a whole: as good as one digit each
    assert over_writers(right, writer) == pytest.approx(wilson(right[::5].sum(), 400), abs=0.005)


def test_predictions_name_row_writer_and_probabilities() -> None:
    rows = Rows(np.zeros((1, 16), np.float32), np.array([9]), np.array([3]), np.array([7]))
    assert predictions_csv(rows, probabilities((1, 0.75))).decode().splitlines() == [
        "row,writer,digit,predicted,p0,p1,p2,p3,p4,p5,p6,p7,p8,p9",
        "7,3,9,1,0.000000,0.750000,0.000000,0.000000,0.000000,0.000000,0.000000,0.000000,0.000000,0.250000",
    ]
