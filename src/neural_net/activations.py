"""Activations: layers without parameters that act on each number independently (softmax: on each row).

Each has two short methods: ``_value`` writes ``y = f(z)``, and ``_gradient`` writes ``dL/dz = dL/dy * f'(z)``. Inputs
and outputs have any shape (batch, ...); all arithmetic stays in the dtype of the input.
"""

import copy
import math
from typing import Any, Self

import numpy as np

from .layer import Layer
from .normal import normal_tail
from .parts import arguments, call, make
from .values import Array, Shape, check_below_1, check_positive


class Activation(Layer):
    """The base of all activations: it keeps the latest input and output, from which the derivative is computed."""

    suited_init = "xavier_uniform"  # the initializer that `init: auto` chooses for the weights before this activation
    in_place = False  # whether ``_gradient`` may write over grad_y
    passing: tuple[str, ...] = ("z", "y", "grad_in", "zero")
    z: Any = None

    def _arrange(self, x: Array) -> None:
        """Get the buffers for a batch that is another array than the one before."""
        if x.dtype is not self.dtype:
            self.adopt(x.dtype)
        self.z, self.y = x, self.output(x.shape)
        self.grad_in = self.grad_in_place(x.shape) if self.in_place else self.buffer("grad_in", x.shape)
        self.zero = np.zeros((), self.dtype)  # NumPy compares faster with an array of the same dtype than with 0

    def forget(self) -> None:
        super().forget()
        self.z = None

    def forward(self, x: Array, training: bool = False) -> Array:
        if x is not self.z:
            self._arrange(x)
        self._value(x, self.y)
        return self.y

    def backward(self, grad_out: Array) -> Array:
        self._gradient(self.z, self.y, grad_out, self.grad_in)
        return self.grad_in

    def _value(self, z: Array, y: Array) -> None:
        """Write f(z) into y."""
        raise NotImplementedError

    def _gradient(self, z: Array, y: Array, grad_y: Array, grad_z: Array) -> None:
        """Write grad_y * f'(z) into grad_z; y is f(z)."""
        raise NotImplementedError

    def _positive(self, z: Array) -> Array:
        """Where z > 0."""
        return np.greater(z, self.zero, out=self.buffer("positive", z.shape, np.bool_))

    def Forward_prop(self, Z: Array) -> Array:  # noqa: N802 (the original project's name)
        """``forward`` of the original interface: takes anything array-like and returns a copy."""
        return self.forward(np.asarray(Z)).copy()

    def Backward_prop(self, dA: Array) -> Array:  # noqa: N802
        """The gradient by the Z of the latest ``Forward_prop``, from the gradient by its result; returns a copy."""
        return self.backward(np.asarray(dA, dtype=self.dtype)).copy()


class Identity(Activation):
    """``y = z``."""

    def _value(self, z: Array, y: Array) -> None:
        y[...] = z

    def _gradient(self, z: Array, y: Array, grad_y: Array, grad_z: Array) -> None:
        grad_z[...] = grad_y


class ReLU(Activation):
    """``y = max(z, 0)``; the derivative at 0 is taken as 0 (Nair and Hinton 2010)."""

    suited_init = "he_normal"
    in_place = True
    passing = ("zeros", "positive")

    def _arrange(self, x: Array) -> None:
        super()._arrange(x)
        self.zeros = self.buffer("zeros", x.shape, fill=0)  # NumPy's maximum of two arrays is faster than with 0
        self.positive = self.buffer("positive", x.shape, np.bool_)

    def _value(self, z: Array, y: Array) -> None:
        np.maximum(z, self.zeros, out=y)

    def _gradient(self, z: Array, y: Array, grad_y: Array, grad_z: Array) -> None:
        np.greater(z, self.zero, out=self.positive)
        np.multiply(grad_y, self.positive, out=grad_z)


class LeakyReLU(Activation):
    """``y = max(z, slope * z)`` with a small positive slope, so that no unit dies (Maas et al. 2013)."""

    suited_init = "he_normal"

    def __init__(self, slope: float = 0.01) -> None:
        super().__init__()
        check_below_1(self, slope=slope)
        self.slope = slope

    def _value(self, z: Array, y: Array) -> None:
        np.multiply(z, self.slope, out=y)
        np.maximum(z, y, out=y)

    def _gradient(self, z: Array, y: Array, grad_y: Array, grad_z: Array) -> None:
        np.multiply(grad_y, self.slope, out=grad_z)
        np.copyto(grad_z, grad_y, where=self._positive(z))


