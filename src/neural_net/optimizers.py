"""Optimizers: each turns a gradient into a change of the parameters, by a few lines of vector arithmetic.

``step`` is the same for all: clip the gradient, then shrink the weights and ``_update`` as the method says, block by
block of the network's parameter vector, so that a block's passes find it in the cache. In the steady state a step
allocates nothing.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from .base import Array, check, copy_like, make, of_type

_BLOCK = 32768  # numbers: five float32 vectors of these fit into a processor's second cache
_STEPS_UNTIL_FAINT = 100
_MOST_NUMBERS = 4
_VECTORS = ("_params", "_grads", "_decays", "_blocks")


class Optimizer:
    """What all optimizers share.

    Args:
        lr: the learning rate, a factor of every change.
        weight_decay: before the update, weights shrink by ``lr * weight_decay`` of themselves, apart from the gradient
            ("decoupled", Loshchilov and Hutter 2019); biases and normalisation do not.
        clip_norm: gradients longer than this are scaled down to it (Pascanu et al. 2013).
        clip_value: each number of the gradient is held within plus and minus this.
    """

    _states: tuple[str, ...] = ()  # the names of the vectors that the method remembers

    def __init__(
        self,
        lr: float = 0.001,
        weight_decay: float = 0.0,
        clip_norm: float | None = None,
        clip_value: float | None = None,
    ) -> None:
        check(lr > 0, self, f"lr must be greater than 0, got {lr}")
        check(weight_decay >= 0, self, f"weight_decay must be at least 0, got {weight_decay}")
        check(clip_norm is None or clip_norm > 0, self, f"clip_norm must be greater than 0, got {clip_norm}")
        check(clip_value is None or clip_value > 0, self, f"clip_value must be greater than 0, got {clip_value}")
        self.lr, self.weight_decay, self.clip_norm, self.clip_value = lr, weight_decay, clip_norm, clip_value
        self.t = 0
        self.state: dict[str, Array] = {}
        self._params: Array | None = None

    def step(self, params: Array, grads: Array, decays: Array | None = None, factor: float = 1.0) -> None:
        """Change ``params`` in place.

        Args:
            params, grads: vectors of one length; ``grads`` is changed too where clipping asks for it.
            decays: a vector with 1 where weight decay acts and 0 elsewhere; None: it acts everywhere.
            factor: what the schedule makes of the learning rate at this step.

        Raises:
            ValueError: if the steps before were on another number of parameters.
        """
        if not self.t:
            self._start(params)
        elif self._size != len(params):
            raise ValueError(
                f"{type(self).__name__} remembers {self.t} steps on {self._size} parameters and is now "
                f"handed {len(params)}; reset() makes it forget them"
            )
        self.t += 1
        lr = self.lr * factor
        if self.clip_value is not None:
            np.clip(grads, -self.clip_value, self.clip_value, out=grads)
        if self.clip_norm is not None:
            norm = _norm(grads)
            if norm > self.clip_norm:
                np.multiply(grads, self.clip_norm / norm, out=grads)
        if params is not self._params or grads is not self._grads or decays is not self._decays:
            self._cut(params, grads, decays)
        for block, gradient, decay, state in self._blocks:
            if self.weight_decay:
                (share,) = self._numbers(lr * self.weight_decay)
                shrink = np.multiply(block, share, out=state["scratch"])
                if decay is not None:
                    np.multiply(shrink, decay, out=shrink)
                np.subtract(block, shrink, out=block)
            self._update(block, gradient, lr, **state)
        if self.t % _STEPS_UNTIL_FAINT == 0:
            self._drop_the_faint()

    def _start(self, params: Array) -> None:
        self.state = {name: np.zeros_like(params) for name in self._states}
        self._size, self._scratch = len(params), np.empty(min(len(params), _BLOCK), params.dtype)
        self._params = None
        numbers = np.zeros(_MOST_NUMBERS, params.dtype)
        self._places = tuple(numbers[i, ...] for i in range(_MOST_NUMBERS))

    def _cut(self, params: Array, grads: Array, decays: Array | None) -> None:
        """Cut all vectors into blocks: once, and not in each step."""
        self._params, self._grads, self._decays, self._blocks = params, grads, decays, []
        for start in range(0, len(params), _BLOCK):
            part = slice(start, start + _BLOCK)
            state = {name: vector[part] for name, vector in self.state.items()}
            state["scratch"] = self._scratch[: len(params) - start]
            self._blocks.append((params[part], grads[part], None if decays is None else decays[part], state))

    def _numbers(self, *values: float) -> tuple[Array, ...]:
        """The numbers as arrays of shape () in the parameters' dtype, which hold until the next call.

        With them NumPy calculates as with Python's numbers, but begins in half the time: no types are to be resolved.
        """
        for place, value in zip(self._places, values, strict=False):
            place[...] = value
        return self._places[: len(values)]

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles hold what is remembered, once, and not the network's vectors."""
        return {name: value for name, value in vars(self).items() if name not in _VECTORS} | {"_params": None}

    def _drop_the_faint(self) -> None:
        """Make numbers of less than about 1e-28 in the remembered vectors 0, by rounding; others stay as they are.

        What a dead unit leaves behind would shrink step by step to numbers below 1e-38, with which a processor
        calculates a hundred times as slowly.
        """
        for vector in self.state.values():
            np.add(vector, 1e-20, out=vector)
            np.subtract(vector, 1e-20, out=vector)

    def _update(self, params: Array, grads: Array, lr: float, **state: Array) -> None:
        """The method itself, for a block of each vector: each number by itself, whatever its neighbours.

        The remembered vectors come by name, with ``scratch`` to write into.
        """
        raise NotImplementedError

    def get_state(self) -> dict[str, Any]:
        """What is remembered from step to step, to go on later; the vectors are the optimizer's own."""
        return {"t": self.t, "vectors": dict(self.state)}

    def set_state(self, params: Array, state: Mapping[str, Any]) -> None:
        """Take back what ``get_state`` gave; ValueError if that was of another optimizer, or for other parameters."""
        vectors = state["vectors"]
        if (
            type(state["t"]) is not int
            or not 0 <= state["t"] < 2**53
            or vectors.keys() != set(self._states if state["t"] else ())
        ):
            raise ValueError(f"not what {type(self).__name__} remembers: t = {state['t']}, {', '.join(vectors)}")
        kept = {name: copy_like(params, vectors[name]) for name in vectors}
        self._start(params)
        self.t, self.state, self._params = state["t"], kept, None

    def reset(self) -> None:
        """Forget all steps taken."""
        self.t, self.state = 0, {}


