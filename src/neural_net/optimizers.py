"""Optimizers: each turns a gradient into a change of the parameters, by a few lines of vector arithmetic.

``step`` is the same for all: clip the gradient, shrink the weights, then ``_update`` as the method says. It works on
one block of the parameter vector after the other, so that a block stays in the processor's cache meanwhile. After the
first step, a step allocates no memory.
"""

import copy
import math
from collections.abc import Iterable, Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

import numpy as np

from .memory import aligned, aligned_copy
from .parts import Shown, make
from .values import Array, check, check_below_1, check_positive, copy_like, of_type

_BLOCK = 49152  # numbers: five float32 vectors of these fit into a processor's second cache
_STEPS_UNTIL_ROUNDING = 100
Block = tuple[Array, Array, list[Array], dict[str, Array]]  # of params, of grads, what decays of params, what is kept
_VECTORS = ("_params", "_grads", "_decays", "_blocks", "_frozen")


@dataclass(eq=False, repr=False)
class Optimizer(Shown):
    """The base of all optimizers, and the options that they share.

    Args:
        lr: the learning rate, a factor of every change.
        weight_decay: before the update, weights are multiplied by ``1 - lr * weight_decay``, separately from the
            gradient ("decoupled", Loshchilov and Hutter 2019). Biases and normalization do not shrink.
        clip_norm: a longer gradient is scaled down to this length (Pascanu et al. 2013).
        clip_value: each number of the gradient is clipped to between minus and plus this.
    """

    lr: float = 0.001
    _: KW_ONLY
    weight_decay: float = 0.0
    clip_norm: float | None = None
    clip_value: float | None = None

    _states: ClassVar[tuple[str, ...]] = ()  # the names of the vectors that the method keeps from step to step

    def __post_init__(self) -> None:
        """Check the options, and start without any steps taken."""
        check_positive(self, lr=self.lr)
        check(self.weight_decay >= 0, self, f"weight_decay must be at least 0, got {self.weight_decay}")
        clips = {"clip_norm": self.clip_norm, "clip_value": self.clip_value}
        check_positive(self, **{name: clip for name, clip in clips.items() if clip is not None})
        self.t = 0
        self.state: dict[str, Array] = {}
        self._params: Array | None = None
        self._owner: object = None

    def belong(self, owner: object) -> None:
        """Work for this owner from now on, and forget the steps taken for another."""
        if self._owner not in (None, owner):
            self.reset()
        self._owner = owner

    def step(
        self,
        params: Array,
        grads: Array,
        decays: Array | None = None,
        factor: float = 1.0,
        trained: tuple[slice, ...] | None = None,
    ) -> None:
        """Change ``params`` in place.

        Args:
            params, grads: vectors of one length; clipping changes ``grads`` too.
            decays: a vector with 1 where weight decay acts and 0 elsewhere; None: it acts everywhere. Its numbers are
                read in the first step with these vectors.
            factor: the schedule's factor of the learning rate for this step.
            trained: the parts to change, in order; the gradients of the others become 0. None: all.

        Raises:
            ValueError: if the earlier steps were on another number of parameters.
        """
        left, rates = self._begin(params, grads, decays, factor, trained)
        self._change(self._blocks, left, rates)
        self._end()

    def _begin(
        self, params: Array, grads: Array, decays: Array | None, factor: float, trained: tuple[slice, ...] | None
    ) -> tuple[float, dict[str, float]]:
        """Count the step and clip the gradient; returns the share that decay leaves of a weight, and ``_rates``."""
        if not self.t:
            self._start(params)
        elif self._size != len(params):
            raise ValueError(
                f"{type(self).__name__} remembers {self.t} steps on {self._size} parameters and is now "
                f"handed {len(params)}; reset() makes it forget them"
            )
        self.t += 1
        lr = float(self.lr * factor)
        same = params is self._params and grads is self._grads and decays is self._decays and trained == self._trained
        if not same:
            self._cut(params, grads, decays, trained)
        for gradient in self._frozen:
            gradient.fill(0)
        if self.clip_value is not None:
            np.clip(grads, -self.clip_value, self.clip_value, out=grads)
        if self.clip_norm is not None:
            norm = _norm(grads)
            if norm > self.clip_norm:
                grads *= self.clip_norm / norm
        return 1 - lr * self.weight_decay, self._rates(lr)

    def _change(self, blocks: Iterable[Block], left: Any, rates: Mapping[str, Any]) -> None:
        """Shrink and update each block."""
        for block, gradient, decaying, state in blocks:
            for weights in decaying if self.weight_decay else ():
                weights *= left
            self._update(block, gradient, **rates, **state)

    def _end(self) -> None:
        if self.t % _STEPS_UNTIL_ROUNDING == 0:
            self._round_to_zero()

    def _rates(self, lr: float) -> dict[str, float]:
        """The numbers of this step that ``_update`` takes by name; those that depend on ``t`` belong here."""
        return {"lr": lr}

    def _update(self, params: Array, grads: Array, **state: Any) -> None:
        """The method itself, on one block of each vector. Each number is updated independently of the others.

        The numbers of ``_rates`` and the vectors named by ``_kept`` come as keyword arguments; ``scratch`` is a vector
        to write into.
        """
        raise NotImplementedError

    def _kept(self) -> tuple[str, ...]:
        """The names of the vectors that the method keeps with its present options."""
        return self._states

    def _start(self, params: Array) -> None:
        """Make the vectors that the method keeps, filled with 0."""
        self.state = {name: aligned_copy(np.zeros_like(params)) for name in self._kept()}
        self._size, self._scratch = len(params), aligned((min(len(params), _BLOCK),), params.dtype)
        self._params = None

    def _cut(self, params: Array, grads: Array, decays: Array | None, trained: tuple[slice, ...] | None = None) -> None:
        """Cut the trained parts of all vectors into blocks, once instead of in every step."""
        self._params, self._grads, self._decays, self._trained = params, grads, decays, trained
        self._blocks, self._frozen = [], []
        end = 0
        for span in (slice(0, len(params)),) if trained is None else trained:
            self._frozen.append(grads[end : span.start])
            end = span.stop
            for start in range(span.start, end, _BLOCK):
                part = slice(start, min(start + _BLOCK, end))
                state = {name: vector[part] for name, vector in self.state.items()}
                state["scratch"] = self._scratch[: part.stop - start]
                self._blocks.append((params[part], grads[part], _decaying(params[part], decays, part), state))
        self._frozen = [gradient for gradient in (*self._frozen, grads[end:]) if len(gradient)]

    def _round_to_zero(self) -> None:
        """Turn numbers below about 1e-28 in the kept vectors into 0, by rounding; other numbers stay the same.

        The gradient of a dead unit is 0, so its kept numbers shrink step by step, to below 1e-38 at last. A processor
        is a hundred times slower with such numbers.
        """
        for vector in self.state.values():
            vector += 1e-20
            vector -= 1e-20

    def __copy__(self) -> "Optimizer":
        """A full copy: a shallow one would write into the original's vectors."""
        return copy.deepcopy(self)

    def __getstate__(self) -> dict[str, Any]:
        """Copy the kept vectors once, and leave out the network's."""
        return {name: value for name, value in vars(self).items() if name not in _VECTORS} | {"_params": None}

    def get_state(self) -> dict[str, Any]:
        """Everything that is kept from step to step, to continue later; the vectors are the optimizer's own."""
        return {"t": self.t, "vectors": dict(self.state)}

    def set_state(self, params: Array, state: Mapping[str, Any]) -> None:
        """Restore the result of ``get_state``; ValueError if it is of another optimizer or for other parameters."""
        vectors = state["vectors"]
        if (
            type(state["t"]) is not int
            or not 0 <= state["t"] < 2**53
            or vectors.keys() != set(self._kept() if state["t"] else ())
        ):
            raise ValueError(f"not what {type(self).__name__} remembers: t = {state['t']}, {', '.join(vectors)}")
        kept = {name: copy_like(params, vectors[name]) for name in vectors}
        self._start(params)
        self.t, self.state = state["t"], kept

    def reset(self) -> None:
        """Forget all steps taken."""
        self.t, self.state = 0, {}


