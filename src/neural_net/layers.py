"""Layers with parameters, layers that change shape, and layers made of layers.

Shapes leave out the batch axis: ``(16,)`` is a row of 16 numbers, ``(8, 2)`` a path of 8 points with 2 channels each.
"""

import copy
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from .activations import ACTIVATIONS, make_activation
from .base import Array, Layer, Shape, check, count, make, same_class
from .initializers import check_initializer


class Linear(Layer):
    """``y = x W + b``: x (batch, n_in), W (n_in, n_out), b (n_out,), y (batch, n_out).

    ``dL/dW = x^T dL/dy``, ``dL/db = sum over the batch of dL/dy``, ``dL/dx = dL/dy W^T``.

    W and b lie one after the other in the network's vector, so that together they are one matrix ``Wb`` with b as its
    last row. With a column of ones beside x, ``[x 1] Wb`` is the whole layer in one product, and ``[x 1]^T dL/dy`` is
    the gradient of W and of b.

    Args:
        n_out: the number of outputs.
        n_in: the number of inputs; None takes what comes.
        init: W's initializer; ``auto`` suits the activation that follows.
        bias_init: b's initializer.
    """

    passing = ("Wb", "WbT", "dWb", "batch", "x1", "x1T", "y", "yT")
    batch: Shape = ()  # the shape of the batches that the buffers at hand are for

    def __init__(self, n_out: int, n_in: int | None = None, init: str = "auto", bias_init: str = "zeros") -> None:
        super().__init__()
        count(self, n_out=n_out)
        if n_in is not None:
            count(self, n_in=n_in)
        check_initializer(init)
        check_initializer(bias_init)
        self.n_out, self.n_in, self.init, self.bias_init = int(n_out), n_in, init, bias_init

    def _shapes(self, shape_in: Shape) -> Shape:
        check(
            len(shape_in) == 1,
            self,
            f"{self.name} expects rows of numbers, got samples of shape {shape_in}; put flatten before it",
        )
        check(self.n_in in (None, shape_in[0]), self, f"{self.name} expects {self.n_in} inputs, got {shape_in[0]}")
        n_in = shape_in[0]
        self.declare("W", (n_in, self.n_out), self.init, n_in, self.n_out, decay=True)
        self.declare("b", (self.n_out,), self.bias_init, n_in, self.n_out)
        return (self.n_out,)

    def bind(self, params: Array, grads: Array) -> None:
        super().bind(params, grads)
        self.Wb, self.dWb = params.reshape(-1, self.n_out), grads.reshape(-1, self.n_out)
        self.WbT = self.Wb.T

    def input_place(self, shape: Shape) -> Array:
        return self._beside_ones(shape)[:, :-1]

    def _beside_ones(self, shape: Shape) -> Array:
        """The buffer ``[x 1]`` for an x of that shape."""
        return self.buffer("input", (shape[0], shape[1] + 1), fill=1)

    def _arrange(self, shape: Shape) -> None:
        """Lay out the buffers for batches of this shape: their views are made once, and not in each step."""
        self.batch, self.x1, self.y = shape, self._beside_ones(shape), self.buffer("output", (shape[0], self.n_out))
        self.x1T, self.yT = self.x1.T, self.y.T

    def forget(self) -> None:
        super().forget()
        self.batch = ()

    def forward(self, x: Array, training: bool = False) -> Array:
        if x.shape != self.batch:
            self._arrange(x.shape)
        if x.base is not self.x1:  # the layer before may have written it there
            self.x1[:, :-1] = x
        self.WbT.dot(self.x1T, self.yT)  # y = x1 Wb; yT is in the order that dot writes in
        return self.y

    def backward(self, grad_out: Array) -> Array:
        self.backward_parameters(grad_out)
        grad_in = self.buffer("grad_in", self.batch)
        self.W.dot(grad_out.T, grad_in.T)
        return grad_in

    def backward_parameters(self, grad_out: Array) -> None:
        self.x1T.dot(grad_out, self.dWb)

    W: Array
    b: Array
    dW: Array
    db: Array


