"""Convolution and pooling along a path: samples of shape (length, channels)."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from .initializers import check_initializer
from .layer import Layer
from .values import Array, Shape, check, check_count

Reading = tuple[slice, slice]  # points of a path, and points of a kernel
_FEW = 32  # samples


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

    The points of a window are neighbours in memory. So the windows of all samples at p are the rows of a matrix that is
    there already, (batch, points * channels), and ``y[:, p]`` is its product with W. A window that reaches beyond the
    path meets only a part of W; no zeros are stored. In the same way the gradient by a point of x is a product of the
    windows of dL/dy that the point has had a part in, with W turned round.

    Dilated windows, and those of a few samples, are copied side by side into one matrix instead.

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
    passing = ("x", "y", "grad_out", "grad_in", "columns", "_products", "_sums", "_turns", "_products_back")
    x: Array | None = None
    grad_out: Array | None = None
    W: Array
    b: Array
    dW: Array
    db: Array

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
        self._reads, self._read_by = self._readings(length, length_out)
        fan_in, fan_out = self.kernel_size * channels, self.kernel_size * self.filters
        self.declare("W", (self.kernel_size, channels, self.filters), self.init, fan_in, fan_out, decay=True)
        if self.use_bias:
            self.declare("b", (self.filters,), self.bias_init, fan_in, fan_out)
        return length_out, self.filters

    def _readings(self, length: int, length_out: int) -> tuple[list[Reading], list[Reading]]:
        """What each point of y reads, points of x with points of W, and what reads each point of x, of y and of W.

        The second W is turned round: its points are in the order ``_turned``, for each remainder by the stride the
        last one first.
        """
        n, step = self.kernel_size, self.stride
        reads, read_by = list[Reading](), list[Reading]()
        for p in range(length_out):
            start = p * step - self._before
            first, end = max(-start, 0), min(length - start, n)
            reads.append((slice(start + first, start + end), slice(first, end)))
        self._turned = sorted(range(n), key=lambda k: (k % step, -k))
        for q in range(self._before, self._before + length):
            first, end = max((q - n) // step + 1, 0), min(q // step + 1, length_out)
            k = self._turned.index(q - first * step) if first < end else 0
            read_by.append((slice(first, max(first, end)), slice(k, k + max(end - first, 0))))
        return reads, read_by

    def _arrange(self, x: Array) -> None:
        """Make the views for a batch that is another array than the one before: matrices whose product is y[:, p]."""
        self.y = y = self.output((len(x), *self.shape_out))
        self._products = [
            (_windows(x, points), _matrix(self.W[part]), y[:, p]) for p, (points, part) in enumerate(self._reads)
        ]
        self.x, self.grad_out = x, None

    def _arrange_backward(self, grad_out: Array) -> None:
        """The same for the gradient: the factors of dW and the place of their product, and those of dL/dx[:, q]."""
        product = self.buffer("product", self.W.shape)
        self._sums = [
            (windows.T, grad_out[:, p], _matrix(product[part]), _matrix(self.dW[part]))
            for p, ((_, part), (windows, *_)) in enumerate(zip(self._reads, self._products, strict=True))
        ]
        turned = self.buffer("turned", (self.kernel_size, self.filters, self.shape_in[1]))
        grad_in = self.buffer("grad_in", (len(grad_out), *self.shape_in))
        self._products_back = [
            (_windows(grad_out, points), _matrix(turned[part]), grad_in[:, q])
            for q, (points, part) in enumerate(self._read_by)
        ]
        self._turns = [(turned[place], self.W[k].T) for place, k in enumerate(self._turned)]
        self.grad_in, self.grad_out = grad_in, grad_out

    def forget(self) -> None:
        super().forget()
        self.x = self.grad_out = None

    def forward(self, x: Array, training: bool = False) -> Array:
        if self._copied(len(x)):
            y = self.output((len(x), *self.shape_out))
            np.matmul(self._copy_windows(x), _matrix(self.W), out=_matrix(y))
        else:
            x = contiguous(self, "x", x)
            if x is not self.x:
                self._arrange(x)
            for windows, part, at_p in self._products:
                np.matmul(windows, part, out=at_p)
            y = self.y
        if self.use_bias:
            y += self.b
        return y

    def backward(self, grad_out: Array) -> Array:
        grad_out = contiguous(self, "grad_out", grad_out)
        self.backward_parameters(grad_out)
        if self._copied(len(grad_out)):
            return self._backward_to_copies(grad_out)
        for place, at_k in self._turns:
            place[...] = at_k
        for windows, part, at_q in self._products_back:
            np.matmul(windows, part, out=at_q)
        return self.grad_in

    def backward_parameters(self, grad_out: Array) -> None:
        grad_out = contiguous(self, "grad_out", grad_out)
        rows = _matrix(grad_out)
        if self._copied(len(grad_out)):
            np.matmul(self.columns.T, rows, out=_matrix(self.dW))
        else:
            if grad_out is not self.grad_out:
                self._arrange_backward(grad_out)
            self.dW.fill(0)
            for windows, at_p, product, part in self._sums:
                np.matmul(windows, at_p, out=product)
                part += product
        if self.use_bias:
            self.buffer("ones", (1, len(rows)), fill=1)[0].dot(rows, self.db)  # their sum, as a product

    # Windows that are copied

    def _copied(self, batch: int) -> bool:
        return self.dilation > 1 or batch < _FEW

    def _copy_windows(self, x: Array) -> Array:
        """The windows as the rows of a matrix, (batch * length_out, kernel_size * channels)."""
        path = self.buffer("path", (len(x), self._length_padded, x.shape[2]))
        path[:, : self._before] = 0
        path[:, self._before + x.shape[1] :] = 0
        path[:, self._before : self._before + x.shape[1]] = x
        columns = self.buffer("columns", (len(x), self.shape_out[0], self.kernel_size, x.shape[2]))
        for k, points in enumerate(self._points(path)):
            columns[:, :, k] = points
        self.columns = columns.reshape(-1, self.kernel_size * x.shape[2])
        return self.columns

    def _backward_to_copies(self, grad_out: Array) -> Array:
        channels = self.shape_in[1]
        grad_columns = self.buffer("grad_columns", (*grad_out.shape[:2], self.kernel_size, channels))
        np.matmul(_matrix(grad_out), _matrix(self.W).T, out=grad_columns.reshape(-1, self.kernel_size * channels))
        grad_path = self.buffer("grad_path", (len(grad_out), self._length_padded, channels))
        grad_path[...] = 0
        for k, points in enumerate(self._points(grad_path)):
            points += grad_columns[:, :, k]
        return grad_path[:, self._before : self._before + self.shape_in[0]]

    def _points(self, path: Array) -> Iterator[Array]:
        """For each point of the kernel, a view of those of the path that it meets."""
        reach = (self.shape_out[0] - 1) * self.stride + 1
        for k in range(self.kernel_size):
            start = k * self.dilation
            yield path[:, start : start + reach : self.stride]


def _windows(paths: Array, points: slice) -> Array:
    """These points of each path as a row, (batch, points * channels): a view."""
    return paths[:, points].reshape(len(paths), -1)


def _matrix(array: Array) -> Array:
    """The last axis and all others as one: a view."""
    return array.reshape(-1, array.shape[-1])


def contiguous(layer: Layer, name: str, batch: Array) -> Array:
    """The batch, or a copy in a buffer if it is not in order in memory."""
    if batch.flags.c_contiguous:
        return batch
    place = layer.buffer(name, batch.shape)
    place[...] = batch
    return place


def as_rows_of_channels(layer: Layer, grad_out: Array) -> Array:
    """The gradient (batch, ..., channels) with one row for each point of each sample; ``reshape`` might allocate."""
    return _matrix(contiguous(layer, "grad_out", grad_out))


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
