"""Convolution and pooling along a path: samples of shape (length, channels)."""

import math
from collections.abc import Iterator

import numpy as np

from .initializers import check_initializer
from .layer import Layer
from .parts import Array, Shape, check, check_count


class Conv1D(Layer):
    """A convolution along a path: ``y[p, f] = b[f] + sum over k, c of x[p * stride + k, c] W[k, c, f]``.

    x (batch, length, channels), W (kernel_size, channels, filters), y (batch, length_out, filters). The kernel is not
    flipped, as in other libraries; mathematicians call this a cross-correlation.

    The windows of x become the rows of a matrix, with a 1 at the end of each row for the bias. The layer is then a
    single matrix product, as in ``Linear``.

    Args:
        filters: the number of output channels.
        kernel_size: the number of points in a window.
        stride: the step from one window to the next.
        padding: ``same`` puts zeros around the path, so that ``length_out = ceil(length / stride)``; ``valid`` puts
            none, so that ``length_out = floor((length - kernel_size) / stride) + 1``.
        init, bias_init: as in ``Linear``.
    """

    passing = ("columns", "Wb", "dWb")
    W: Array
    b: Array
    dW: Array
    db: Array
    Wb: Array
    dWb: Array

    def __init__(
        self,
        filters: int,
        kernel_size: int = 3,
        stride: int = 1,
        padding: str = "same",
        init: str = "auto",
        bias_init: str = "zeros",
    ) -> None:
        super().__init__()
        check_count(self, filters=filters, kernel_size=kernel_size, stride=stride)
        check(padding in ("same", "valid"), self, f"padding must be same or valid, got {padding!r}")
        check_initializer(init)
        check_initializer(bias_init)
        self.filters, self.kernel_size, self.stride, self.padding = filters, kernel_size, stride, padding
        self.init, self.bias_init = init, bias_init

    def _shapes(self, shape_in: Shape) -> Shape:
        check(
            len(shape_in) == 2,
            self,
            f"{self.name} expects samples of shape (length, channels), got {shape_in}; put reshape before it",
        )
        length, channels = shape_in
        if self.padding == "same":
            length_out = math.ceil(length / self.stride)
            missing = max((length_out - 1) * self.stride + self.kernel_size - length, 0)
        else:
            length_out, missing = (length - self.kernel_size) // self.stride + 1, 0
        check(
            length_out >= 1,
            self,
            f"{self.name} has a kernel of {self.kernel_size} points, longer than a path of {length}",
        )
        self._before, self._length_padded = missing // 2, length + missing
        fan_in, fan_out = self.kernel_size * channels, self.kernel_size * self.filters
        self.declare("W", (self.kernel_size, channels, self.filters), self.init, fan_in, fan_out, decay=True)
        self.declare("b", (self.filters,), self.bias_init, fan_in, fan_out)
        return length_out, self.filters

    def bind(self, params: Array, grads: Array) -> None:
        super().bind(params, grads)
        self.place("Wb", params.reshape(-1, self.filters))
        self.place("dWb", grads.reshape(-1, self.filters))

    def forward(self, x: Array, training: bool = False) -> Array:
        batch, length, channels = x.shape
        path = self.buffer("path", (batch, self._length_padded, channels))
        path[:, : self._before] = 0
        path[:, self._before + length :] = 0
        path[:, self._before : self._before + length] = x
        self.columns = self.buffer("columns", (batch, self.shape_out[0], len(self.Wb)))
        self.columns[:, :, -1] = 1
        for points, place in self._windows(path, self.columns):
            place[...] = points
        y = self.output((batch, *self.shape_out))
        np.matmul(self.columns.reshape(-1, len(self.Wb)), self.Wb, out=y.reshape(-1, self.filters))
        return y

    def backward(self, grad_out: Array) -> Array:
        self.backward_parameters(grad_out)
        batch, length_out, _ = grad_out.shape
        rows = self._rows(grad_out)
        grad_columns = self.buffer("grad_columns", (batch, length_out, len(self.Wb) - 1))
        np.matmul(rows, self.Wb[:-1].T, out=grad_columns.reshape(len(rows), -1))
        grad_path = self.buffer("grad_path", (batch, self._length_padded, self.W.shape[1]))
        grad_path[...] = 0
        for points, place in self._windows(grad_path, grad_columns):
            points += place
        return grad_path[:, self._before : self._before + self.shape_in[0]]

    def backward_parameters(self, grad_out: Array) -> None:
        rows = self._rows(grad_out)
        np.matmul(self.columns.reshape(len(rows), -1).T, rows, out=self.dWb)

    def _windows(self, path: Array, columns: Array) -> Iterator[tuple[Array, Array]]:
        """For each kernel position, a view of the points that it meets and a view of their columns in the matrix."""
        channels, reach = path.shape[2], (self.shape_out[0] - 1) * self.stride + 1
        for k in range(self.kernel_size):
            yield path[:, k : k + reach : self.stride], columns[:, :, k * channels : (k + 1) * channels]

    def _rows(self, grad_out: Array) -> Array:
        """The gradient with one row per window, (batch * length_out, filters)."""
        if not grad_out.flags.c_contiguous:  # comes from another convolution; ``reshape`` would allocate a copy
            place = self.buffer("grad_out", grad_out.shape)
            place[...] = grad_out
            grad_out = place
        return grad_out.reshape(-1, self.filters)


