"""Layers that multiply by weights or change the shape of samples, and layers made of layers.

Shapes leave out the batch axis: ``(16,)`` is a row of 16 numbers, ``(8, 2)`` a path of 8 points with 2 channels each.
"""

import copy
import functools
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, ParamSpec, Self

import numpy as np
from numpy.typing import DTypeLike

from .activations import ACTIVATIONS, make_activation
from .convolution import AveragePool1D, Conv1D, MaxPool1D, as_rows_of_channels
from .initializers import check_initializer, initialize
from .layer import Layer
from .memory import Order, batch_order
from .normalization import BatchNorm, LayerNorm
from .parts import is_ours, make, same_class
from .products import multiply
from .values import Array, Rng, Shape, check, check_below_1, check_count, generator, listed


class Linear(Layer):
    """``y = x W + b``: x (batch, n_in), W (n_in, n_out), b (n_out,), y (batch, n_out).

    ``dL/dW = x^T dL/dy``, ``dL/db = sum over the batch of dL/dy``, ``dL/dx = dL/dy W^T``.

    Samples with more axes are multiplied along the last one, each point of a path by the same W: x (batch, ..., n_in),
    y (batch, ..., n_out). The sums then go over the points too.

    W and b are neighbours in the network's vector, so that they form one matrix ``Wb`` with b as its last row. With a
    column of ones beside x, the layer is one product, ``y = [x 1] Wb``, and so is the gradient of W and b,
    ``[x 1]^T dL/dy``.

    Args:
        n_out: the number of outputs.
        n_in: the number of inputs; None: taken from the layer before.
        init: the initializer of W; ``auto`` suits the next activation.
        bias_init: the initializer of b.
        use_bias: False leaves b out.
    """

    added_options = ("use_bias",)
    passing = ("Wb", "WbT", "dWb", "batch", "inputs", "factors", "x1T", "y", "grad_in")
    batch: tuple[Shape, bool] | None = None  # the shape and order of the batches that the present buffers are for
    W: Array
    b: Array
    dW: Array
    db: Array
    Wb: Array
    dWb: Array
    WbT: Array

    def __init__(
        self,
        n_out: int,
        n_in: int | None = None,
        init: str = "auto",
        bias_init: str = "zeros",
        *,
        use_bias: bool = True,
    ) -> None:
        super().__init__()
        check_count(self, n_out=n_out)
        if n_in is not None:
            check_count(self, n_in=n_in)
        self.n_out, self.n_in, self.use_bias = int(n_out), n_in, use_bias
        self.init, self.bias_init = check_initializer(init), check_initializer(bias_init)

    def _shapes(self, shape_in: Shape) -> Shape:
        n_in = shape_in[-1]
        check(self.n_in in (None, n_in), self, f"{self.name} expects {self.n_in} inputs, got {n_in}")
        self.declare("W", (n_in, self.n_out), self.init, n_in, self.n_out, decay=True)
        if self.use_bias:
            self.declare("b", (self.n_out,), self.bias_init, n_in, self.n_out)
        return (*shape_in[:-1], self.n_out)

    def bind(self, params: Array, grads: Array) -> None:
        super().bind(params, grads)
        self.place("Wb", params.reshape(-1, self.n_out))
        self.place("dWb", grads.reshape(-1, self.n_out))
        self.place("WbT", self.Wb.T)

    def _arrange(self, x: Array) -> None:
        """Get the buffers for batches like x, and make their views once instead of every step.

        Long rows one after the other stay so: they come from a flatten, which needs the gradient in that order, too.
        Products with short rows are faster if the batch lies column by column.
        """
        self.batch = x.shape, x.flags.c_contiguous
        axes = x.shape[:-1]
        order: Order = "C" if x.flags.c_contiguous and x.shape[-1] > _SHORT else batch_order(x.shape)
        x1, self.inputs = self._with_ones(x.shape, order)
        self.y, self.grad_in = self.output((*axes, self.n_out)), self.buffer("grad_in", x.shape, order=order)
        rows, results = x1.reshape(-1, len(self.Wb)), self.y.reshape(-1, self.n_out)
        self.x1T = rows.T
        # y = [x 1] Wb; transposed if y is column by column in memory, because a product's place must be C-contiguous
        self.factors = (self.WbT, rows.T, results.T) if len(axes) == 1 else (rows, self.Wb, results)

    def _with_ones(self, shape: Shape, order: Order) -> tuple[Array, Array]:
        """The buffer for a batch of that shape with the column of ones, and its part for the batch."""
        x1 = self.buffer("input", (*shape[:-1], len(self.Wb)), fill=1, order=order)
        return x1, self._buffers.setdefault(("inputs", shape, order), x1[..., : shape[-1]])

    def place_of_input(self, shape: Shape) -> Array | None:
        return self._with_ones(shape, batch_order(shape))[1] if len(shape) == 2 else None

    def forget(self) -> None:
        super().forget()
        self.batch = None

    def forward(self, x: Array, training: bool = False) -> Array:
        if (x.shape, x.flags.c_contiguous) != self.batch:
            self._arrange(x)
        if x is not self.inputs:
            self.inputs[...] = x
        left, right, result = self.factors
        multiply(left, right, result)
        return self.y

    def backward(self, grad_out: Array) -> Array:
        self.backward_parameters(grad_out)
        grad_in = self.grad_in
        if grad_in.flags.c_contiguous:
            multiply(self._rows(grad_out), self.W.T, grad_in.reshape(-1, grad_in.shape[-1]))  # dL/dx = dL/dy W^T
        else:
            multiply(self.W, grad_out.T, grad_in.T)  # the same, transposed
        return grad_in

    def backward_parameters(self, grad_out: Array) -> None:
        multiply(self.x1T, self._rows(grad_out), self.dWb)  # [x 1]^T dL/dy

    def _rows(self, grad_out: Array) -> Array:
        return grad_out if grad_out.ndim == 2 else as_rows_of_channels(self, grad_out)