class ELU(Activation):
    """``y = z`` for z > 0, else ``alpha * (exp(z) - 1)`` (Clevert et al. 2016)."""

    suited_init = "he_normal"

    def __init__(self, alpha: float = 1.0) -> None:
        super().__init__()
        check_positive(self, alpha=alpha)
        self.alpha = alpha

    def _value(self, z: Array, y: Array) -> None:
        np.minimum(z, 0, out=y)  # exp of a positive number is not needed and could overflow
        np.expm1(y, out=y)
        y *= self.alpha
        np.copyto(y, z, where=self._positive(z))

    def _gradient(self, z: Array, y: Array, grad_y: Array, grad_z: Array) -> None:
        np.minimum(z, 0, out=grad_z)
        np.exp(grad_z, out=grad_z)  # not y + alpha, which is inexact where y is close to -alpha
        if self.alpha != 1:
            grad_z *= self.alpha
            np.copyto(grad_z, 1, where=self._positive(z))
        grad_z *= grad_y


class SELU(Activation):
    """``y = scale * ELU(z)``, whose constants make mean 0 and variance 1 a fixed point (Klambauer et al. 2017)."""

    suited_init = "lecun_normal"
    alpha = 1.6732632423543772
    scale = 1.0507009873554805

    def _value(self, z: Array, y: Array) -> None:
        np.minimum(z, 0, out=y)
        np.expm1(y, out=y)
        y *= self.alpha
        np.copyto(y, z, where=self._positive(z))
        y *= self.scale

    def _gradient(self, z: Array, y: Array, grad_y: Array, grad_z: Array) -> None:
        np.minimum(z, 0, out=grad_z)
        np.exp(grad_z, out=grad_z)
        grad_z *= self.scale * self.alpha
        np.copyto(grad_z, self.scale, where=self._positive(z))
        grad_z *= grad_y


def sigmoid(z: Array, out: Array, rest: Array) -> Array:
    """``1 / (1 + exp(-z)) = e r`` into ``out`` and the rest to 1, ``r = 1 / (1 + e)``, into ``rest``; ``e = exp(z)``.

    Both are exact to a few units in the last place, however small they are. A z above ``_MOST`` counts as that, so that
    e cannot overflow.
    """
    np.minimum(z, _MOST[z.itemsize], out=out)
    np.exp(out, out=out)
    np.add(out, 1, out=rest)
    np.divide(1, rest, out=rest)
    out *= rest
    return out


_MOST = {4: 87.0, 8: 708.0}  # by the bytes of a number: the reciprocal of its exp is still a normal number


def softplus(z: Array, out: Array) -> Array:
    """``log(1 + exp(z)) = log(exp(0) + exp(z))`` by NumPy's ``logaddexp``, which cannot overflow."""
    return np.logaddexp(z, 0, out=out)


class Sigmoid(Activation):
    """``y = 1 / (1 + exp(-z))``, between 0 and 1."""

    passing = ("rest",)

    def _arrange(self, x: Array) -> None:
        super()._arrange(x)
        self.rest = self.buffer("rest", x.shape)

    def _value(self, z: Array, y: Array) -> None:
        sigmoid(z, out=y, rest=self.rest)

    def _gradient(self, z: Array, y: Array, grad_y: Array, grad_z: Array) -> None:
        np.multiply(y, self.rest, out=grad_z)  # y (1 - y)
        grad_z *= grad_y


class Tanh(Activation):
    """``y = tanh(z)``, between -1 and 1; ``dy/dz = 1 - y^2 = e q^2`` with ``e = exp(2 z)`` and ``q = 2 / (1 + e)``.

    The code uses the second form, because ``1 - y^2`` is inexact where y is close to 1 or -1.
    """

    def _value(self, z: Array, y: Array) -> None:
        np.tanh(z, out=y)

    def _gradient(self, z: Array, y: Array, grad_y: Array, grad_z: Array) -> None:
        e = np.multiply(z, 2, out=grad_z)
        np.exp(np.minimum(e, _MOST[z.itemsize], out=e), out=e)
        q = np.add(e, 1, out=self.buffer("q", z.shape))
        np.divide(2, q, out=q)
        grad_z *= q
        grad_z *= q
        grad_z *= grad_y


