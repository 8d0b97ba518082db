"""The normal distribution's tail, for the exact GELU: NumPy has no error function."""

import math

import numpy as np
from numpy.polynomial.chebyshev import cheb2poly

from .values import Array

_MIDDLE = 3.75 * math.sqrt(2)
_FURTHEST = 40.0  # exp(-40^2 / 2) is 0 in float64
_CHEBYSHEV = (  # of f, by its values at 60 Chebyshev nodes, computed with 50 digits
    *(1.1775789345674017, -0.004590054580646478, -0.08424913336651792, 0.05920993999819189, -0.026658668435305753),
    *(0.009074997670705265, -0.002413163540417608, 0.0004907758365258086, -6.916973302501207e-05),
    *(4.13902798607301e-06, 7.74038306619849e-07, -2.1886401049234397e-07, 1.076499946567091e-08),
    *(4.521959811218287e-09, -7.754400208831351e-10, -6.318088340886684e-11, 2.86879501093067e-11),
    *(1.9455868545777347e-13, -9.65469674843344e-13, 3.25254814814874e-14, 3.3478119482868056e-14),
    *(-1.864562880419313e-15, -1.2507950530688648e-15, 7.418235256624044e-17, 5.068148904796111e-17),
)
_POLYNOMIAL = cheb2poly(_CHEBYSHEV).tolist()
_SHORT_POLYNOMIAL = cheb2poly(_CHEBYSHEV[:13]).tolist()  # for float32


def normal_tail(z: Array, out: Array, bell: Array, scratch: Array) -> Array:
    """``Q(a) = erfc(u) / 2``, the probability of a normal number above ``a = |z|``, with ``u = a / sqrt(2)``.

    ``erfc(u) = exp(-u^2) f(t) / (1 + 2u)``, ``t = (u - 3.75) / (u + 3.75)``, where f is a polynomial (Shepherd and
    Laframboise 1981). The relative error is that of ``exp(-u^2)``; near 0 it is 4e-7 in float32 and 7e-16 in float64.

    Args:
        out, bell, scratch: arrays of the shape of z. ``bell`` becomes ``exp(-z^2 / 2)``.
    """
    a, t = np.abs(z, out=bell), scratch
    np.minimum(a, _FURTHEST, out=a)
    np.subtract(a, _MIDDLE, out=t)
    t /= np.add(a, _MIDDLE, out=out)
    *lower, highest = _SHORT_POLYNOMIAL if out.dtype == np.float32 else _POLYNOMIAL
    out.fill(highest)
    for coefficient in reversed(lower):  # f(t) by Horner's rule
        out *= t
        out += coefficient
    np.multiply(a, math.sqrt(8), out=t)
    t += 2
    out /= t  # f(t) / (2 + 4u)
    a *= a
    a *= -0.5
    np.exp(a, out=bell)
    out *= bell
    return out