@dataclass(eq=False, repr=False)
class SGD(Optimizer):
    """``w -= lr * g``; with momentum ``v = momentum * v + g``, ``w -= lr * v`` (Sutskever et al. 2013).

    With ``nesterov`` the velocity looks a step ahead: ``w -= lr * (g + momentum * v)``.
    """

    lr: float = 0.01
    _: KW_ONLY
    momentum: float = 0.0
    nesterov: bool = False

    _states = ("velocity",)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_below_1(self, momentum=self.momentum)
        check(self.momentum > 0 or not self.nesterov, self, "nesterov needs a momentum greater than 0")

    def _update(  # type: ignore[override]
        self, params: Array, grads: Array, lr: float, velocity: Array, scratch: Array
    ) -> None:
        direction = grads
        if self.momentum:
            velocity *= self.momentum
            velocity += grads
            direction = velocity
            if self.nesterov:
                np.multiply(velocity, self.momentum, out=scratch)
                direction = np.add(scratch, grads, out=scratch)
        params -= np.multiply(direction, lr, out=scratch)


@dataclass(eq=False, repr=False)
class Adagrad(Optimizer):
    """``s += g^2``, ``w -= lr * g / (sqrt(s) + eps)`` (Duchi et al. 2011)."""

    lr: float = 0.01
    _: KW_ONLY
    eps: float = 1e-10

    _states = ("squares",)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self, eps=self.eps)

    def _update(  # type: ignore[override]
        self, params: Array, grads: Array, lr: float, squares: Array, scratch: Array
    ) -> None:
        squares += np.multiply(grads, grads, out=scratch)
        direction = _divide_by_root(grads, squares, self.eps, scratch)
        direction *= lr
        params -= direction


