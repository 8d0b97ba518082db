"""Matrix products, in the form in which this BLAS is fastest."""

import numpy as np

from .blas import multiplies_small_matrices_unpacked
from .values import Array


def multiply(a: Array, b: Array, out: Array) -> None:
    """``out = a b``: a (m, k), b (k, n), out (m, n), C-contiguous.

    BLAS packs parts of both matrices before it multiplies them, which a small product does not repay. OpenBLAS leaves
    it out up to ``_SMALL`` multiplications; if a lies row by row and b column by column, only for few columns. So a
    product that is a little larger is cut into groups of rows, more of them if a lies column by column, as in a layer's
    ``forward``, or into groups of ``_COLUMNS`` columns. The products of a batch of 32 and 257 x 128 weights then take
    two thirds of the time, the gradient of 17 x 256 weights half of it.
    """
    (m, k), n = a.shape, b.shape[1]
    work = m * k * n
    if work < _WORTHWHILE:
        a.dot(b, out)  # half of matmul's overhead, but it fills out with 0 first
        return
    if multiplies_small_matrices_unpacked():
        if b.flags.c_contiguous or not a.flags.c_contiguous:
            most = _PARTS if a.flags.c_contiguous else 2 * _PARTS
            parts = next((p for p in range(1, most + 1) if work <= p * _SMALL and m % p == 0), 1)
            if parts > 1:
                a, out = a.reshape(parts, -1, k), out.reshape(parts, -1, n)
        elif m <= _FEW and n % _COLUMNS == 0 and m * k * _COLUMNS <= _SMALL:
            b, out = (matrix.reshape(len(matrix), -1, _COLUMNS).swapaxes(0, 1) for matrix in (b, out))
    np.matmul(a, b, out=out)


_WORTHWHILE, _SMALL = 200_000, 1_000_000  # multiplications
_PARTS, _FEW, _COLUMNS = 4, 32, 64
