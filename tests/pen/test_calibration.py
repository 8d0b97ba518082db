"""The temperature is the one that was put in; the share left to a person is the one that can be counted."""

import math

import numpy as np
import pytest

from pen.calibration import fit_temperature, rejection


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_the_temperature_of_labels_drawn_from_the_probabilities(temperature: float) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2 * temperature, (20_000, 5))
    y = (logits / temperature + rng.gumbel(size=logits.shape)).argmax(axis=1)  # drawn from softmax(logits / T)
    assert fit_temperature(logits, y) == pytest.approx(temperature, rel=0.03)


def test_two_thirds_right_no_rows_and_logits_of_a_row_that_grow_alike() -> None:
    # softmax([z, 0]) is 2/3 at z = log 2, so logits of 2 log 2 want a temperature of 2
    logits = np.array([[2 * math.log(2), 0.0]] * 3)
    assert fit_temperature(logits, np.array([0, 0, 1])) == pytest.approx(2)
    with pytest.raises(ValueError, match="at least one row"):
        fit_temperature(np.zeros((0, 10)), np.zeros(0, np.int64))
    logits = np.random.default_rng(1).normal(0, 3, (50, 4))
    y = np.arange(50) % 4
    assert fit_temperature(logits + 1000, y) == pytest.approx(fit_temperature(logits, y), rel=1e-6)


@pytest.mark.parametrize(("y", "limit"), [(0, 1 / 20), (1, 20)])
def test_always_right_or_always_wrong_ends_at_the_bounds(y: int, limit: float) -> None:
    assert fit_temperature(np.array([[3.0, 0.0]]), np.array([y])) == pytest.approx(limit, rel=1e-3)


CONFIDENCE = np.array([0.9, 0.5, 0.8, 0.6, 0.7])


@pytest.mark.parametrize(("right", "accuracy", "share", "threshold"), [
    ([1, 1, 1, 1, 1], 0.999, 0.0, 0.5),
    ([1, 0, 1, 1, 1], 0.999, 0.2, 0.6),  # the least sure is wrong
    ([1, 1, 1, 0, 1], 0.999, 0.4, 0.7),  # the least sure is right, but goes with the wrong one above it
    ([1, 1, 1, 0, 1], 0.8, 0.0, 0.5),
    ([0, 1, 1, 1, 1], 0.8, 0.0, 0.5),  # the surest is wrong: only many right ones make up for it
    ([0, 1, 1, 1, 1], 0.9, 1.0, math.inf),
])  # fmt: skip
def test_the_least_sure_go_to_a_person(right: list[int], accuracy: float, share: float, threshold: float) -> None:
    found = rejection(CONFIDENCE, np.array(right, bool), accuracy)
    assert (found.share, found.threshold) == (pytest.approx(share), threshold)


def test_equally_sure_rows_stay_together() -> None:
    found = rejection(np.array([0.9, 0.6, 0.6]), np.array([True, True, False]), 1.0)
    assert (found.share, found.threshold) == (pytest.approx(2 / 3), 0.9)