_SHORT = 32  # numbers in a row


class Reshape(Layer):
    """Give samples another shape with as many numbers: ``{shape: [8, 2]}`` makes a row of 16 a path of 8 points.

    One of the numbers may be -1: it is computed from the size of the samples.
    """

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        free = [n for n in shape if isinstance(n, int | np.integer) and n == -1]
        check(len(free) <= 1, self, f"shape may hold one -1 at most, got {list(shape)}")
        for n in shape:
            check_count(self, shape=n if n not in free else 1)
        self.shape = [int(n) for n in shape]

    def _shapes(self, shape_in: Shape) -> Shape:
        free = max(math.prod(shape_in) // abs(math.prod(self.shape)), 1)
        shape = tuple(free if n == -1 else n for n in self.shape)
        fits = math.prod(shape_in) == math.prod(shape)
        check(fits, self, f"{self.name} cannot make samples of shape {shape} out of {shape_in}")
        return shape

    def config(self) -> dict[str, Any]:
        """The arguments that make this layer again, with the number that was computed for -1."""
        return {"shape": list(self.shape_out or self.shape)}

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
    """The batch with samples of another shape: a view if its order in memory allows, otherwise a copy in a buffer."""
    shape = (len(batch), *shape)
    if not batch.flags.c_contiguous:
        place = layer.buffer(name, batch.shape if batch.ndim > 2 else shape)
        place.reshape(batch.shape)[...] = batch
        batch = place
    return batch.reshape(shape)


class Dropout(Layer):
    """In training, ``y = x / (1 - rate)``, but 0 with probability ``rate`` for each number; otherwise ``y = x``.

    The expectation of y is x in both cases (Srivastava et al. 2014, in the inverted form). 16 random bits decide about
    a number, so the probability is the multiple of 2^-16 that is nearest to ``rate``.
    """

    passing = ("active", "scale")
    repeatable = False  # it draws

    def __init__(self, rate: float = 0.5) -> None:
        super().__init__()
        check_below_1(self, rate=rate)
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
        drawn = self._draw(x.shape, self.rng)
        kept = np.greater_equal(drawn, round(self.rate * 2**16), out=self.buffer("kept", x.shape, np.bool_))
        self.scale = self.buffer("scale", x.shape)
        np.multiply(kept, self.dtype.type(1 / (1 - self.rate)), out=self.scale)
        return np.multiply(x, self.scale, out=self.output(x.shape))

    def _draw(self, shape: Shape, rng: np.random.Generator) -> Array:
        """Whole numbers of 16 random bits: four are drawn at once, in a third of the time of as many floats."""
        drawn = self.buffer("drawn", shape, np.uint16)
        numbers = drawn.reshape(-1, order="A")  # a view
        for start in range(0, len(numbers), _DRAWN_AT_ONCE):
            some = numbers[start : start + _DRAWN_AT_ONCE]
            words = rng.integers(2**64 - 1, size=math.ceil(len(some) / 4), dtype=np.uint64, endpoint=True)
            some[...] = words.view(np.uint16)[: len(some)]
        return drawn

    def backward(self, grad_out: Array) -> Array:
        if not self.active:
            return grad_out
        return np.multiply(grad_out, self.scale, out=self.grad_in_place(grad_out.shape))


_DRAWN_AT_ONCE = 32768  # numbers, so that memory stays bounded

Given = ParamSpec("Given")


def takes_a_list(init: Callable[Given, None]) -> Callable[Given, None]:
    """For an ``__init__`` whose first argument is the layers: refuse layers that are given one by one."""

    @functools.wraps(init)
    def checked(*args: Given.args, **options: Given.kwargs) -> None:
        owner, *given = args
        single = [layer for layer in (*given, options.get("layers")) if isinstance(layer, Layer)]
        if single:
            raise ValueError(f"{type(owner).__name__} takes its layers in one list: [{single[0]!r}, ...]")
        init(*args, **options)

    return checked


class Chain(Layer):
    """Layers one after the other: ``y = f_n(... f_2(f_1(x)))``. Its parameters are those of the layers, in order.

    A layer object that already has a place in a chain is copied, so that each place has its own state. The copy begins
    with the weights of the layer. A warning says so, unless the layer was taken from a network (``network.layers``).
    """

    @takes_a_list
    def __init__(self, layers: Sequence[Any]) -> None:
        super().__init__()
        layers = listed("layers", layers)
        check(len(layers) > 0, self, "needs at least one layer")
        self.layers: list[Layer] = []
        reused = []
        for spec in layers:
            layer = make_layer(spec)
            if layer.placed:
                reused += [part.name for part in layer.walk() if part.arrays() and not part.handed_out]
                layer = copy.deepcopy(layer)
            layer.placed = True
            self.layers.append(layer)
        if reused:
            warnings.warn(
                f"{', '.join(reused)}: in a network already; the copies here begin with the same weights. To begin "
                "anew, give new layers, or names. To keep weights, take the layers from the network, network.layers",
                stacklevel=5,  # whoever makes a network of them
            )

    def children(self) -> Iterator[Layer]:
        yield from self.layers

    def config(self) -> dict[str, Any]:
        return {"layers": [layer_spec(layer) for layer in self.layers]}

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
        self._link()

    def twin(self) -> Self:
        twin = super().twin()
        twin._link()
        return twin

    def _link(self) -> None:
        if is_ours(self):  # another class may run its layers in another way
            link(self.layers)

    def forward(self, x: Array, training: bool = False) -> Array:
        for layer in self.layers:
            x = layer.forward(x, training)
        return x

    def backward(self, grad_out: Array) -> Array:
        for layer in reversed(self.layers):
            grad_out = layer.backward(grad_out)
        return grad_out

    def backward_parameters(self, grad_out: Array) -> None:
        backward_parameters(self.layers, grad_out)

    def forget(self) -> None:
        super().forget()
        for layer in self.layers:
            layer.forget()


def link(layers: Sequence[Layer]) -> None:
    """Let each layer know the next one, which may have a place for its results (``Layer.output``)."""
    for layer, following in pairwise(layers):
        layer.following = following


def backward_parameters(layers: Sequence[Layer], grad_out: Array) -> None:
    """Fill the gradients of layers that follow each other, back to the first one with parameters."""
    first = next((i for i, layer in enumerate(layers) if layer.n_parameters), 0)
    for layer in layers[:first:-1]:
        grad_out = layer.backward(grad_out)
    layers[first].backward_parameters(grad_out)


def handed_out(layer: Layer) -> Layer:
    """The layer, marked as taken from its network by the user, who may place copies of it elsewhere."""
    for part in layer.walk():
        part.handed_out = True
    return layer


class Residual(Chain):
    """``y = x + f(x)``, where f is a chain of layers that keeps the shape (He et al. 2016).

    ``dL/dx = dL/dy + f'(x)^T dL/dy``: the gradient also passes around f, which makes deep networks trainable.
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
    number = isinstance(spec, int | np.integer)
    if number:
        raise ValueError(
            f"a layer cannot be the number {spec}; {spec} units are Linear({spec}), or a width in dense_layers"
        )
    if isinstance(spec, list | tuple) or hasattr(spec, "chain"):
        raise ValueError(f"a layer cannot be a list or a network; put its layers in, such as *network, got {spec!r}")
    part: Any = make("layer", {**LAYERS, **ACTIVATIONS}, spec)
    return part if isinstance(part, Layer) else make_activation(part)


def layer_spec(layer: Layer) -> dict[str, Any]:
    """The inverse of ``make_layer``: ``{"name": {option: value}}``.

    Raises:
        ValueError: if the layer's class is not registered.
    """
    part = getattr(layer, "user", layer)
    for name, kind in {**LAYERS, **ACTIVATIONS}.items():
        if same_class(kind, type(part)):
            return {name: layer.config()}
    kind_name = type(part).__name__
    raise ValueError(f"{kind_name} is not registered, so a network with it cannot be saved; register it under a name")


def setup(layer: Layer, shape_in: Shape, rng: Rng, dtype: DTypeLike = np.float64) -> Shape:
    """Make a layer usable without a network: with sizes, two vectors of its own and initial values.

    Returns:
        the shape of the output.
    """
    shape_out = layer.build(shape_in)
    layer.rng = rng = generator(rng)
    layer.bind(np.zeros(layer.n_parameters, dtype), np.zeros(layer.n_parameters, dtype))
    initialize(layer, rng)
    return shape_out
