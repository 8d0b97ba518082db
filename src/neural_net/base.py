"""What every part of the network shares: the layer's contract, its place in the parameter vector, parts by name."""

import difflib
import inspect
import math
import reprlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array = NDArray[Any]
Shape = tuple[int, ...]
Part = TypeVar("Part")


class Parameter(NamedTuple):
    """One array of a layer's parameters, before it has a place in the network's vector."""

    shape: Shape
    init: str
    fan_in: int
    fan_out: int
    decay: bool  # weight decay shrinks weights, never biases and normalisation

    @property
    def size(self) -> int:
        """How many numbers it is."""
        return math.prod(self.shape)


class Layer:
    """A differentiable function from a batch of arrays to a batch of arrays.

    The life of a layer: ``build`` fixes its sizes from the shape of one sample and declares its parameters; ``bind``
    gives each declared parameter ``W`` its place: ``layer.W`` and its gradient ``layer.dW`` become views into two
    vectors that belong to the network. From then on ``forward`` and ``backward`` alternate.

    Arrays that ``forward`` and ``backward`` return are buffers of the layer and hold until its next call with
    a batch of the same size: copy what you keep. What is handed to a layer is never written to.

    A subclass keeps each argument of its ``__init__`` in an attribute of the same name, so that a saved network can
    be made again from them.
    """

    name = ""  # a network names its layers by kind and position
    rng: np.random.Generator | None = None  # for layers that draw at random; the training hands it in
    placed = False  # in a chain: each of a network's places has a layer of its own
    passing: tuple[str, ...] = ()  # attributes that copies do without: the latest batch, further views of parameters

    def __init__(self) -> None:
        self.parameters: dict[str, Parameter] = {}
        self.state: dict[str, Array] = {}  # saved with the network, but not trained: running means, for one
        self.shape_in: Shape = ()
        self.shape_out: Shape = ()
        self.follower: Layer | None = None

        self.dtype: np.dtype[Any] = np.dtype(np.float32)
        self._buffers: dict[tuple[str, Shape], Array] = {}

    # What a layer is

    def build(self, shape_in: Shape) -> Shape:
        """Fix the sizes for samples of ``shape_in``, without the batch axis; returns the shape that comes out."""
        self.shape_in, self.shape_out = shape_in, self._shapes(shape_in)
        return self.shape_out

    def _shapes(self, shape_in: Shape) -> Shape:
        """Declare the parameters, if any, and return the output's shape; ValueError if the input's does not fit."""
        return shape_in

    def forward(self, x: Array, training: bool = False) -> Array:
        """The layer's function of ``x`` (batch, *shape_in); returns (batch, *shape_out)."""
        raise NotImplementedError

    def backward(self, grad_out: Array) -> Array:
        """From the loss's gradient by the latest output to that by its input; fills ``dW`` and its like on the way."""
        raise NotImplementedError

    def backward_parameters(self, grad_out: Array) -> None:
        """``backward`` where nobody asks for the gradient by the input, as for a network's first layer."""
        self.backward(grad_out)

    def children(self) -> Iterator["Layer"]:
        """The layers inside this one."""
        yield from ()

    def config(self) -> dict[str, Any]:
        """The arguments that make this layer again."""
        return arguments(self)

    # Its place in the network's vector

    @property
    def n_parameters(self) -> int:
        """How many numbers of it are trained, those of the layers inside it included."""
        return sum(parameter.size for parameter in self.parameters.values())

    def declare(
        self, name: str, shape: Shape, init: str, fan_in: int = 1, fan_out: int = 1, decay: bool = False
    ) -> None:
        """Announce a parameter; ``bind`` makes it the attribute ``name``, and its gradient ``"d" + name``."""
        self.parameters[name] = Parameter(shape, init, fan_in, fan_out, decay)

    def bind(self, params: Array, grads: Array) -> None:
        """Make each parameter and gradient a view into vectors of length ``n_parameters``, in order of declaration."""
        self.adopt(params.dtype)
        start = 0
        for name, parameter in self.parameters.items():
            stop = start + parameter.size
            setattr(self, name, params[start:stop].reshape(parameter.shape))
            setattr(self, "d" + name, grads[start:stop].reshape(parameter.shape))
            start = stop

    def initialize(self, rng: np.random.Generator) -> None:
        """Draw the parameters anew, each by its initializer."""
        from .initializers import initialize  # here, since initializers look at layers

        for name, parameter in self.parameters.items():
            initialize(getattr(self, name), parameter, self, rng)

    def setup(self, shape_in: Shape, rng: np.random.Generator, dtype: DTypeLike = np.float64) -> Shape:
        """Make the layer usable without a network: ``build``, two vectors of its own, and initial values."""
        shape_out = self.build(shape_in)
        self.rng = rng
        self.bind(np.zeros(self.n_parameters, dtype), np.zeros(self.n_parameters, dtype))
        self.initialize(rng)
        return shape_out

    # Buffers: a step in the steady state allocates nothing

    def buffer(self, name: str, shape: Shape, dtype: Any = None, fill: float | None = None) -> Array:
        """An array of this layer's to write into: the same one for the same name and shape, filled when it is new."""
        found = self._buffers.get((name, shape))
        if found is None:
            found = self._keep(name, batch_array(shape, dtype or self.dtype))
            if fill is not None:
                found.fill(fill)
        return found

    def output(self, shape: Shape) -> Array:
        """Where ``forward`` writes: straight into the next layer's input where that layer offers one."""
        found = self._buffers.get(("output", shape))
        if found is None:
            offered = self.follower.input_place(shape) if self.follower else None
            found = self._keep("output", batch_array(shape, self.dtype) if offered is None else offered)
        return found

    def input_place(self, shape: Shape) -> Array | None:
        """An array for the layer before to write its output into, or None if this layer does not care."""
        return None

    def _keep(self, name: str, array: Array) -> Array:
        if len(self._buffers) >= _MOST_BUFFERS:  # many batch sizes: start afresh, so that memory stays bounded
            self._buffers.clear()
        self._buffers[name, array.shape] = array
        return array

    def adopt(self, dtype: np.dtype[Any]) -> None:
        """Calculate in ``dtype`` from now on; integers count as float64."""
        self.dtype = np.result_type(dtype, np.float32)
        self.forget()

    def forget(self) -> None:
        """Let go of all buffers."""
        self._buffers.clear()

    # Copies and pickles

    def __getstate__(self) -> dict[str, Any]:
        """Copies hold the parameters once, and neither gradients nor buffers nor the latest batch."""
        own = list(self.parameters)
        left_out = {"_buffers", *_passing(type(self)), *own, *(f"d{name}" for name in own)}
        state = {name: value for name, value in vars(self).items() if name not in left_out}
        if own and own[0] in vars(self):  # it has its place already
            state["_parameters"] = np.concatenate([getattr(self, name).ravel() for name in own])
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Give the copy's parameters a vector of their own, of which they are views again."""
        params = state.pop("_parameters", None)
        self.__dict__.update(state, _buffers={})
        if params is not None:
            kept = self.state
            self.bind(params, np.zeros_like(params))
            self.state = kept

    if not TYPE_CHECKING:  # for mypy, what a layer does not declare it does not have

        def __getattr__(self, name: str) -> Any:
            """Say for what it is too early."""
            hint = "" if name.startswith("__") else _TOO_EARLY
            raise AttributeError(f"{vars(self).get('name') or type(self).__name__} has no attribute {name}{hint}")