class Softplus(Activation):
    """``y = log(1 + exp(z))``, a smooth ReLU (Dugas et al. 2001)."""

    suited_init = "he_normal"

    def _value(self, z: Array, y: Array) -> None:
        softplus(z, out=y)

    def _gradient(self, z: Array, y: Array, grad_y: Array, grad_z: Array) -> None:
        sigmoid(z, out=grad_z, rest=self.buffer("rest", z.shape))
        grad_z *= grad_y


class SiLU(Activation):
    """``y = z * sigmoid(z)``, also called swish (Elfwing et al. 2018)."""

    suited_init = "he_normal"
    passing = ("s", "rest")

    def _arrange(self, x: Array) -> None:
        super()._arrange(x)
        self.s, self.rest = self.buffer("s", x.shape), self.buffer("rest", x.shape)

    def _value(self, z: Array, y: Array) -> None:
        np.multiply(z, sigmoid(z, out=self.s, rest=self.rest), out=y)

    def _gradient(self, z: Array, y: Array, grad_y: Array, grad_z: Array) -> None:
        np.multiply(z, self.rest, out=grad_z)
        grad_z += 1
        grad_z *= self.s  # s (1 + z (1 - s))
        grad_z *= grad_y


class GELU(Activation):
    """``y = z/2 (1 + tanh(c (z + a z^3)))``, ``c = sqrt(2/pi)``, ``a = 0.044715`` (Hendrycks and Gimpel 2016).

    This is the tanh approximation. It differs from the exact ``z Phi(z)`` by less than 0.0005 everywhere. The code
    computes ``y = z s``, ``s = 1 / (1 + exp(-2u))``, ``u = c (z + a z^3)``: ``1 + tanh(u)`` takes a sixth less time in
    float32, a quarter more in float64, and is inexact where tanh is close to -1.

    Args:
        approximate: False computes ``y = z Phi(z)`` with the normal distribution function Phi, whose derivative is
            ``Phi(z) + z exp(-z^2 / 2) / sqrt(2 pi)``. It is the default of PyTorch and Keras.
    """

    suited_init = "he_normal"
    added_options = ("approximate",)
    passing = ("s", "bell")
    _c = math.sqrt(2 / math.pi)
    _a = 0.044715

    def __init__(self, *, approximate: bool = True) -> None:
        super().__init__()
        self.approximate = approximate

    def _arrange(self, x: Array) -> None:
        super()._arrange(x)
        self.s = self.buffer("s", x.shape)

    def _value(self, z: Array, y: Array) -> None:
        s = self.s
        if self.approximate:
            with np.errstate(over="ignore"):  # infinity is right here: it makes s 0
                np.multiply(z, z, out=s)
                s *= -2 * self._c * self._a
                s -= 2 * self._c
                s *= z  # -2u
                np.exp(s, out=s)
            s += 1
            np.divide(1, s, out=s)
        else:
            self.bell = self.buffer("bell", z.shape)
            normal_tail(z, s, self.bell, scratch=y)
            np.copyto(s, np.subtract(1, s, out=y), where=self._positive(z))  # Phi(z)
        np.multiply(z, s, out=y)

    def _gradient(self, z: Array, y: Array, grad_y: Array, grad_z: Array) -> None:
        if self.approximate:  # f' = s + z s' with s' = s (1 - s) 2u', so that f' = s + 2u' y (1 - s)
            np.multiply(z, z, out=grad_z)
            grad_z *= 6 * self._c * self._a
            grad_z += 2 * self._c  # 2u'
            grad_z *= y
            grad_z *= np.subtract(1, self.s, out=self.buffer("rest", z.shape))
        else:
            np.multiply(z, self.bell, out=grad_z)
            grad_z *= 1 / math.sqrt(2 * math.pi)
        grad_z += self.s
        grad_z *= grad_y


class Mish(Activation):
    """``y = z * tanh(softplus(z))`` (Misra 2019)."""

    suited_init = "he_normal"
    passing = ("t",)

    def _value(self, z: Array, y: Array) -> None:
        self.t = softplus(z, out=self.buffer("tanh", z.shape))
        np.tanh(self.t, out=self.t)
        np.multiply(z, self.t, out=y)

    def _gradient(self, z: Array, y: Array, grad_y: Array, grad_z: Array) -> None:
        # f' = t + z sigmoid(z) (1 - t^2) = t + sigmoid(z) (z - y t), with t = tanh(softplus(z))
        np.multiply(y, self.t, out=grad_z)
        np.subtract(z, grad_z, out=grad_z)
        grad_z *= sigmoid(z, out=self.buffer("sigmoid", z.shape), rest=self.buffer("rest", z.shape))
        grad_z += self.t
        grad_z *= grad_y


