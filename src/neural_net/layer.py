"""The contract that every layer fulfils, and the layer's place in the network's parameter vector."""

import copy
import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from .memory import Order, aligned, batch_order
from .parts import Shown, arguments, is_ours, options
from .values import Array, Shape, check, fitting
from .views import Places, Views


class Parameter(NamedTuple):
    """The declaration of one parameter array of a layer."""

    shape: Shape
    init: str
    fan_in: int
    fan_out: int
    decay: bool  # weight decay shrinks weights, but neither biases nor normalization

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)


class Layer(Views, Shown):
    """A differentiable function from a batch of arrays to a batch of arrays.

    A layer is used in this order:

    1. ``build`` fixes the sizes from the shape of one sample and declares the parameters.
    2. ``bind`` gives each declared parameter its place: for a parameter ``W``, ``layer.W`` and its gradient
       ``layer.dW`` become views into two vectors that belong to the network. Assigning to them copies into the vectors.
    3. ``forward`` and ``backward`` alternate.

    ``forward`` and ``backward`` return buffers. Their contents hold until the next call of the layer, or of its
    neighbours in the chain, with a batch of the same size, so copy what you keep. A layer never writes to what it
    is given, except that ReLU and dropout overwrite the gradient that the next layer returned.

    A subclass keeps each argument of its ``__init__`` in an attribute of the same name, so that a saved network can
    be made again.
    """

    _trainable = True
    _name = ""
    _state: Places
    rng: np.random.Generator | None = None  # for layers that draw at random; set by the training
    repeatable = True  # whether forward and backward do the same calls on the same arrays in every step (``step.py``)
    placed = False  # whether the layer has a place in a chain; a second place gets a copy
    following: "Layer | None" = None  # the next layer in the chain
    handed_out = False  # whether a user took the layer from a network: then the copy keeps its weights on purpose
    row_weight: Array | None = None  # (batch,) how much the rows of a training batch count; set by the training
    passing: tuple[str, ...] = ("row_weight", "following")  # left out of copies: the latest batch, more views
    complete = False  # whether its network is built: then the arrays of its state keep their names and shapes
    added_options: tuple[str, ...] = ()  # saved only if not the default: files without them stay as they always were

    def __init__(self) -> None:
        self.parameters: dict[str, Parameter] = {}
        self.dtype: np.dtype[Any] = np.dtype(np.float32)
        self.state = {}
        self.shape_in: Shape = ()
        self.shape_out: Shape = ()
        self._buffers: dict[tuple[str, Shape, Order], Array] = {}

    def __init_subclass__(cls, **options: Any) -> None:
        """Let a class from outside of the package return another dtype than it is given, but no other shape."""
        super().__init_subclass__(**options)
        own = [name for name in ("forward", "backward") if name in vars(cls)]
        for name in own if not cls.__module__.startswith(f"{__package__}.") else ():
            setattr(cls, name, _checked(name, vars(cls)[name]))

    @property
    def name(self) -> str:
        """The class's name and a number, such as linear1, given by the network, whose saved arrays go by it."""
        return self._name

    @name.setter
    def name(self, name: str) -> None:
        raise ValueError(f"the network names its layers, and {self!r} cannot be called {name!r}")

    @property
    def state(self) -> dict[str, Array]:
        """Arrays that are saved with the network, but not trained, such as running means; in the layer's dtype."""
        return self._state

    @state.setter
    def state(self, state: Mapping[str, Any]) -> None:
        places = Places({name: np.asarray(array, self.dtype) for name, array in state.items()})
        if self.complete:
            known, given = shapes_of(self._state), shapes_of(places)
            if known != given:
                raise ValueError(f"the state of {self.name} is {known}, got {given or 'nothing'}")
            places = Places({name: places[name] for name in self._state})  # in the order of get_weights
        self._state = places

    # The function

    def build(self, shape_in: Shape) -> Shape:
        """Fix the sizes for samples of ``shape_in``, without the batch axis; returns the shape of the output."""
        self.complete = False
        self.shape_in, self.shape_out = shape_in, self._shapes(shape_in)
        return self.shape_out

    def _shapes(self, shape_in: Shape) -> Shape:
        """Declare the parameters and return the output's shape; ValueError if the input's shape does not fit."""
        return shape_in

    def forward(self, x: Array, training: bool = False) -> Array:
        """Compute the output (batch, *shape_out) from ``x`` (batch, *shape_in)."""
        raise NotImplementedError

    def backward(self, grad_out: Array) -> Array:
        """Compute the loss's gradient by the input from its gradient by the latest output; fill ``dW`` and the like."""
        raise NotImplementedError

    def backward_parameters(self, grad_out: Array) -> None:
        """Fill ``dW`` and the like only. A network's first layer needs no gradient by its input."""
        self.backward(grad_out)

    def children(self) -> Iterator["Layer"]:
        """The layers inside this one."""
        yield from ()

    def walk(self) -> Iterator["Layer"]:
        """This layer, and all layers inside it."""
        yield self
        for child in self.children():
            yield from child.walk()

    @property
    def trainable(self) -> bool:
        """Whether training changes the layer; setting it sets it for the layers inside too.

        Optimizers leave out the parameters of a frozen layer: they do not move or decay, and their gradient does not
        count in ``clip_norm``. A frozen batch normalization uses its running statistics in training too, as in Keras.
        A change takes effect with the next epoch.
        """
        return self._trainable

    @trainable.setter
    def trainable(self, trainable: bool) -> None:
        for layer in self.walk():
            layer._trainable = bool(trainable)

    def config(self) -> dict[str, Any]:
        """The arguments that make this layer again."""
        defaults = options(type(self))
        return {
            name: value
            for name, value in arguments(self).items()
            if name not in self.added_options or value != defaults[name]
        }

    # Its place in the network's vector

    @property
    def n_parameters(self) -> int:
        """The number of trained elements, with those of the layers inside."""
        return sum(parameter.size for parameter in self.parameters.values())

    def declare(
        self, name: str, shape: Shape, init: str, fan_in: int = 1, fan_out: int = 1, decay: bool = False
    ) -> None:
        """Announce a parameter. ``bind`` makes it the attribute ``name`` and its gradient the attribute ``d<name>``."""
        early = isinstance(vars(self).get(name), np.ndarray) and name not in self._views
        check(not early, self, f"{name} cannot be assigned before the sizes are known")
        self.parameters[name] = Parameter(shape, init, fan_in, fan_out, decay)

    def bind(self, params: Array, grads: Array) -> None:
        """Make each parameter and gradient a view into vectors of length ``n_parameters``, in order of declaration."""
        self.adopt(params.dtype)
        start = 0
        for name, parameter in self.parameters.items():
            stop = start + parameter.size
            self.place(name, params[start:stop].reshape(parameter.shape))
            self.place(f"d{name}", grads[start:stop].reshape(parameter.shape))
            start = stop

    def arrays(self) -> dict[str, Array]:
        """The layer's own parameters and state, without those of the layers inside; empty before it has its place."""
        bound = all(name in vars(self) for name in self.parameters)
        return {name: getattr(self, name) for name in self.parameters} | self.state if bound else {}

    def get_weights(self) -> list[Array]:
        """Copies of all parameters, each layer's followed by its state, such as running means."""
        return [array.copy() for layer in self.walk() for array in layer.arrays().values()]

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Copy arrays into the parameters and states, in the order of ``get_weights``.

        Raises:
            ValueError: if they are not as many, or one does not fit; then nothing is copied.
        """
        places = {f"{layer.name}.{name}": array for layer in self.walk() for name, array in layer.arrays().items()}
        if len(weights) != len(places):
            raise ValueError(
                f"expected {len(places)} arrays, {', '.join(places) or 'as it has no sizes'}, got {len(weights)}"
            )
        pairs = zip(places.items(), weights, strict=True)
        arrays = [fitting(place, name, given) for (name, place), given in pairs]
        for place, array in zip(places.values(), arrays, strict=True):
            place[...] = array

    # Buffers: after the first step, a step allocates no memory

    def buffer(
        self, name: str, shape: Shape, dtype: Any = None, fill: float | None = None, order: Order | None = None
    ) -> Array:
        """An array to write into, always the same one for the same name, shape and order (None: ``batch_order``).

        ``fill`` is its first content.
        """
        order = order or batch_order(shape)
        found = self._buffers.get((name, shape, order))
        if found is None:
            if len(self._buffers) >= _MOST_BUFFERS:  # many batch sizes: start again, so that memory stays bounded
                self._buffers.clear()
            found = aligned(shape, dtype or self.dtype, order, zeros=fill == 0)
            self._buffers[name, shape, order] = found
            if fill:
                found.fill(fill)
        return found

    def output(self, shape: Shape) -> Array:
        """The buffer that ``forward`` writes its result to: where the next layer keeps its input, or one of its own."""
        following = self._following()
        place = None if following is None else following.place_of_input(shape)
        return self.buffer("output", shape) if place is None else place

    def place_of_input(self, shape: Shape) -> Array | None:
        """Where this layer would copy a batch of that shape to anyway."""
        return None

    def grad_in_place(self, shape: Shape) -> Array:
        """The buffer for ``backward``'s result if each number of it may take the place of the one in ``grad_out``."""
        return (self._following() or self).buffer("grad_in", shape)

    def _following(self) -> "Layer | None":
        return None if self.following is None or self.following.dtype != self.dtype else self.following

    def adopt(self, dtype: np.dtype[Any]) -> None:
        """Compute in ``dtype`` from now on; integers count as float64."""
        self.dtype = np.result_type(dtype, np.float32)
        self.state = self.state
        self.forget()

    def forget(self) -> None:
        """Release all buffers."""
        self._buffers.clear()

    # Copies and pickles

    def twin(self) -> Self:
        """This layer with buffers of its own, for another thread; parameters and state are the same arrays.

        The other attributes of a class from outside of the package are copied, because ``forward`` may write to them.
        TypeError if one cannot be copied, such as a lock.
        """
        twin = object.__new__(type(self))
        vars(twin).update(vars(self), _buffers={}, parameters=dict(self.parameters), following=None)
        shared = {*self._views, *self._passing(), "parameters", "_state", "_buffers", "dtype", "rng"}
        outside = not is_ours(self)
        copies: dict[int, Any] = {id(array): array for array in self.arrays().values()}
        copies |= {id(child): child.twin() for child in self.children()}
        for name, value in list(vars(twin).items()):
            if name not in shared and (outside or isinstance(value, list)) and not isinstance(value, ModuleType):
                vars(twin)[name] = copy.deepcopy(value, copies)
        twin.forget()
        return twin

    def _passing(self) -> set[str]:
        return {name for kind in type(self).__mro__ for name in vars(kind).get("passing", ())}

    def __copy__(self) -> Self:
        """A full copy: a shallow one would train the original's parameters."""
        return copy.deepcopy(self)

    def __getstate__(self) -> dict[str, Any]:
        """Copy the parameters once, and leave out gradients, buffers and the latest batch."""
        own = list(self.parameters)
        left_out = {"_buffers", *self._passing(), *own, *(f"d{name}" for name in own)}
        state = {name: value for name, value in vars(self).copy().items() if name not in left_out}
        if own and own[0] in vars(self):  # bound
            state["_parameters"] = np.concatenate([getattr(self, name).ravel() for name in own])
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Bind the copy's parameters to a vector of its own."""
        params = state.pop("_parameters", None)
        self.__dict__.update(state, _buffers={})
        if params is not None:
            kept = self.state
            self.bind(params, np.zeros_like(params))
            self.state = kept

    if not TYPE_CHECKING:  # mypy reports attributes that a class does not declare

        def __getattr__(self, name: str) -> Any:
            """Explain that an attribute exists only after ``build`` or ``forward``."""
            hint = "" if name.startswith("__") else _TOO_EARLY
            raise AttributeError(f"{vars(self).get('name') or type(self).__name__} has no attribute {name}{hint}")


def _checked(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    """``forward`` or ``backward`` with its result cast to the dtype of its argument, and refused in another shape."""

    @functools.wraps(method)
    def checked(layer: Layer, x: Array, *training: Any, **by_name: Any) -> Any:
        result = method(layer, x, *training, **by_name)
        if np.asarray(x).dtype.kind == "f" and result is not None:
            result = np.asarray(result, x.dtype)
        sample = layer.shape_out if name == "forward" else layer.shape_in
        own = sample and getattr(type(layer), name) is checked  # and not the method of a base, which may differ
        if own and np.shape(result) != (len(x), *sample):
            got = "None" if result is None else f"the shape {np.shape(result)}"
            raise ValueError(f"{layer.name}: {name} must return an array of shape {(len(x), *sample)}, got {got}")
        return result

    return checked


def shapes_of(arrays: Mapping[str, Array]) -> str:
    """In words, sorted by name: ``W (16, 3), b (3,)``."""
    return ", ".join(f"{name} {array.shape}" for name, array in sorted(arrays.items()))


_MOST_BUFFERS = 48
_TOO_EARLY = "; a layer gets its sizes in a network, or by setup, and goes forward before it goes backward"