@dataclass(eq=False, repr=False)
class RMSProp(Optimizer):
    """``s = rho * s + (1 - rho) * g^2``, ``w -= lr * g / (sqrt(s) + eps)`` (Tieleman and Hinton 2012).

    With momentum ``v = momentum * v + g / (sqrt(s) + eps)``, ``w -= lr * v``. With ``centered`` the variance takes the
    place of the mean square: ``m = rho * m + (1 - rho) * g``, ``sqrt(s - m^2)`` (Graves 2013, section 4.2).
    """

    _: KW_ONLY
    rho: float = 0.99
    momentum: float = 0.0
    eps: float = 1e-8
    centered: bool = False

    _states = ("squares", "velocity")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_below_1(self, rho=self.rho, momentum=self.momentum)
        check_positive(self, eps=self.eps)

    def _kept(self) -> tuple[str, ...]:
        return (*self._states, "mean") if self.centered else self._states

    def _update(  # type: ignore[override]
        self,
        params: Array,
        grads: Array,
        lr: float,
        squares: Array,
        velocity: Array,
        scratch: Array,
        mean: Array | None = None,
    ) -> None:
        np.multiply(grads, grads, out=scratch)
        scratch *= 1 - self.rho
        squares *= self.rho
        squares += scratch
        spread = squares
        if mean is not None:  # centered
            mean *= self.rho
            mean += np.multiply(grads, 1 - self.rho, out=scratch)
            np.multiply(mean, mean, out=scratch)
            spread = np.subtract(squares, scratch, out=scratch)
            np.maximum(spread, 0, out=spread)  # rounding may have made it less
        direction = _divide_by_root(grads, spread, self.eps, scratch)
        if self.momentum:
            velocity *= self.momentum
            velocity += direction
            direction = velocity
        params -= np.multiply(direction, lr, out=scratch)