def batch_array(shape: Shape, dtype: Any) -> Array:
    """A new array for a batch: one of rows of numbers has each column in one piece, others each sample.

    So the columns of an input without the column of ones beside it are one piece too, which what works number by number
    does in one go, and a sum or maximum over the few outputs of a row is taken for all rows at once.
    """
    return np.empty(shape, dtype, order="F" if len(shape) == 2 else "C")


_MOST_BUFFERS = 48
_TOO_EARLY = "; a layer gets its sizes in a network, or by setup, and goes forward before it goes backward"


def _passing(kind: type) -> set[str]:
    """What a class of layers, and those that it extends, name as passing."""
    return {name for part in kind.__mro__ for name in vars(part).get("passing", ())}


# Parts and their options


def options(kind: type) -> dict[str, Any]:
    """The options that a class of parts takes, with their defaults; ``inspect.Parameter.empty`` where there is none."""
    if kind.__init__ is object.__init__:  # type: ignore[misc]
        return {}
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {name: p.default for name, p in inspect.signature(kind).parameters.items() if p.kind in kinds}


def needed_options(kind: type) -> list[str]:
    """The options without which a part of this class cannot be made."""
    return [name for name, default in options(kind).items() if default is inspect.Parameter.empty]


def arguments(part: object) -> dict[str, Any]:
    """The options that ``part`` was made with, from its attributes of the same names.

    Raises:
        ValueError: naming the option that the part did not keep.
    """
    for name in options(type(part)):
        check(hasattr(part, name), part, f"keep the option {name} in an attribute, self.{name}, to save the network")
    return {name: getattr(part, name) for name in options(type(part))}


