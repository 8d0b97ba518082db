"""Schedules: their shapes, and what warm-up and plateaus make of them."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neural_net import ReduceOnPlateau, Schedule, Step, Warmup, make_schedule

TOTALS = st.floats(1, 1000)
SHARES = st.floats(0, 1)
PLAIN = [
    "constant",
    {"exponential": {"rate": 0.9}},
    {"cosine": {"floor": 0.25}},
    "one_cycle",
    "polynomial",
    "cosine_restarts",
]


@pytest.mark.parametrize(("spec", "factors"), [
    ("constant", {0: 1, 50: 1, 100: 1}),
    ({"step": {"every": 40, "rate": 0.5}}, {0: 1, 39.99: 1, 40: 0.5, 79.9: 0.5, 80: 0.25, 100: 0.25}),
    ({"exponential": {"rate": 0.25}}, {0: 1, 0.5: 0.5, 1: 0.25, 2: 0.0625}),
    ("cosine", {0: 1, 50: 0.5, 100: 0}),
    ({"cosine": {"floor": 0.2}}, {0: 1, 50: 0.6, 100: 0.2}),
    ({"polynomial": {"power": 2, "floor": 0.2}}, {0: 1, 50: 0.4, 100: 0.2}),
    ({"cosine_restarts": {"period": 20, "floor": 0.2}}, {0: 1, 10: 0.6, 20: 1, 30: 0.6, 80: 1, 90: 0.6, 100: 1}),
    ({"cosine_restarts": {"period": 10, "growth": 3}}, {0: 1, 5: 0.5, 10: 1, 25: 0.5, 40: 1, 85: 0.5}),
    ({"one_cycle": {"rise": 0.2, "start_divisor": 5, "end_divisor": 2}}, {0: 0.2, 10: 0.6, 20: 1, 60: 0.55, 100: 0.1}),
    ({"warmup": {"epochs": 4}}, {0: 0, 1: 0.25, 3: 0.75, 4: 1, 100: 1}),
    ({"warmup": {"epochs": 20, "schedule": "cosine"}}, {0: 0, 10: 0.5, 20: 1, 60: 0.5, 100: 0}),
])  # fmt: skip
def test_known_values(spec: Any, factors: dict[float, float]) -> None:
    schedule = make_schedule(spec)
    assert {t: schedule.factor(t, 100) for t in factors} == pytest.approx(factors)


@given(st.sampled_from(PLAIN), st.floats(1, 100), SHARES, st.floats(0.1, 50))
def test_warmup_comes_before_any_and_delays_it(spec: Any, rest: float, share: float, epochs: float) -> None:
    warm, plain = Warmup(spec, epochs), make_schedule(spec)
    assert warm.factor(share * epochs * 0.999, rest + epochs) == pytest.approx(share * 0.999)
    assert warm.factor(epochs, rest + epochs) == pytest.approx(plain.factor(0, rest))
    t = share * rest
    assert warm.factor(epochs + t, epochs + rest) == pytest.approx(plain.factor(t, rest), abs=1e-6)


@pytest.mark.parametrize(("steps", "factors"), [
    (1, [0.5, 1, 0.5]),  # full batches: one step is the whole warm-up
    (2, [0.25, 0.75, 1, 0.75, 0.5]), (4, [0.125, 0.375, 0.625, 0.875, 1, 0.875, 0.75]),
])  # fmt: skip
def test_no_step_of_a_warmup_is_lost(steps: int, factors: list[float]) -> None:
    schedule = Warmup(_Falling(), epochs=1)
    assert [schedule.during(k / steps, 1 / steps, 3) for k in range(len(factors))] == factors


class _Falling(Schedule):
    def factor(self, t: float, total: float) -> float:
        return 1 - t / total


def test_a_step_that_outlasts_the_warmup_is_not_above_it() -> None:
    assert Warmup(epochs=0.25).during(0, 1, 10) == 1


def observe(schedule: Any, losses: list[float]) -> list[float]:
    """The factor of each epoch, and after the last."""
    schedule.start()
    factors = [schedule.factor(0, len(losses))]
    for t, loss in enumerate(losses):
        schedule.observe(loss)
        factors.append(schedule.factor(t + 1, len(losses)))
    return factors


def test_plateaus() -> None:
    schedule = ReduceOnPlateau(rate=0.5, patience=2, threshold=0.1)
    losses = [10, 9.5, 9.2, 9.1, 8, 8, 8, 7, 7, 7, 7]
    #             three that improve by less than a tenth;  two waits, then better;  three waits again
    assert observe(schedule, losses) == [1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.25]
    schedule = ReduceOnPlateau(rate=0.1, patience=0, floor=0.05)
    for _ in range(2):
        assert observe(schedule, [1, 1, 1, 1]) == [1, 1, 0.1, 0.05, 0.05]
    schedule = Warmup({"reduce_on_plateau": {"rate": 0.5, "patience": 0}}, epochs=2)
    for _ in range(2):
        assert observe(schedule, [5, 4, 4, 3]) == [0, 0.5, 1, 0.5, 0.5]


@given(st.integers(1, 50), st.integers(1, 40))
def test_a_step_comes_at_the_start_of_its_epoch(every: int, steps: int) -> None:
    """Training counts epochs as step / steps_per_epoch, which must not round across the jump."""
    schedule = Step(every=every, rate=0.5)
    assert schedule.factor((every * steps) / steps, 100) == 0.5
    assert schedule.factor((every * steps - 1) / steps, 100) == 1


@pytest.mark.parametrize(("spec", "message"), [
    ({"step": {"every": 0}}, "Step: every must be greater than 0, got 0"),
    ({"step": {"rate": 1.5}}, "Step: rate must be greater than 0 and at most 1, got 1.5"),
    ({"exponential": {"rate": 0}}, "Exponential: rate must be greater than 0 and at most 1, got 0"),
    ({"cosine": {"floor": 2}}, "Cosine: floor must be at least 0 and at most 1, got 2"),
    ({"cosine_restarts": {"period": 2.5}}, "CosineRestarts: period must be a whole number of at least 1, got 2.5"),
    ({"cosine_restarts": {"floor": 2}}, "floor must be at least 0 and at most 1, got 2"),
    ({"polynomial": {"power": 0}}, "Polynomial: power must be greater than 0, got 0"),
    ({"polynomial": {"floor": 2}}, "Polynomial: floor must be at least 0 and at most 1, got 2"),
    ({"one_cycle": {"rise": 1}}, "OneCycle: rise must lie strictly between 0 and 1, got 1"),
    ({"one_cycle": {"start_divisor": 0.5}}, "OneCycle: start_divisor must be at least 1, got 0.5"),
    ({"one_cycle": {"end_divisor": 0}}, "OneCycle: end_divisor must be at least 1, got 0"),
    ({"reduce_on_plateau": {"rate": 1}}, "ReduceOnPlateau: rate must lie strictly between 0 and 1, got 1"),
    ({"reduce_on_plateau": {"patience": -1}}, "ReduceOnPlateau: patience must be at least 0, got -1"),
    ({"reduce_on_plateau": {"threshold": 1}}, "ReduceOnPlateau: threshold must be at least 0 and less than 1"),
    ({"reduce_on_plateau": {"floor": -1}}, "ReduceOnPlateau: floor must be at least 0 and at most 1, got -1"),
    (math.cos, "schedule must be of type Schedule, got <built-in function cos>"),
    ({"warmup": {"epochs": 0}}, "Warmup: epochs must be greater than 0, got 0"),
])  # fmt: skip
def test_faulty_options_are_named(spec: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_schedule(spec)