class Pool1D(Layer):
    """The base of max and average pooling: windows of ``size`` points side by side; points left over are dropped.

    x (batch, length, channels), y (batch, length // size, channels).
    """

    def __init__(self, size: int = 2) -> None:
        super().__init__()
        check_count(self, size=size)
        self.size = size

    def _shapes(self, shape_in: Shape) -> Shape:
        check(len(shape_in) == 2, self, f"{self.name} expects samples of shape (length, channels), got {shape_in}")
        check(shape_in[0] >= self.size, self, f"{self.name} pools {self.size} points of a path of {shape_in[0]}")
        return shape_in[0] // self.size, shape_in[1]

    def _members(self, path: Array) -> list[Array]:
        """Views of the first, second, ... point of every window."""
        end = path.shape[1] // self.size * self.size
        return [path[:, k : end : self.size] for k in range(self.size)]

    def _grad_in(self, grad_out: Array) -> Array:
        """The buffer for the gradient by the input, filled with 0."""
        grad_in = self.buffer("grad_in", (len(grad_out), *self.shape_in))
        grad_in[...] = 0
        return grad_in


class MaxPool1D(Pool1D):
    """``y[p, c] = max of x[p * size + k, c] over k``; the gradient goes to the first point with the maximum."""

    passing = ("x", "y")

    def forward(self, x: Array, training: bool = False) -> Array:
        self.x, self.y = x, self.output((len(x), *self.shape_out))
        first, *others = self._members(x)
        self.y[...] = first
        for points in others:
            np.maximum(self.y, points, out=self.y)
        return self.y

    def backward(self, grad_out: Array) -> Array:
        grad_in = self._grad_in(grad_out)
        free = self.buffer("free", grad_out.shape, np.bool_)  # windows whose maximum is still to come
        hit = self.buffer("hit", grad_out.shape, np.bool_)
        free[...] = True
        for points, grad in zip(self._members(self.x), self._members(grad_in), strict=True):
            np.equal(points, self.y, out=hit)
            hit &= free
            np.copyto(grad, grad_out, where=hit)
            free ^= hit
        return grad_in


class AveragePool1D(Pool1D):
    """``y[p, c] = mean of x[p * size + k, c] over k``."""

    def forward(self, x: Array, training: bool = False) -> Array:
        y = self.output((len(x), *self.shape_out))
        first, *others = self._members(x)
        y[...] = first
        for points in others:
            y += points
        y /= self.size
        return y

    def backward(self, grad_out: Array) -> Array:
        grad_in = self._grad_in(grad_out)
        for grad in self._members(grad_in):
            np.divide(grad_out, self.size, out=grad)
        return grad_in
