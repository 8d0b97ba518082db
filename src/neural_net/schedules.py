"""Schedules: how the learning rate changes during training.

A schedule is a function: after ``t`` of ``total`` epochs the learning rate is multiplied by ``factor(t, total)``.
Within an epoch ``t`` is a fraction.
"""

import math
from collections.abc import Mapping
from typing import Any

from .parts import Shown, make
from .values import check, check_below_1, check_count, check_positive, of_type


class Schedule(Shown):
    """The contract of all schedules."""

    def factor(self, t: float, total: float) -> float:
        """The learning rate's factor after ``t`` of ``total`` epochs, 0 <= t <= total."""
        raise NotImplementedError

    def during(self, t: float, step: float, total: float) -> float:
        """The factor of a training step that begins after ``t`` epochs and lasts ``step`` epochs."""
        return self.factor(t, total)

    def observe(self, metric: float) -> None:
        """Called after each epoch with the validation loss, or with the training loss if there is no validation."""

    def start(self) -> None:
        """Called when a training begins."""

    def get_state(self) -> dict[str, Any]:
        """Everything that ``observe`` has changed since ``start``, to resume a training later."""
        return {}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Restore the result of ``get_state``."""


class Constant(Schedule):
    """``factor = 1``."""

    def factor(self, t: float, total: float) -> float:
        return 1.0


_CONSTANT = Constant()


class Step(Schedule):
    """``factor = rate^floor(t / every)``."""

    def __init__(self, every: float = 10, rate: float = 0.5) -> None:
        check_positive(self, every=every)
        check(0 < rate <= 1, self, f"rate must be greater than 0 and at most 1, got {rate}")
        self.every, self.rate = every, rate

    def factor(self, t: float, total: float) -> float:
        return float(self.rate ** math.floor(t / self.every))


class Exponential(Schedule):
    """``factor = rate^t``."""

    def __init__(self, rate: float = 0.95) -> None:
        check(0 < rate <= 1, self, f"rate must be greater than 0 and at most 1, got {rate}")
        self.rate = rate

    def factor(self, t: float, total: float) -> float:
        return float(self.rate**t)


class Cosine(Schedule):
    """``factor = floor + (1 - floor) (1 + cos(pi t / total)) / 2`` (Loshchilov and Hutter 2017, eq. 5)."""

    def __init__(self, floor: float = 0.0) -> None:
        check(0 <= floor <= 1, self, f"floor must be at least 0 and at most 1, got {floor}")
        self.floor = floor

    def factor(self, t: float, total: float) -> float:
        return self.floor + (1 - self.floor) * (1 + math.cos(math.pi * t / total)) / 2


class CosineRestarts(Schedule):
    """``Cosine`` over a period of so many epochs, then again from 1 over the next: SGDR (Loshchilov and Hutter 2017).

    ``factor = floor + (1 - floor) (1 + cos(pi s / n)) / 2`` after s epochs of a period of n. The first n is ``period``,
    and each next one is ``growth`` times as long. The last period ends with the training, whole or not.
    """

    def __init__(self, period: int = 10, growth: int = 1, floor: float = 0.0) -> None:
        check_count(self, period=period, growth=growth)
        self.period, self.growth, self.cosine = period, growth, Cosine(floor)
        self.floor = floor

    def factor(self, t: float, total: float) -> float:
        n: float = self.period
        while self.growth > 1 and t >= n:
            t, n = t - n, n * self.growth
        return self.cosine.factor(t % n, n)


class Polynomial(Schedule):
    """``factor = floor + (1 - floor) (1 - t / total)^power``; a power of 1 is a straight line down."""

    def __init__(self, power: float = 1.0, floor: float = 0.0) -> None:
        check_positive(self, power=power)
        check(0 <= floor <= 1, self, f"floor must be at least 0 and at most 1, got {floor}")
        self.power, self.floor = power, floor

    def factor(self, t: float, total: float) -> float:
        return float(self.floor + (1 - self.floor) * max(1 - t / total, 0.0) ** self.power)


class OneCycle(Schedule):
    """Rise from ``1 / start_divisor`` to 1 during the share ``rise`` of the training, then fall far below the start.

    The last factor is ``1 / (start_divisor * end_divisor)``. Rise and fall are half cosines (Smith and Topin 2018, with
    PyTorch's defaults); ``lr`` is the peak.
    """

    def __init__(self, rise: float = 0.3, start_divisor: float = 25.0, end_divisor: float = 1e4) -> None:
        check(0 < rise < 1, self, f"rise must lie strictly between 0 and 1, got {rise}")
        check(start_divisor >= 1, self, f"start_divisor must be at least 1, got {start_divisor}")
        check(end_divisor >= 1, self, f"end_divisor must be at least 1, got {end_divisor}")
        self.rise, self.start_divisor, self.end_divisor = rise, start_divisor, end_divisor

    def factor(self, t: float, total: float) -> float:
        start, end, share = 1 / self.start_divisor, 1 / (self.start_divisor * self.end_divisor), t / total
        if share < self.rise:
            return _half_cosine(start, 1.0, share / self.rise)
        return _half_cosine(1.0, end, (share - self.rise) / (1 - self.rise))


def _half_cosine(first: float, last: float, share: float) -> float:
    return last + (first - last) * (1 + math.cos(math.pi * share)) / 2


class ReduceOnPlateau(Schedule):
    """``factor = max(rate * factor, floor)`` whenever the loss has not improved for more than ``patience`` epochs.

    A loss improves if it is less than ``(1 - threshold) * best``.
    """

    def __init__(self, rate: float = 0.1, patience: int = 10, threshold: float = 1e-4, floor: float = 0.0) -> None:
        check(0 < rate < 1, self, f"rate must lie strictly between 0 and 1, got {rate}")
        check(patience >= 0, self, f"patience must be at least 0, got {patience}")
        check_below_1(self, threshold=threshold)
        check(0 <= floor <= 1, self, f"floor must be at least 0 and at most 1, got {floor}")
        self.rate, self.patience, self.threshold, self.floor = rate, patience, threshold, floor
        self.start()

    def start(self) -> None:
        self.current, self.best, self.waited = 1.0, math.inf, 0

    def get_state(self) -> dict[str, Any]:
        return {"current": self.current, "best": self.best, "waited": self.waited}

    def set_state(self, state: Mapping[str, Any]) -> None:
        self.current, self.best, self.waited = float(state["current"]), float(state["best"]), int(state["waited"])

    def factor(self, t: float, total: float) -> float:
        return self.current

    def observe(self, metric: float) -> None:
        if metric < self.best * (1 - self.threshold):
            self.best, self.waited = metric, 0
        else:
            self.waited += 1
        if self.waited > self.patience:
            self.current, self.waited = max(self.current * self.rate, self.floor), 0


class Warmup(Schedule):
    """``factor = t / epochs`` at first, then ``schedule`` over the rest of the training (Goyal et al. 2017).

    A training step of the warm-up has the factor of its middle, because the first step would otherwise have 0.
    """

    def __init__(self, schedule: Any = _CONSTANT, epochs: float = 1.0) -> None:
        check_positive(self, epochs=epochs)
        self.schedule, self.epochs = make_schedule(schedule), epochs

    def start(self) -> None:
        self.schedule.start()

    def get_state(self) -> dict[str, Any]:
        return self.schedule.get_state()

    def set_state(self, state: Mapping[str, Any]) -> None:
        self.schedule.set_state(state)

    def factor(self, t: float, total: float) -> float:
        if t < self.epochs:
            return t / self.epochs
        return self.schedule.factor(*self._rest(t, total))

    def during(self, t: float, step: float, total: float) -> float:
        if t < self.epochs:
            return min(t + step / 2, self.epochs) / self.epochs
        t, total = self._rest(t, total)
        return self.schedule.during(t, step, total)

    def _rest(self, t: float, total: float) -> tuple[float, float]:
        """``t`` and ``total`` for the other schedule: without the warm-up."""
        return t - self.epochs, max(total - self.epochs, 1e-9)

    def observe(self, metric: float) -> None:
        self.schedule.observe(metric)


SCHEDULES: dict[str, type[Schedule]] = {
    "constant": Constant,
    "step": Step,
    "exponential": Exponential,
    "cosine": Cosine,
    "cosine_restarts": CosineRestarts,
    "polynomial": Polynomial,
    "one_cycle": OneCycle,
    "reduce_on_plateau": ReduceOnPlateau,
    "warmup": Warmup,
}


def make_schedule(spec: Any) -> Schedule:
    """A schedule from its name, from ``{"name": {option: value}}``, or the object itself."""
    return of_type(Schedule, "schedule", make("schedule", SCHEDULES, spec))