@dataclass(eq=False, repr=False)
class Adam(Optimizer):
    """``m = b1 m + (1 - b1) g``, ``v = b2 v + (1 - b2) g^2``, ``w -= lr * mhat / (sqrt(vhat) + eps)``.

    b1 and b2 are ``beta1`` and ``beta2``; ``mhat = m / (1 - b1^t)`` and ``vhat = v / (1 - b2^t)`` correct for the start
    from zero (Kingma and Ba 2015, algorithm 1). With ``amsgrad`` the largest v so far takes the place of v, so that the
    steps for a number never grow again after a large gradient (Reddi et al. 2018, algorithm 2, in PyTorch's form).

    The code keeps ``M = m / (1 - b1)`` and ``V = v / (1 - b2)``, which saves two products for each number. The
    constants go into two numbers of the step: ``w -= a * M / (sqrt(V) + e)`` with ``c = sqrt((1 - b2^t) / (1 - b2))``,
    ``a = lr * c * (1 - b1) / (1 - b1^t)``, ``e = eps * c``.
    """

    _: KW_ONLY
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    amsgrad: bool = False

    _states = ("mean", "square")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_below_1(self, beta1=self.beta1, beta2=self.beta2)
        check_positive(self, eps=self.eps)

    def _kept(self) -> tuple[str, ...]:
        return (*self._states, "largest") if self.amsgrad else self._states

    def _rates(self, lr: float) -> dict[str, float]:
        b1, b2 = self.beta1, self.beta2
        c = math.sqrt((1 - b2**self.t) / (1 - b2))
        return {"a": lr * c * (1 - b1) / (1 - b1**self.t), "e": self.eps * c}

    def _update(  # type: ignore[override]
        self,
        params: Array,
        grads: Array,
        a: float,
        e: float,
        mean: Array,
        square: Array,
        scratch: Array,
        largest: Array | None = None,
    ) -> None:
        mean *= self.beta1
        mean += grads
        square *= self.beta2
        square += np.multiply(grads, grads, out=scratch)
        if largest is not None:  # amsgrad
            square = np.maximum(largest, square, out=largest)
        direction = _divide_by_root(mean, square, e, scratch)
        direction *= a
        params -= direction


@dataclass(eq=False, repr=False)
class AdamW(Adam):
    """``w *= 1 - lr * weight_decay``, then Adam's step (Loshchilov and Hutter 2019, algorithm 2).

    It is Adam with a default weight decay of 0.01.
    """

    _: KW_ONLY
    weight_decay: float = 0.01


@dataclass(eq=False, repr=False)
class Lion(Optimizer):
    """``w -= lr * sign(b1 m + (1 - b1) g)``, then ``m = b2 m + (1 - b2) g`` (Chen et al. 2023, algorithm 2).

    b1 and b2 are ``beta1`` and ``beta2``. Every number moves by the whole learning rate, which should therefore be a
    third to a tenth of Adam's.
    """

    lr: float = 1e-4
    _: KW_ONLY
    beta1: float = 0.9
    beta2: float = 0.99

    _states = ("mean",)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_below_1(self, beta1=self.beta1, beta2=self.beta2)

    def _update(  # type: ignore[override]
        self, params: Array, grads: Array, lr: float, mean: Array, scratch: Array
    ) -> None:
        np.subtract(mean, grads, out=scratch)  # b m + (1 - b) g = b (m - g) + g
        scratch *= self.beta1
        scratch += grads
        np.sign(scratch, out=scratch)
        scratch *= lr
        params -= scratch
        mean -= grads
        mean *= self.beta2
        mean += grads


def _decaying(block: Array, decays: Array | None, part: slice) -> list[Array]:
    """The pieces of a block that weight decay acts on."""
    if decays is None:
        return [block]
    edges = np.flatnonzero(np.diff(decays[part] != 0, prepend=False, append=False))
    return [block[start:stop] for start, stop in edges.reshape(-1, 2)]


def _norm(v: Array) -> float:
    """``sqrt(sum(v^2))``, even if the squares overflow: a long gradient must be clipped, not lost."""
    with np.errstate(over="ignore"):
        square = float(np.dot(v, v))
    if math.isfinite(square):
        return math.sqrt(square)
    largest = float(np.abs(v).max())
    return largest * math.sqrt(float(np.dot(v / largest, v / largest))) if math.isfinite(largest) else largest


def _divide_by_root(gradient: Array, squares: Array, eps: float, scratch: Array) -> Array:
    """``gradient / (sqrt(squares) + eps)``, in ``scratch``."""
    np.sqrt(squares, out=scratch)
    scratch += eps
    return np.divide(gradient, scratch, out=scratch)


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
