"""Initializers: each fills an array of weights in place from the caller's random generator.

``fan_in`` is the number of inputs that one output sums over, ``fan_out`` the number of outputs that one input reaches.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from .layer import Layer
from .names import own_name
from .parts import lookup
from .values import Array

Initializer = Callable[[Array, int, int, np.random.Generator], None]


def zeros(w: Array, fan_in: int, fan_out: int, rng: np.random.Generator) -> None:
    """``w = 0``: right for biases. As weights it would keep all units of a layer equal forever."""
    w[...] = 0


def ones(w: Array, fan_in: int, fan_out: int, rng: np.random.Generator) -> None:
    """``w = 1``: for the scale of a normalization."""
    w[...] = 1


def normal(w: Array, fan_in: int, fan_out: int, rng: np.random.Generator) -> None:
    """``w ~ N(0, 0.05^2)``, whatever the size of the layer."""
    w[...] = rng.normal(0.0, 0.05, w.shape)


def uniform(w: Array, fan_in: int, fan_out: int, rng: np.random.Generator) -> None:
    """``w ~ U(-0.05, 0.05)``, whatever the size of the layer."""
    w[...] = rng.uniform(-0.05, 0.05, w.shape)


def xavier_normal(w: Array, fan_in: int, fan_out: int, rng: np.random.Generator) -> None:
    """``w ~ N(0, 2 / (fan_in + fan_out))`` keeps the variance through tanh, both ways (Glorot and Bengio 2010)."""
    w[...] = rng.normal(0.0, math.sqrt(2 / (fan_in + fan_out)), w.shape)


def xavier_uniform(w: Array, fan_in: int, fan_out: int, rng: np.random.Generator) -> None:
    """``w ~ U(-a, a)``, ``a = sqrt(6 / (fan_in + fan_out))`` (Glorot and Bengio 2010, eq. 16)."""
    limit = math.sqrt(6 / (fan_in + fan_out))
    w[...] = rng.uniform(-limit, limit, w.shape)


def he_normal(w: Array, fan_in: int, fan_out: int, rng: np.random.Generator) -> None:
    """``w ~ N(0, 2 / fan_in)`` keeps the variance through ReLU, which zeroes half (He et al. 2015, eq. 10)."""
    w[...] = rng.normal(0.0, math.sqrt(2 / fan_in), w.shape)


def he_uniform(w: Array, fan_in: int, fan_out: int, rng: np.random.Generator) -> None:
    """``w ~ U(-a, a)``, ``a = sqrt(6 / fan_in)``: the variance of ``he_normal``."""
    limit = math.sqrt(6 / fan_in)
    w[...] = rng.uniform(-limit, limit, w.shape)


def lecun_normal(w: Array, fan_in: int, fan_out: int, rng: np.random.Generator) -> None:
    """``w ~ N(0, 1 / fan_in)``, required by SELU's fixed point (LeCun et al. 1998; Klambauer et al. 2017)."""
    w[...] = rng.normal(0.0, math.sqrt(1 / fan_in), w.shape)


def lecun_uniform(w: Array, fan_in: int, fan_out: int, rng: np.random.Generator) -> None:
    """``w ~ U(-a, a)``, ``a = sqrt(3 / fan_in)``: the variance of ``lecun_normal``."""
    limit = math.sqrt(3 / fan_in)
    w[...] = rng.uniform(-limit, limit, w.shape)


def orthogonal(w: Array, fan_in: int, fan_out: int, rng: np.random.Generator) -> None:
    """``W^T W = I``, or ``W W^T = I`` for fewer rows than columns (Saxe et al. 2014).

    W is Q of the QR decomposition of a normal matrix. The signs of R's diagonal are moved into Q; otherwise Q would not
    be uniformly distributed. An array with more than two axes counts as a matrix whose columns are its last axis.
    """
    rows, columns = w.size // w.shape[-1], w.shape[-1]
    q, r = np.linalg.qr(rng.normal(size=(max(rows, columns), min(rows, columns))))
    q *= np.sign(np.diagonal(r))
    w[...] = (q if rows >= columns else q.T).reshape(w.shape)


INITIALIZERS: dict[str, Initializer] = {
    "zeros": zeros,
    "ones": ones,
    "normal": normal,
    "uniform": uniform,
    "xavier_normal": xavier_normal,
    "xavier_uniform": xavier_uniform,
    "he_normal": he_normal,
    "he_uniform": he_uniform,
    "lecun_normal": lecun_normal,
    "lecun_uniform": lecun_uniform,
    "orthogonal": orthogonal,
}


def check_initializer(name: str) -> str:
    """The own name of an initializer or ``auto``; UnknownNameError unless ``name`` is one of their names."""
    table = {**INITIALIZERS, "auto": None}
    name = own_name(table, name)
    lookup("init", table, name)
    return name


def initialize(layer: Layer, rng: np.random.Generator, following: Sequence[Layer] = ()) -> None:
    """Draw all parameters of a layer and of the layers inside it; ``auto`` suits the activation after the layer.

    ``following`` are the layers after this one in its chain.
    """
    for name, parameter in layer.parameters.items():
        init = check_initializer(parameter.init)
        fill = INITIALIZERS[suited_to(following) if init == "auto" else init]
        fill(getattr(layer, name), parameter.fan_in, parameter.fan_out, rng)
    children = list(layer.children())
    for i, child in enumerate(children):
        initialize(child, rng, children[i + 1 :])


def suited_to(following: Sequence[Layer]) -> str:
    """The initializer for the next activation; Xavier's if other weights come before an activation."""
    for layer in _with_inner(following):
        suited = getattr(layer, "suited_init", None)
        if suited:
            return str(suited)
        if any(parameter.decay for parameter in layer.parameters.values()):
            break
    return "xavier_uniform"


def _with_inner(layers: Iterable[Layer]) -> Iterator[Layer]:
    """These layers, each preceded by the layers inside it."""
    for layer in layers:
        yield from _with_inner(layer.children())
        yield layer