def same_class(a: type, b: type) -> bool:
    """Whether two classes are one: the same object, or the same lines read twice.

    A file is read twice when it is imported under two names (``custom`` and ``src.custom``) or reloaded, a cell of a
    notebook when it is run again.
    """
    return a is b or _origin(a) == _origin(b)


def _origin(kind: type) -> tuple[str, str]:
    module = sys.modules.get(kind.__module__)
    return getattr(module, "__file__", None) or kind.__module__, kind.__qualname__


# What came from elsewhere


class RefusalError(ValueError):
    """What came from elsewhere is refused, in one printable line of 600 letters, which may repeat some of it."""

    def __init__(self, reason: object) -> None:
        line = " ".join(str(reason).split())[:600]
        super().__init__("".join(letter if letter.isprintable() else "?" for letter in line))


# Parts by name


class UnknownNameError(ValueError):
    """A name that no part has; the message lists the known ones and the nearest."""


def lookup(kind: str, table: Mapping[str, Part], name: str) -> Part:
    """The entry of a table of parts.

    Raises:
        UnknownNameError: naming what was looked for, the nearest name and all that are known.
    """
    if name in table:
        return table[name]
    near = difflib.get_close_matches(str(name), table, n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    raise UnknownNameError(f"{kind} must be one of {', '.join(sorted(table))}, got {name!r}{hint}")


def make(kind: str, table: Mapping[str, type[Part]], spec: Any, **defaults: Any) -> Part:
    """Make a part from ``"name"`` or ``{"name": {option: value}}``; hand ``spec`` back if it is an object already.

    ``defaults`` are options that are used where the part has them and ``spec`` does not set them.

    Raises:
        UnknownNameError: for a name or an option that is not known.
        ValueError: for an option's value that the part refuses.
    """
    if isinstance(spec, str):
        spec = {spec: {}}
    if spec is None or isinstance(spec, type):
        raise ValueError(f"{kind} must be a name, a name with its options, or an object, got {spec!r}")
    if not isinstance(spec, Mapping):
        return spec
    if len(spec) != 1:
        raise ValueError(f"{kind} must be a name, or one name with its options, got {dict(spec)!r}")
    name, given = next(iter(spec.items()))
    part = lookup(kind, table, name)
    if not (given is None or isinstance(given, Mapping)):
        raise ValueError(f"the options of {kind} {name} must be given by name, as {{option: value}}, got {given!r}")
    given = dict(given or {})
    known = options(part)
    if given and not known:
        raise UnknownNameError(f"{kind} {name} takes no options, got {', '.join(map(repr, given))}")
    for option in given:
        lookup(f"the option of {kind} {name}", known, option)
    given = {key: value for key, value in defaults.items() if key in known} | given
    missing = [key for key in needed_options(part) if key not in given]
    if missing:
        raise ValueError(f"{kind} {name} needs the option {missing[0]}")
    try:
        made = part(**given)
    except TypeError as error:  # an option of the wrong type met its constraint
        _check_types(f"{kind} {name}", part, given)
        raise ValueError(f"{kind} {name}: {error}") from None
    _check_types(f"{kind} {name}", part, given)
    return made


def _check_types(owner: str, part: type, given: Mapping[str, Any]) -> None:
    """Raise ValueError, naming the owner and the option, where a value is not of the type that the option declares."""
    try:
        hints = get_type_hints(part.__init__)  # type: ignore[misc]
    except (NameError, TypeError):  # a user's annotations that mean something elsewhere only
        return
    for option, value in given.items():
        allowed = _alternatives(hints.get(option, Any))
        if all(name for name, _ in allowed) and not any(fits(value) for _, fits in allowed):
            names = " or ".join(name for name, _ in allowed)
            raise ValueError(f"{owner}: {option} must be {names}, got {reprlib.repr(value)}")


def _alternatives(hint: Any) -> list[tuple[str, Callable[[Any], bool]]]:
    """What a type hint allows: for each alternative its name and its test; no name where anything may come."""
    if get_origin(hint) in (Union, UnionType):
        return [alternative for member in get_args(hint) for alternative in _alternatives(member)]
    if get_origin(hint) is Sequence:
        ((name, fits),) = _alternatives(get_args(hint)[0])
        of = f" of {name.removeprefix('a ')}s" if name else ""
        return [(f"a list{of}", lambda value: _is_list(value) and all(map(fits, value)))]
    return [_TYPES.get(hint, ("", lambda value: True))]


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence | np.ndarray) and not isinstance(value, str | bytes)