class SGD(Optimizer):
    """``w -= lr * g``; with momentum ``v = momentum * v + g``, ``w -= lr * v`` (Sutskever et al. 2013).

    With ``nesterov`` the velocity looks a step ahead: ``w -= lr * (g + momentum * v)``.
    """

    _states = ("velocity",)

    def __init__(
        self,
        lr: float = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        clip_norm: float | None = None,
        clip_value: float | None = None,
    ) -> None:
        super().__init__(lr, weight_decay, clip_norm, clip_value)
        check(0 <= momentum < 1, self, f"momentum must be at least 0 and less than 1, got {momentum}")
        check(momentum > 0 or not nesterov, self, "nesterov needs a momentum greater than 0")
        self.momentum, self.nesterov = momentum, nesterov

    def _update(  # type: ignore[override]
        self, params: Array, grads: Array, lr: float, velocity: Array, scratch: Array
    ) -> None:
        direction = grads
        if self.momentum:
            np.multiply(velocity, self.momentum, out=velocity)
            np.add(velocity, grads, out=velocity)
            direction = velocity
            if self.nesterov:
                np.multiply(velocity, self.momentum, out=scratch)
                direction = np.add(scratch, grads, out=scratch)
        np.multiply(direction, lr, out=scratch)
        np.subtract(params, scratch, out=params)


