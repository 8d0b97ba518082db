"""Record NumPy's work on fixed arrays as a list of calls, to be repeated without the Python around it.

``Traced`` is an array that does everything an array does and writes each operation on a tape, as a call on the memory
behind it. ``for call in tape.calls: call()`` then does the same again with whatever that memory holds by then. What
depends on the values themselves, such as ``if x.any()``, cannot be repeated so, and raises ``NotRepeatableError``.
Tracing goes with the arrays, so that another thread may record or compute at the same time.

A tape knows only what went through traced arrays: whoever repeats it must first compare it with the code that it
stands for, on other data.
"""

import weakref
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np

from .values import Array

Call = Callable[[], object]


class NotRepeatableError(Exception):
    """The code asks for a value, or does what a tape cannot hold."""


class Tape:
    """The calls recorded so far."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def add(self, function: Callable[..., Any], *args: Any, **options: Any) -> None:
        """Record a call."""
        self.calls.append(partial(function, *args, **options))

    def trace(self, array: Array) -> Any:
        """A view of the array whose operations go onto this tape."""
        traced = array.view(Traced)
        traced.tape = weakref.proxy(self)  # calls hold arrays, and Python does not find cycles through arrays
        traced.plain = array
        return traced

    def keep(self, result: Any, again: Call, sources: Iterable[Any]) -> Any:
        """Trace what an operation returned: a view of its sources, or new numbers, which get a place for good."""
        place = np.asarray(result)
        if not any(isinstance(source, np.ndarray) and np.may_share_memory(place, source) for source in sources):
            self.add(lambda: place.__setitem__(..., again()))
        return self.trace(place)

    def replay(self) -> None:
        """Do it all again."""
        for call in self.calls:
            call()


class Traced(np.ndarray):
    """See the module."""

    tape: Tape  # a weak reference
    plain: Array | None = None  # the array that was traced; NumPy is faster where input and output are one object

    def __array_finalize__(self, source: Any) -> None:
        if isinstance(source, Traced):
            self.tape = source.tape

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, out: Any = (), **options: Any) -> Any:
        tape, function = _tape_of((*inputs, *out)), getattr(ufunc, method)
        arrays, places = _plain(inputs), _plain(out)
        if ufunc.nout > 1 or method not in ("__call__", "reduce"):
            raise NotRepeatableError(f"{ufunc.__name__}.{method}")
        if places:
            place = places[0]
            function(*arrays, **options, out=place)
        else:
            place = np.asarray(function(*arrays, **options))
        if method == "reduce":
            shape = [options.get(name, default) for name, default in (("axis", 0), ("dtype", None))]
            rest = {name: value for name, value in options.items() if name not in ("axis", "dtype")}
            tape.add(function, *arrays, *shape, place, **rest)
        else:
            given = _as_arrays(arrays, place.dtype)
            if options or ufunc in (np.maximum, np.minimum):  # these two want their third argument by name
                tape.add(ufunc, *given, out=place, **options)
            else:
                tape.add(ufunc, *given, place)
        return out[0] if out else tape.trace(place)

    def __array_function__(self, function: Any, types: Any, args: Any, options: Any) -> Any:
        if function not in _IN_C:  # it is written in Python, and what it calls comes here too
            return super().__array_function__(function, types, args, options)
        tape, out = _tape_of((*args, *options.values())), options.get("out")
        args, options = _plain(tuple(args)), {name: _plain(value) for name, value in options.items()}
        result = function(*args, **options)
        if function is np.copyto or out is not None:
            tape.add(function, *args, **options)
            return out
        return tape.keep(result, partial(function, *args, **options), args)

    def __setitem__(self, key: Any, value: Any) -> None:
        whole, key, value = self.view(np.ndarray), _plain(key), _plain(value)
        part = whole[key]
        if np.may_share_memory(part, whole):
            again: Call = partial(np.copyto, part, value, casting="unsafe")
        else:
            again = partial(whole.__setitem__, key, value)
        again()
        self.tape.calls.append(again)

    def __getitem__(self, key: Any) -> Any:
        whole, key = self.view(np.ndarray), _plain(key)
        return self.tape.keep(whole[key], partial(whole.__getitem__, key), (whole,))

    def reshape(self, *shape: Any, **options: Any) -> Any:
        whole = self.view(np.ndarray)
        return self.tape.keep(whole.reshape(*shape, **options), partial(whole.reshape, *shape, **options), (whole,))

    def dot(self, other: Any, out: Any = None) -> Any:
        left, right = self.view(np.ndarray), _plain(other)
        place = _plain(out) if out is not None else np.asarray(left.dot(right))
        left.dot(right, place)
        self.tape.add(left.dot, right, place)
        return self.tape.trace(place) if out is None else out

    def fill(self, value: Any) -> None:
        whole = self.view(np.ndarray)
        whole.fill(value)
        self.tape.add(whole.fill, value)


_IN_C = (np.copyto, np.dot, np.vdot, np.where, np.concatenate)


def _refusing(name: str) -> Callable[..., Any]:
    def refuse(*_: Any, **__: Any) -> Any:
        raise NotRepeatableError(name)

    return refuse


_VALUES = (  # methods that give values to Python, or do in C what no tape sees
    "__bool__ __float__ __int__ __index__ __complex__ __contains__ item tolist argmax argmin argsort argpartition sort "
    "partition nonzero astype copy flatten ravel take put choose compress repeat searchsorted cumsum cumprod trace "
    "byteswap resize tobytes tofile dump dumps __reduce_ex__ __deepcopy__"
)
for _name in _VALUES.split():
    setattr(Traced, _name, _refusing(_name))


def _tape_of(values: Iterable[Any]) -> Tape:
    return next(value.tape for value in values if isinstance(value, Traced))


def _plain(value: Any) -> Any:
    """The value with arrays that are not traced."""
    if isinstance(value, Traced):
        return value.view(np.ndarray) if value.plain is None else value.plain
    return tuple(map(_plain, value)) if isinstance(value, tuple) else value


def _as_arrays(values: tuple[Any, ...], dtype: np.dtype[Any]) -> list[Any]:
    """Numbers beside arrays of that dtype as arrays of it, too: NumPy need not convert them in each call."""
    if dtype.kind != "f" or any(isinstance(value, np.ndarray) and value.dtype != dtype for value in values):
        return list(values)
    return [np.array(value, dtype) if type(value) in (int, float) else value for value in values]