class Conv1D(Layer):
    """A convolution along a path: ``y[p, f] = b[f] + sum over k, c of x[p * stride + k, c] W[k, c, f]``.

    x (batch, length, channels), W (kernel_size, channels, filters), y (batch, length_out, filters). As in all such
    libraries the kernel is not flipped, so mathematicians call it a cross-correlation.

    The windows of x become the rows of a matrix, and the layer a single product, as in ``Linear``.

    Args:
        filters: the number of output channels.
        kernel_size: the number of points that a window covers.
        stride: the step from window to window.
        padding: ``same`` puts zeros around the path, so that ``length_out = ceil(length / stride)``; ``valid`` puts
            none, and ``length_out = floor((length - kernel_size) / stride) + 1``.
        init, bias_init: as for ``Linear``.
    """

    passing = ("columns", "Wb", "dWb")

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
        count(self, filters=filters, kernel_size=kernel_size, stride=stride)
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
        self.Wb, self.dWb = params.reshape(-1, self.filters), grads.reshape(-1, self.filters)

    def _windows(self, path: Array, columns: Array) -> Iterator[tuple[Array, Array]]:
        """Pairs of views, one a kernel position: the points that it meets, and their columns in the windows' matrix."""
        channels, reach = path.shape[2], (self.shape_out[0] - 1) * self.stride + 1
        for k in range(self.kernel_size):
            yield path[:, k : k + reach : self.stride], columns[:, :, k * channels : (k + 1) * channels]

    def forward(self, x: Array, training: bool = False) -> Array:
        batch, length, channels = x.shape
        path = self.buffer("path", (batch, self._length_padded, channels))
        path[:, : self._before] = 0
        path[:, self._before + length :] = 0
        path[:, self._before : self._before + length] = x
        columns = self.buffer("columns", (batch, self.shape_out[0], len(self.Wb)))
        columns[:, :, -1] = 1
        for points, place in self._windows(path, columns):
            np.copyto(place, points)
        self.columns = columns
        out = self.output((batch, *self.shape_out))
        np.matmul(columns.reshape(-1, len(self.Wb)), self.Wb, out=out.reshape(-1, self.filters))
        return out

    def backward(self, grad_out: Array) -> Array:
        self.backward_parameters(grad_out)
        batch, length_out, _ = grad_out.shape
        channels = self.W.shape[1]
        grad_columns = self.buffer("grad_columns", (batch, length_out, len(self.Wb) - 1))
        rows = self._rows(grad_out)
        np.matmul(rows, self.Wb[:-1].T, out=grad_columns.reshape(len(rows), -1))
        grad_path = self.buffer("grad_path", (batch, self._length_padded, channels))
        grad_path[...] = 0
        for points, place in self._windows(grad_path, grad_columns):
            np.add(points, place, out=points)
        return grad_path[:, self._before : self._before + self.shape_in[0]]

    def backward_parameters(self, grad_out: Array) -> None:
        rows = self._rows(grad_out)
        np.matmul(self.columns.reshape(len(rows), -1).T, rows, out=self.dWb)

    def _rows(self, grad_out: Array) -> Array:
        """The gradient with a row a window, (batch * length_out, filters)."""
        if not grad_out.flags.c_contiguous:  # from another convolution; ``reshape`` would copy into new memory
            place = self.buffer("grad_out", grad_out.shape)
            np.copyto(place, grad_out)
            grad_out = place
        return grad_out.reshape(-1, self.filters)

    W: Array
    b: Array
    dW: Array
    db: Array


class Pool1D(Layer):
    """What max and average pooling share: windows of ``size`` points side by side; what is left over is dropped.

    x (batch, length, channels) -> y (batch, length // size, channels).
    """

    def __init__(self, size: int = 2) -> None:
        super().__init__()
        count(self, size=size)
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
        grad_in = self.buffer("grad_in", (len(grad_out), *self.shape_in))
        grad_in[...] = 0
        return grad_in


class MaxPool1D(Pool1D):
    """``y[p, c] = max of x[p * size + k, c] over k``; the gradient goes to the first point that has the maximum."""

    passing = ("x", "y")

    def forward(self, x: Array, training: bool = False) -> Array:
        self.x, self.y = x, self.output((len(x), *self.shape_out))
        first, *others = self._members(x)
        np.copyto(self.y, first)
        for points in others:
            np.maximum(self.y, points, out=self.y)
        return self.y

    def backward(self, grad_out: Array) -> Array:
        grad_in = self._grad_in(grad_out)
        free = self.buffer("free", grad_out.shape, np.bool_)
        hit = self.buffer("hit", grad_out.shape, np.bool_)
        free[...] = True
        for points, grad in zip(self._members(self.x), self._members(grad_in), strict=True):
            np.equal(points, self.y, out=hit)
            np.logical_and(hit, free, out=hit)
            np.copyto(grad, grad_out, where=hit)
            np.greater(free, hit, out=free)
        return grad_in


