"""Convolution and pooling along a path: samples of shape (length, channels)."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from .initializers import check_initializer
from .layer import Layer
from .values import Array, Shape, check, check_count


def _windows_along(length: int, reach: int, stride: int, padding: str) -> tuple[int, int, int]:
    """How many windows of ``reach`` points a path has, and how many points are missing before its start and in all."""
    if padding == "same":
        n = math.ceil(length / stride)
        missing = max((n - 1) * stride + reach - length, 0)
        return n, missing // 2, missing
    return (length - reach) // stride + 1, 0, 0


class Conv1D(Layer):
    """A convolution along a path: ``y[p, f] = b[f] + sum over k, c of x[p * stride + k * dilation, c] W[k, c, f]``.

    x (batch, length, channels), W (kernel_size, channels, filters), y (batch, length_out, filters). The kernel is not
    flipped, as in other libraries; mathematicians call this a cross-correlation.

    The windows of x become the rows of a matrix, with a 1 at the end of each row for the bias. The layer is then a
    single matrix product, as in ``Linear``.

    Args:
        filters: the number of output channels.
        kernel_size: the number of points in a window.
        stride: the step from one window to the next.
        padding: ``same`` puts zeros around the path, so that ``length_out = ceil(length / stride)``; ``valid`` puts
            none, so that ``length_out = floor((length - reach) / stride) + 1`` with the reach of a window,
            ``(kernel_size - 1) * dilation + 1``.
        dilation: the step from one point of a window to the next.
        init, bias_init, use_bias: as in ``Linear``.
    """

    added_options = ("dilation", "use_bias")
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
        *,
        dilation: int = 1,
        use_bias: bool = True,
    ) -> None:
        super().__init__()
        check_count(self, filters=filters, kernel_size=kernel_size, stride=stride, dilation=dilation)
        check(padding in ("same", "valid"), self, f"padding must be same or valid, got {padding!r}")
        self.filters, self.kernel_size, self.stride, self.padding = filters, kernel_size, stride, padding
        self.init, self.bias_init = check_initializer(init), check_initializer(bias_init)
        self.dilation, self.use_bias = dilation, use_bias

    def _shapes(self, shape_in: Shape) -> Shape:
        check(
            len(shape_in) == 2,
            self,
            f"{self.name} expects samples of shape (length, channels), got {shape_in}; put reshape before it",
        )
        length, channels = shape_in
        dilated = self.kernel_size == 1 or self.dilation < length
        check(dilated, self, f"{self.name} has a dilation of {self.dilation} on a path of {length} points")
        reach = (self.kernel_size - 1) * self.dilation + 1
        length_out, self._before, missing = _windows_along(length, reach, self.stride, self.padding)
        check(
            length_out >= 1,
            self,
            f"{self.name} has a kernel of {reach} points, longer than a path of {length}",
        )
        self._length_padded = length + missing
        fan_in, fan_out = self.kernel_size * channels, self.kernel_size * self.filters
        self.declare("W", (self.kernel_size, channels, self.filters), self.init, fan_in, fan_out, decay=True)
        if self.use_bias:
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
        if self.use_bias:
            self.columns[:, :, -1] = 1
        for points, place in self._windows(path, self.columns):
            place[...] = points
        y = self.output((batch, *self.shape_out))
        np.matmul(self.columns.reshape(-1, len(self.Wb)), self.Wb, out=y.reshape(-1, self.filters))
        return y

    def backward(self, grad_out: Array) -> Array:
        self.backward_parameters(grad_out)
        batch, length_out, _ = grad_out.shape
        rows = as_rows_of_channels(self, grad_out)
        width = self.kernel_size * self.W.shape[1]
        grad_columns = self.buffer("grad_columns", (batch, length_out, width))
        np.matmul(rows, self.Wb[:width].T, out=grad_columns.reshape(len(rows), -1))
        grad_path = self.buffer("grad_path", (batch, self._length_padded, self.W.shape[1]))
        grad_path[...] = 0
        for points, place in self._windows(grad_path, grad_columns):
            points += place
        return grad_path[:, self._before : self._before + self.shape_in[0]]

    def backward_parameters(self, grad_out: Array) -> None:
        rows = as_rows_of_channels(self, grad_out)
        np.matmul(self.columns.reshape(len(rows), -1).T, rows, out=self.dWb)

    def _windows(self, path: Array, columns: Array) -> Iterator[tuple[Array, Array]]:
        """For each kernel position, a view of the points that it meets and a view of their columns in the matrix."""
        channels, reach = path.shape[2], (self.shape_out[0] - 1) * self.stride + 1
        for k in range(self.kernel_size):
            start = k * self.dilation
            yield path[:, start : start + reach : self.stride], columns[:, :, k * channels : (k + 1) * channels]


def as_rows_of_channels(layer: Layer, grad_out: Array) -> Array:
    """The gradient (batch, ..., channels) with one row for each point of each sample."""
    if not grad_out.flags.c_contiguous:  # comes from another convolution; ``reshape`` would allocate a copy
        place = layer.buffer("grad_out", grad_out.shape)
        place[...] = grad_out
        grad_out = place
    return grad_out.reshape(math.prod(grad_out.shape[:-1]), grad_out.shape[-1])


class Pool1D(Layer):
    """The base of max and average pooling: one number for each channel of each window of ``size`` points.

    x (batch, length, channels), y (batch, length_out, channels).

    Args:
        size: the number of points in a window.
        stride: the step from one window to the next; None: ``size``, windows side by side.
        padding: ``valid`` uses whole windows only, so that ``length_out = floor((length - size) / stride) + 1``;
            ``same`` lets the first and last windows reach beyond the path, so that ``length_out = ceil(length /
            stride)``. Points outside the path do not count, in the mean neither.
    """

    added_options = ("stride", "padding")

    def __init__(self, size: int = 2, *, stride: int | None = None, padding: str = "valid") -> None:
        super().__init__()
        check_count(self, size=size, stride=size if stride is None else stride)
        check(padding in ("same", "valid"), self, f"padding must be same or valid, got {padding!r}")
        self.size, self.stride, self.padding = size, stride, padding

    def _shapes(self, shape_in: Shape) -> Shape:
        check(len(shape_in) == 2, self, f"{self.name} expects samples of shape (length, channels), got {shape_in}")
        length, step = shape_in[0], self.stride or self.size
        check(length >= self.size, self, f"{self.name} pools {self.size} points of a path of {length}")
        length_out, before, _ = _windows_along(length, self.size, step, self.padding)
        self._spans = []  # for the first, second, ... point of the windows: which windows have it, and where
        for k in range(self.size):
            first, end = max(math.ceil((before - k) / step), 0), min((length - 1 - k + before) // step + 1, length_out)
            if first < end:
                start, stop = first * step + k - before, (end - 1) * step + k - before + 1
                self._spans.append((slice(first, end), slice(start, stop, step)))
        counts = np.zeros((length_out, 1))
        for which, _ in self._spans:
            counts[which] += 1
        self._counts = counts  # of the points of each window
        self._whole, self._apart = bool(counts.min() == self.size), step >= self.size
        return length_out, shape_in[1]

    def _members(self, windows: Array, path: Array) -> Iterator[tuple[Array, Array]]:
        """For the first, second, ... point of the windows, views of the windows that have it, and of these points."""
        for which, points in self._spans:
            yield windows[:, which], path[:, points]

    def _pooled(self, x: Array, ufunc: np.ufunc, start: float) -> Array:
        """The sum of the points of each window or the like, beginning with ``start``."""
        y = self.output((len(x), *self.shape_out))
        members = self._members(y, x)
        if self._whole:
            y[...] = next(members)[1]
        else:
            y.fill(start)
        for results, points in members:
            ufunc(results, points, out=results)
        return y

    def _grad_in(self, grad_out: Array) -> Array:
        """The buffer for the gradient by the input, filled with 0."""
        grad_in = self.buffer("grad_in", (len(grad_out), *self.shape_in))
        grad_in[...] = 0
        return grad_in


class MaxPool1D(Pool1D):
    """``y[p, c] = max of x[p * stride + k, c] over k``; the gradient goes to the first point with the maximum."""

    passing = ("x", "y")

    def forward(self, x: Array, training: bool = False) -> Array:
        self.x, self.y = x, self._pooled(x, np.maximum, -np.inf)
        return self.y

    def backward(self, grad_out: Array) -> Array:
        grad_in = self._grad_in(grad_out)
        free = self.buffer("free", grad_out.shape, np.bool_)  # windows whose maximum is still to come
        hit = self.buffer("hit", grad_out.shape, np.bool_)
        free[...] = True
        for which, points in self._spans:
            found = np.equal(self.x[:, points], self.y[:, which], out=hit[:, which])
            found &= free[:, which]
            if self._apart:  # each point is in one window at most
                np.copyto(grad_in[:, points], grad_out[:, which], where=found)
            else:
                grads = self.buffer("grads", grad_out.shape)[:, which]
                grad_in[:, points] += np.multiply(grad_out[:, which], found, out=grads)
            free[:, which] ^= found
        return grad_in


class AveragePool1D(Pool1D):
    """``y[p, c] = mean of x[p * stride + k, c] over k``."""

    def _sizes(self) -> Any:
        """The number of points of each window, as one number if they all have as many."""
        if self._whole:
            return self.size
        sizes = self.buffer("sizes", self._counts.shape)
        sizes[...] = self._counts
        return sizes

    def forward(self, x: Array, training: bool = False) -> Array:
        y = self._pooled(x, np.add, 0)
        y /= self._sizes()
        return y

    def backward(self, grad_out: Array) -> Array:
        grad_in = self._grad_in(grad_out)
        share = np.divide(grad_out, self._sizes(), out=self.buffer("share", grad_out.shape))
        for shares, points in self._members(share, grad_in):
            if self._apart:
                points[...] = shares
            else:
                points += shares
        return grad_in