def softmax(z: Array, out: Array | None = None, scratch: Array | None = None) -> Array:
    """``exp(z) / sum(exp(z))`` along the last axis. The row's maximum is subtracted first, so exp cannot overflow.

    ``out`` has the shape of z, ``scratch`` the same with a last axis of length 1; without them new arrays are made.
    """
    out = np.subtract(z, np.maximum.reduce(z, axis=-1, keepdims=True, out=scratch), out=out)
    np.exp(out, out=out)
    return np.divide(out, np.add.reduce(out, axis=-1, keepdims=True, out=scratch), out=out)


class Softmax(Activation):
    """``y_i = exp(z_i) / sum_j exp(z_j)`` along the last axis: the only activation whose units depend on each other.

    A classifier needs none at its output: the cross-entropy takes logits and contains the softmax.
    """

    def _value(self, z: Array, y: Array) -> None:
        softmax(z, out=y, scratch=self.buffer("row", (*z.shape[:-1], 1)))

    def _gradient(self, z: Array, y: Array, grad_y: Array, grad_z: Array) -> None:
        total, product = self.buffer("row", (*z.shape[:-1], 1)), self.buffer("product", z.shape)
        centred = grad_y  # y (g - sum(g y)); centred twice, because the first sum is inexact where one y is close to 1
        for _ in range(2):
            np.multiply(centred, y, out=product)
            np.sum(product, axis=-1, keepdims=True, out=total)
            centred = np.subtract(centred, total, out=grad_z)
        grad_z *= y


class UserActivation(Activation):
    """A layer around a user's object with ``Forward_prop(Z)`` and ``Backward_prop(dA)``.

    A network with it can be saved only if the object's class was registered with ``register_activation``.
    """

    repeatable = False  # nobody knows what it does

    def __init__(self, user: Any) -> None:
        super().__init__()
        self.user = user
        self.suited_init = getattr(user, "suited_init", self.suited_init)

    def config(self) -> dict[str, Any]:
        """The arguments that make the user's object again."""
        return arguments(self.user)

    def twin(self) -> Self:
        twin = super().twin()
        twin.user = copy.deepcopy(self.user)  # it keeps its latest batch, and may write into arrays of its own
        return twin

    def __repr__(self) -> str:
        own: Any = type(self.user).__repr__
        return call(self.user) if own is object.__repr__ else repr(self.user)

    def _value(self, z: Array, y: Array) -> None:
        self._write(y, self.user.Forward_prop(z.copy()), "Forward_prop")

    def _gradient(self, z: Array, y: Array, grad_y: Array, grad_z: Array) -> None:
        self._write(grad_z, self.user.Backward_prop(grad_y.copy()), "Backward_prop")

    def _write(self, place: Array, result: Any, method: str) -> None:
        shape: Shape = np.shape(result)
        if shape != place.shape:
            name = f"{type(self.user).__name__}.{method}"
            raise ValueError(f"{name} must return an array of shape {place.shape}, got {shape}")
        np.copyto(place, result, casting="same_kind")


ACTIVATIONS: dict[str, type[Activation]] = {
    "identity": Identity,
    "relu": ReLU,
    "leaky_relu": LeakyReLU,
    "elu": ELU,
    "selu": SELU,
    "sigmoid": Sigmoid,
    "tanh": Tanh,
    "softplus": Softplus,
    "silu": SiLU,
    "gelu": GELU,
    "mish": Mish,
    "softmax": Softmax,
}


def make_activation(spec: Any) -> Activation:
    """An activation from its name, from ``{"name": {option: value}}``, or the object itself.

    An object that is not a layer but has ``Forward_prop`` and ``Backward_prop`` becomes a ``UserActivation``.
    """
    part: Any = make("activation", ACTIVATIONS, spec)
    if isinstance(part, Activation):
        return part
    if hasattr(part, "Forward_prop") and hasattr(part, "Backward_prop"):
        return UserActivation(part)
    raise ValueError(f"an activation must be a name, or an object with Forward_prop and Backward_prop, got {part!r}")