class AveragePool1D(Pool1D):
    """``y[p, c] = mean of x[p * size + k, c] over k``."""

    def forward(self, x: Array, training: bool = False) -> Array:
        y = self.output((len(x), *self.shape_out))
        first, *others = self._members(x)
        np.copyto(y, first)
        for points in others:
            np.add(y, points, out=y)
        return np.divide(y, self.size, out=y)

    def backward(self, grad_out: Array) -> Array:
        grad_in = self._grad_in(grad_out)
        for grad in self._members(grad_in):
            np.divide(grad_out, self.size, out=grad)
        return grad_in


class Reshape(Layer):
    """Give samples another shape of as many numbers: ``reshape: {shape: [8, 2]}`` makes a row a path of 8 points.

    One of the numbers may be -1: it becomes what the samples have to fill it, as soon as their shape is known.
    """

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        free = [n for n in shape if isinstance(n, int | np.integer) and n == -1]
        check(len(free) <= 1, self, f"shape may hold one -1 at most, got {list(shape)}")
        for n in shape:
            count(self, shape=n if n not in free else 1)
        self.shape = [int(n) for n in shape]

    def _shapes(self, shape_in: Shape) -> Shape:
        free = max(math.prod(shape_in) // abs(math.prod(self.shape)), 1)
        self.shape = [free if n == -1 else n for n in self.shape]
        fits = math.prod(shape_in) == math.prod(self.shape)
        check(fits, self, f"{self.name} cannot make samples of shape {tuple(self.shape)} out of {shape_in}")
        return tuple(self.shape)

    def forward(self, x: Array, training: bool = False) -> Array:
        return _reshaped(self, "output", x, self.shape_out)

    def backward(self, grad_out: Array) -> Array:
        return _reshaped(self, "grad_in", grad_out, self.shape_in)


class Flatten(Layer):
    """Make each sample one row: (batch, a, b, ...) -> (batch, a * b * ...)."""

    def _shapes(self, shape_in: Shape) -> Shape:
        return (math.prod(shape_in),)

    def forward(self, x: Array, training: bool = False) -> Array:
        return _reshaped(self, "output", x, self.shape_out)

    def backward(self, grad_out: Array) -> Array:
        return _reshaped(self, "grad_in", grad_out, self.shape_in)


def _reshaped(layer: Layer, name: str, batch: Array, shape: Shape) -> Array:
    """The batch with samples of another shape: a view where its order in memory allows, else a copy in a buffer."""
    shape = (len(batch), *shape)
    if not batch.flags.c_contiguous:
        place = layer.buffer(name, batch.shape if batch.ndim > 2 else shape)
        np.copyto(place.reshape(batch.shape), batch)
        batch = place
    return batch.reshape(shape)


class Dropout(Layer):
    """In training each number is zeroed with probability ``rate`` and the rest divided by ``1 - rate``; else ``y = x``.

    So the expectation is the same in both (Srivastava et al. 2014, in its inverted form).
    """

    passing = ("active", "scale")

    def __init__(self, rate: float = 0.5) -> None:
        super().__init__()
        check(0 <= rate < 1, self, f"rate must be at least 0 and less than 1, got {rate}")
        self.rate = rate

    def forward(self, x: Array, training: bool = False) -> Array:
        self.active = training and self.rate > 0
        if not self.active:
            return x
        if self.rng is None:
            raise ValueError(
                f"{self.name or 'Dropout'} draws at random: set rng, a numpy.random.Generator, before training"
            )
        if x.dtype is not self.dtype:
            self.adopt(x.dtype)
        self.scale = self.buffer("scale", x.shape)
        self.rng.random(out=self.scale, dtype=self.dtype.type)
        kept = np.greater_equal(self.scale, self.rate, out=self.buffer("kept", x.shape, np.bool_))
        np.multiply(kept, 1 / (1 - self.rate), out=self.scale, casting="same_kind")
        return np.multiply(x, self.scale, out=self.output(x.shape))

    def backward(self, grad_out: Array) -> Array:
        if not self.active:
            return grad_out
        return np.multiply(grad_out, self.scale, out=self.buffer("grad_in", grad_out.shape))


class Normalization(Layer):
    """What batch and layer normalisation share: ``y = gamma * xhat + beta``, ``xhat = (x - mean) / sqrt(var + eps)``.

    gamma and beta have one number a feature (the last axis); mean and variance are taken over ``_axes``. With
    ``g = gamma * dL/dy`` the gradient is ``dL/dx = (g - mean(g) - xhat * mean(g * xhat)) / sqrt(var + eps)``.
    """

    eps: float
    passing = ("xhat", "deviation")

    def _shapes(self, shape_in: Shape) -> Shape:
        self.declare("gamma", shape_in[-1:], "ones")
        self.declare("beta", shape_in[-1:], "zeros")
        return shape_in

    def _axes(self, x: Array) -> tuple[int, ...]:
        raise NotImplementedError

    def _mean(self, name: str, x: Array) -> Array:
        """The mean over ``_axes``, which stay as axes of length 1, in a buffer."""
        axes = self._axes(x)
        shape = tuple(1 if axis in axes else n for axis, n in enumerate(x.shape))
        return np.mean(x, axis=axes, keepdims=True, out=self.buffer(name, shape))

    def _statistics(self, x: Array) -> tuple[Array, Array]:
        """Mean and variance over ``_axes``."""
        mean = self._mean("mean", x)
        squares = np.subtract(x, mean, out=self.buffer("product", x.shape))
        return mean, self._mean("variance", np.multiply(squares, squares, out=squares))

    def _normalize(self, x: Array, mean: Array, variance: Array) -> Array:
        self.deviation = np.add(variance, self.eps, out=self.buffer("deviation", variance.shape))
        np.sqrt(self.deviation, out=self.deviation)
        self.xhat = np.subtract(x, mean, out=self.buffer("xhat", x.shape))
        np.divide(self.xhat, self.deviation, out=self.xhat)
        y = np.multiply(self.xhat, self.gamma, out=self.output(x.shape))
        return np.add(y, self.beta, out=y)

    def _backward(self, grad_out: Array, through_statistics: bool) -> Array:
        features = tuple(range(grad_out.ndim - 1))
        product = np.multiply(grad_out, self.xhat, out=self.buffer("product", grad_out.shape))
        product.sum(axis=features, out=self.dgamma)
        grad_out.sum(axis=features, out=self.dbeta)
        grad = np.multiply(grad_out, self.gamma, out=self.buffer("grad_in", grad_out.shape))
        if through_statistics:
            slope = self._mean("slope", np.multiply(grad, self.xhat, out=product))
            np.subtract(grad, self._mean("level", grad), out=grad)
            np.subtract(grad, np.multiply(self.xhat, slope, out=product), out=grad)
        return np.divide(grad, self.deviation, out=grad)

    gamma: Array
    beta: Array
    dgamma: Array
    dbeta: Array


class BatchNorm(Normalization):
    """Normalise each feature over the batch, and over the points of a path (Ioffe and Szegedy 2015).

    Training uses the batch's own mean and variance and keeps running ones: ``running = momentum * running + (1 -
    momentum) * batch's`` (the variance with the unbiased estimate, as PyTorch does); otherwise the running ones
    serve. They are saved with the network but not trained. A batch of one number a feature has no variance, and leaves
    the running ones as they are.
    """

    def __init__(self, momentum: float = 0.9, eps: float = 1e-5) -> None:
        super().__init__()
        check(0 <= momentum < 1, self, f"momentum must be at least 0 and less than 1, got {momentum}")
        check(eps > 0, self, f"eps must be greater than 0, got {eps}")
        self.momentum, self.eps = momentum, eps

    def bind(self, params: Array, grads: Array) -> None:
        super().bind(params, grads)
        features = self.parameters["gamma"].shape
        self.state = {"mean": np.zeros(features, self.dtype), "variance": np.ones(features, self.dtype)}

    def _axes(self, x: Array) -> tuple[int, ...]:
        return tuple(range(x.ndim - 1))

    def forward(self, x: Array, training: bool = False) -> Array:
        self.by_batch = training
        if not training:
            return self._normalize(x, self.state["mean"], self.state["variance"])
        mean, variance = self._statistics(x)
        n = x.size // x.shape[-1]
        if n > 1:
            unbiased = variance * (n / (n - 1))
            for name, latest in (("mean", mean), ("variance", unbiased)):
                self.state[name] *= self.momentum
                self.state[name] += (1 - self.momentum) * latest.reshape(-1)
        return self._normalize(x, mean, variance)

    def backward(self, grad_out: Array) -> Array:
        return self._backward(grad_out, through_statistics=self.by_batch)


class LayerNorm(Normalization):
    """``y = gamma * (x - mean) / sqrt(var + eps) + beta`` with mean and variance of each sample's last axis.

    The same in training and after (Ba et al. 2016). On a path each point is normalised over its channels.
    """

    def __init__(self, eps: float = 1e-5) -> None:
        super().__init__()
        check(eps > 0, self, f"eps must be greater than 0, got {eps}")
        self.eps = eps

    def _axes(self, x: Array) -> tuple[int, ...]:
        return (x.ndim - 1,)

    def forward(self, x: Array, training: bool = False) -> Array:
        return self._normalize(x, *self._statistics(x))

    def backward(self, grad_out: Array) -> Array:
        return self._backward(grad_out, through_statistics=True)


class Chain(Layer):
    """Layers one after the other: ``y = f_n(... f_2(f_1(x)))``. Its parameters are theirs, in their order.

    A layer object that has a place in a chain already is copied, so that no two places share their state.
    """

    def __init__(self, layers: Sequence[Any]) -> None:
        super().__init__()
        check(len(layers) > 0, self, "needs at least one layer")
        self.layers: list[Layer] = []
        for spec in layers:
            layer = make_layer(spec)
            if layer.placed:  # an object that is used twice: each place needs its own memory of the latest batch
                layer = copy.deepcopy(layer)
            layer.placed = True
            self.layers.append(layer)

    def children(self) -> Iterator[Layer]:
        yield from self.layers

    def config(self) -> dict[str, Any]:
        return {"layers": [layer_spec(layer) for layer in self.layers]}

    def build(self, shape_in: Shape) -> Shape:
        for layer, follower in zip(self.layers, [*self.layers[1:], None], strict=True):
            layer.follower = follower
        return super().build(shape_in)

    def _shapes(self, shape_in: Shape) -> Shape:
        shape = shape_in
        for layer in self.layers:
            shape = layer.build(shape)
        return shape

    @property
    def n_parameters(self) -> int:
        return sum(layer.n_parameters for layer in self.layers)

    def bind(self, params: Array, grads: Array) -> None:
        super().bind(params, grads)
        start = 0
        for layer in self.layers:
            stop = start + layer.n_parameters
            layer.bind(params[start:stop], grads[start:stop])
            start = stop

    def initialize(self, rng: np.random.Generator) -> None:
        for layer in self.layers:
            layer.initialize(rng)

    def input_place(self, shape: Shape) -> Array | None:
        return self.layers[0].input_place(shape)

    def forward(self, x: Array, training: bool = False) -> Array:
        for layer in self.layers:
            x = layer.forward(x, training)
        return x

    def backward(self, grad_out: Array) -> Array:
        for layer in reversed(self.layers):
            grad_out = layer.backward(grad_out)
        return grad_out

    def backward_parameters(self, grad_out: Array) -> None:
        for layer in self.layers[:0:-1]:
            grad_out = layer.backward(grad_out)
        self.layers[0].backward_parameters(grad_out)

    def forget(self) -> None:
        super().forget()
        for layer in self.layers:
            layer.forget()


class Residual(Chain):
    """``y = x + f(x)``, f a chain of layers that keeps the shape (He et al. 2016).

    ``dL/dx = dL/dy + f'(x)^T dL/dy``: the gradient has a way around f, so that deep networks train.
    """

    def _shapes(self, shape_in: Shape) -> Shape:
        shape_out = super()._shapes(shape_in)
        check(
            shape_out == shape_in,
            self,
            f"{self.name} must keep the shape of its samples, {shape_in}, and its layers make it {shape_out}",
        )
        return shape_out

    def forward(self, x: Array, training: bool = False) -> Array:
        return np.add(x, super().forward(x, training), out=self.output(x.shape))

    def backward(self, grad_out: Array) -> Array:
        return np.add(grad_out, super().backward(grad_out), out=self.buffer("grad_in", grad_out.shape))


LAYERS: dict[str, type[Layer]] = {
    "linear": Linear,
    "conv1d": Conv1D,
    "max_pool1d": MaxPool1D,
    "average_pool1d": AveragePool1D,
    "reshape": Reshape,
    "flatten": Flatten,
    "dropout": Dropout,
    "batch_norm": BatchNorm,
    "layer_norm": LayerNorm,
    "residual": Residual,
}


def make_layer(spec: Any) -> Layer:
    """A layer or an activation from its name, from ``{"name": {option: value}}``, or the object itself."""
    part: Any = make("layer", {**LAYERS, **ACTIVATIONS}, spec)
    return part if isinstance(part, Layer) else make_activation(part)


def layer_spec(layer: Layer) -> dict[str, Any]:
    """The inverse of ``make_layer``: ``{"name": {option: value}}``.

    Raises:
        ValueError: for a layer whose class is in no table.
    """
    part = getattr(layer, "user", layer)
    for name, kind in {**LAYERS, **ACTIVATIONS}.items():
        if same_class(kind, type(part)):
            return {name: layer.config()}
    kind_name = type(part).__name__
    raise ValueError(f"{kind_name} is not registered, so a network with it cannot be saved; register it under a name")