class Adagrad(Optimizer):
    """``s += g^2``, ``w -= lr * g / (sqrt(s) + eps)`` (Duchi et al. 2011)."""

    _states = ("squares",)

    def __init__(
        self,
        lr: float = 0.01,
        eps: float = 1e-10,
        weight_decay: float = 0.0,
        clip_norm: float | None = None,
        clip_value: float | None = None,
    ) -> None:
        super().__init__(lr, weight_decay, clip_norm, clip_value)
        check(eps > 0, self, f"eps must be greater than 0, got {eps}")
        self.eps = eps

    def _update(  # type: ignore[override]
        self, params: Array, grads: Array, lr: float, squares: Array, scratch: Array
    ) -> None:
        np.multiply(grads, grads, out=scratch)
        np.add(squares, scratch, out=squares)
        _divided_step(params, grads, squares, lr, self.eps, scratch)


class RMSProp(Optimizer):
    """``s = rho * s + (1 - rho) * g^2``, ``w -= lr * g / (sqrt(s) + eps)`` (Tieleman and Hinton 2012).

    With momentum ``v = momentum * v + g / (sqrt(s) + eps)``, ``w -= lr * v``.
    """

    _states = ("squares", "velocity")

    def __init__(
        self,
        lr: float = 0.001,
        rho: float = 0.99,
        momentum: float = 0.0,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        clip_norm: float | None = None,
        clip_value: float | None = None,
    ) -> None:
        super().__init__(lr, weight_decay, clip_norm, clip_value)
        check(0 <= rho < 1, self, f"rho must be at least 0 and less than 1, got {rho}")
        check(0 <= momentum < 1, self, f"momentum must be at least 0 and less than 1, got {momentum}")
        check(eps > 0, self, f"eps must be greater than 0, got {eps}")
        self.rho, self.momentum, self.eps = rho, momentum, eps

    def _update(  # type: ignore[override]
        self, params: Array, grads: Array, lr: float, squares: Array, velocity: Array, scratch: Array
    ) -> None:
        np.multiply(grads, grads, out=scratch)
        np.multiply(scratch, 1 - self.rho, out=scratch)
        np.multiply(squares, self.rho, out=squares)
        np.add(squares, scratch, out=squares)
        if not self.momentum:
            _divided_step(params, grads, squares, lr, self.eps, scratch)
            return
        np.sqrt(squares, out=scratch)
        np.add(scratch, self.eps, out=scratch)
        np.divide(grads, scratch, out=scratch)
        np.multiply(velocity, self.momentum, out=velocity)
        np.add(velocity, scratch, out=velocity)
        np.multiply(velocity, lr, out=scratch)
        np.subtract(params, scratch, out=params)


class Adam(Optimizer):
    """``m = b1 m + (1 - b1) g``, ``v = b2 v + (1 - b2) g^2``, ``w -= lr * mhat / (sqrt(vhat) + eps)``.

    b1 and b2 are ``beta1`` and ``beta2``; ``mhat = m / (1 - b1^t)`` and ``vhat = v / (1 - b2^t)`` undo the start from
    zero (Kingma and Ba 2015, algorithm 1).

    The code keeps ``M = m / (1 - b1)`` and ``V = v / (1 - b2)``, which saves a product each; the constants go into
    two numbers of the step: ``w -= a * M / (sqrt(V) + e)`` with ``c = sqrt((1 - b2^t) / (1 - b2))``,
    ``a = lr * c * (1 - b1) / (1 - b1^t)``, ``e = eps * c``.
    """

    _states = ("mean", "square")

    def __init__(
        self,
        lr: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        clip_norm: float | None = None,
        clip_value: float | None = None,
    ) -> None:
        super().__init__(lr, weight_decay, clip_norm, clip_value)
        check(0 <= beta1 < 1, self, f"beta1 must be at least 0 and less than 1, got {beta1}")
        check(0 <= beta2 < 1, self, f"beta2 must be at least 0 and less than 1, got {beta2}")
        check(eps > 0, self, f"eps must be greater than 0, got {eps}")
        self.beta1, self.beta2, self.eps = beta1, beta2, eps

    def _update(  # type: ignore[override]
        self, params: Array, grads: Array, lr: float, mean: Array, square: Array, scratch: Array
    ) -> None:
        b1, b2 = self.beta1, self.beta2
        c = math.sqrt((1 - b2**self.t) / (1 - b2))
        a = lr * c * (1 - b1) / (1 - b1**self.t)
        rate1, rate2, step, eps = self._numbers(b1, b2, a, self.eps * c)
        np.multiply(mean, rate1, out=mean)
        np.add(mean, grads, out=mean)
        np.multiply(grads, grads, out=scratch)
        np.multiply(square, rate2, out=square)
        np.add(square, scratch, out=square)
        _divided_step(params, mean, square, step, eps, scratch)