def _is_number(value: Any) -> bool:
    try:
        return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(float(value))
    except OverflowError:  # a whole number that no float holds
        return False


def _is_whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


_TYPES: dict[Any, tuple[str, Callable[[Any], bool]]] = {
    float: ("a finite number", _is_number),
    int: ("a whole number", _is_whole),
    bool: ("true or false", lambda value: isinstance(value, bool | np.bool_)),
    str: ("text", lambda value: isinstance(value, str)),
    NoneType: ("null", lambda value: value is None),
}


def of_type(kind: type[Part], what: str, value: Any) -> Part:
    """The value itself; ValueError, naming ``what`` it is, if it is not of that class."""
    fits = isinstance(value, kind)
    if not fits:
        raise ValueError(f"{what} must be of type {kind.__name__}, got {value!r}")
    return value


def copy_like(model: Array, array: Any) -> Array:
    """A copy of an array that must have the model's shape and dtype; ValueError if it has not."""
    if not isinstance(array, np.ndarray) or array.shape != model.shape or array.dtype != model.dtype:
        raise ValueError(f"expected an array of shape {model.shape} and dtype {model.dtype}")
    return array.copy()


def check(condition: bool, owner: object, message: str) -> None:
    """Raise ValueError, naming the owner, unless the condition holds: for the constraints on options."""
    if not condition:
        raise ValueError(f"{type(owner).__name__}: {message}")


def count(owner: object, **values: Any) -> None:
    """Raise ValueError, naming the owner and the option, unless each value is a whole number of at least 1."""
    for name, n in values.items():
        whole = isinstance(n, int | np.integer) and not isinstance(n, bool)
        check(whole and n >= 1, owner, f"{name} must be a whole number of at least 1, got {n!r}")


def as_numbers(values: Any, what: str) -> Array:
    """Anything array-like as an array of real numbers, of which it is a copy only where one is needed.

    Raises:
        ValueError: naming ``what`` it is of, for what are no real numbers.
    """
    try:
        array = np.asarray(values)
        if array.dtype.kind in "OSU":
            array = array.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{what} must be an array of numbers: {error}") from None
    if array.dtype.kind == "c":
        raise ValueError(f"{what} must be real numbers, got complex ones. Complex data not supported")
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{what} must be an array of numbers, got dtype {array.dtype}")
    return array