class AdamW(Adam):
    """``w -= lr * weight_decay * w``, then Adam's step (Loshchilov and Hutter 2019, algorithm 2).

    It is Adam whose weight decay is 0.01 unless told otherwise.
    """

    def __init__(
        self,
        lr: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        clip_norm: float | None = None,
        clip_value: float | None = None,
    ) -> None:
        super().__init__(lr, beta1, beta2, eps, weight_decay, clip_norm, clip_value)


class Lion(Optimizer):
    """``w -= lr * sign(b1 m + (1 - b1) g)``, then ``m = b2 m + (1 - b2) g`` (Chen et al. 2023, algorithm 2).

    b1 and b2 are ``beta1`` and ``beta2``. Every number moves by the whole learning rate, so that it wants to be a third
    to a tenth of Adam's.
    """

    _states = ("mean",)

    def __init__(
        self,
        lr: float = 1e-4,
        beta1: float = 0.9,
        beta2: float = 0.99,
        weight_decay: float = 0.0,
        clip_norm: float | None = None,
        clip_value: float | None = None,
    ) -> None:
        super().__init__(lr, weight_decay, clip_norm, clip_value)
        check(0 <= beta1 < 1, self, f"beta1 must be at least 0 and less than 1, got {beta1}")
        check(0 <= beta2 < 1, self, f"beta2 must be at least 0 and less than 1, got {beta2}")
        self.beta1, self.beta2 = beta1, beta2

    def _update(  # type: ignore[override]
        self, params: Array, grads: Array, lr: float, mean: Array, scratch: Array
    ) -> None:
        np.subtract(mean, grads, out=scratch)  # b m + (1 - b) g = b (m - g) + g
        np.multiply(scratch, self.beta1, out=scratch)
        np.add(scratch, grads, out=scratch)
        np.sign(scratch, out=scratch)
        np.multiply(scratch, lr, out=scratch)
        np.subtract(params, scratch, out=params)
        np.subtract(mean, grads, out=mean)
        np.multiply(mean, self.beta2, out=mean)
        np.add(mean, grads, out=mean)


def _norm(v: Array) -> float:
    """``sqrt(sum(v^2))``, also where squares overflow: a long gradient must be clipped, not lost."""
    with np.errstate(over="ignore"):
        square = float(np.dot(v, v))
    if math.isfinite(square):
        return math.sqrt(square)
    largest = float(np.abs(v).max())
    return largest * math.sqrt(float(np.dot(v / largest, v / largest))) if math.isfinite(largest) else largest


def _divided_step(params: Array, direction: Array, squares: Array, lr: Any, eps: Any, scratch: Array) -> None:
    """``params -= lr * direction / (sqrt(squares) + eps)``."""
    np.sqrt(squares, out=scratch)
    np.add(scratch, eps, out=scratch)
    np.divide(direction, scratch, out=scratch)
    np.multiply(scratch, lr, out=scratch)
    np.subtract(params, scratch, out=params)


OPTIMIZERS: dict[str, type[Optimizer]] = {
    "sgd": SGD,
    "adagrad": Adagrad,
    "rmsprop": RMSProp,
    "adam": Adam,
    "adamw": AdamW,
    "lion": Lion,
}


def make_optimizer(spec: Any, **defaults: Any) -> Optimizer:
    """An optimizer from its name, from ``{"name": {option: value}}``, or the object itself."""
    return of_type(Optimizer, "optimizer", make("optimizer", OPTIMIZERS, spec, **defaults))
