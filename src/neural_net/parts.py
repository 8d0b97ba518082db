"""Parts by name: how a name with options becomes a layer, a loss or an optimizer, and how its options are checked."""

import difflib
import functools
import inspect
import math
import reprlib
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from numbers import Real
from types import MappingProxyType, NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

from .names import own_name, own_option
from .values import check, is_whole

Part = TypeVar("Part")


# Options of a class


def options(kind: Any) -> Mapping[str, Any]:
    """The options that a class takes, with their defaults; ``inspect.Parameter.empty`` where there is no default."""
    return _options(kind)


@lru_cache(maxsize=256)  # reading a signature takes as long as a step of a small network
def _options(kind: Any) -> Mapping[str, Any]:
    if kind.__init__ is object.__init__:
        return MappingProxyType({})
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    parameters = inspect.signature(kind).parameters.items()
    return MappingProxyType({name: p.default for name, p in parameters if p.kind in kinds})


def needed_options(kind: type) -> list[str]:
    """The options without a default."""
    return [name for name, default in options(kind).items() if default is inspect.Parameter.empty]


def arguments(part: object) -> dict[str, Any]:
    """The options that ``part`` was made with, read from its attributes of the same names.

    Raises:
        ValueError: if the part has no attribute for one of its options.
    """
    for name in options(type(part)):
        check(hasattr(part, name), part, f"keep the option {name} in an attribute, self.{name}, to save the network")
    return {name: getattr(part, name) for name in options(type(part))}


class OptionTypeError(ValueError, TypeError):
    """An option of a part has a value of the wrong type; the message names the option and its types."""


class Shown:
    """The base of all parts: ``repr`` is the call that makes the part again, without the options left at defaults."""

    def __init_subclass__(cls, **options: Any) -> None:
        """Let a part that fails on an option of the wrong type name the option."""
        super().__init_subclass__(**options)
        for name in ("__init__", "__post_init__"):
            if name in vars(cls):
                setattr(cls, name, _naming_options(vars(cls)[name]))

    def __repr__(self) -> str:
        return call(self)


def _naming_options(init: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(init)
    def named(part: object, *args: Any, **by_name: Any) -> None:
        try:
            init(part, *args, **by_name)
        except TypeError:
            by_position = zip(inspect.signature(init).parameters, (part, *args), strict=False)
            _check_types(type(part).__name__, type(part), {**vars(part), **dict(by_position), **by_name})
            raise

    return named


def call(part: object) -> str:
    """The code that makes ``part`` again: ``Linear(32, init='he_normal')``.

    Options without a default come first and by position. An option that the part keeps in no attribute is ``...``.
    """
    kind, shown = type(part), []
    for name, default in options(kind).items():
        value = _code(getattr(part, name, ...))
        if default is inspect.Parameter.empty:
            shown.append(value if _by_position(kind, name) else f"{name}={value}")
        elif value != _code(default):
            shown.append(f"{name}={value}")
    return f"{kind.__name__}({', '.join(shown)})"


def _by_position(kind: type, name: str) -> bool:
    return inspect.signature(kind).parameters[name].kind is inspect.Parameter.POSITIONAL_OR_KEYWORD


def _code(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return repr(value.tolist())  # without gaps, however long
    return "..." if value is ... else repr(value)


def is_ours(part: object) -> bool:
    """Whether the part's class is of this package, and does what the package knows of it."""
    return type(part).__module__.startswith(f"{__package__}.")


def same_class(a: type, b: type) -> bool:
    """Whether two classes are the same object, or come from the same lines of the same file.

    Python runs a file twice if it is imported under two names (``custom`` and ``src.custom``) or reloaded. Each run
    makes a new class.
    """
    return a is b or _origin(a) == _origin(b)


def _origin(kind: type) -> tuple[str, str]:
    module = sys.modules.get(kind.__module__)
    return getattr(module, "__file__", None) or kind.__module__, kind.__qualname__


# Parts by name


class UnknownNameError(ValueError):
    """No part has this name; the message lists the known names and the nearest one."""


def lookup(kind: str, table: Mapping[str, Part], name: str) -> Part:
    """The entry ``name`` of a table of parts; ``kind`` says in an error message what was looked for.

    Raises:
        UnknownNameError: if the table has no such name.
    """
    if name in table:
        return table[name]
    near = difflib.get_close_matches(str(name).lower(), table, n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    raise UnknownNameError(f"{kind} must be one of {', '.join(sorted(table))}, got {name!r}{hint}")


def make(kind: str, table: Mapping[str, type[Part]], spec: Any, **defaults: Any) -> Part:
    """Make a part from ``"name"`` or ``{"name": {option: value}}``. A ``spec`` that is an object is returned as it is.

    Names are understood in any case, and so are the field's other names for parts and options (see ``names``).

    ``defaults`` are options to use if the part has them and ``spec`` does not set them.

    Raises:
        UnknownNameError: for an unknown name or option.
        ValueError: for an option's value that the part rejects.
    """
    if isinstance(spec, str):
        spec = {spec: {}}
    if spec is None or isinstance(spec, type):
        hint = "" if spec is None else f"; write {spec.__name__}(...)"
        raise ValueError(f"{kind} must be a name, a name with its options, or an object, got {spec!r}{hint}")
    if not isinstance(spec, Mapping):
        return spec
    if len(spec) != 1:
        raise ValueError(f"{kind} must be a name, or one name with its options, got {dict(spec)!r}")
    name, given = next(iter(spec.items()))
    name = own_name(table, name)
    part = lookup(kind, table, name)
    if not (given is None or isinstance(given, Mapping)):
        raise ValueError(f"the options of {kind} {name} must be given by name, as {{option: value}}, got {given!r}")
    known, given, by_own_name = options(part), dict(given or {}), dict[Any, Any]()
    for option in given:
        own = own_option(known, option)
        if own in by_own_name:
            raise ValueError(f"{kind} {name} takes the option {own} once, got {', '.join(map(repr, given))}")
        by_own_name[own] = given[option]
    given = by_own_name
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
    except TypeError as error:  # a check compared a value of the wrong type
        _check_types(f"{kind} {name}", part, given)
        raise ValueError(f"{kind} {name}: {error}") from None
    _check_types(f"{kind} {name}", part, given)
    return made


def _check_types(owner: str, part: type, given: Mapping[str, Any]) -> None:
    """Raise OptionTypeError if a value does not have the type that its option declares."""
    try:
        hints = get_type_hints(part.__init__)  # type: ignore[misc]
    except (NameError, TypeError):  # a user's annotations need not be types
        return
    for option, value in given.items():
        allowed = _alternatives(hints.get(option, Any))
        if all(name for name, _ in allowed) and not any(fits(value) for _, fits in allowed):
            names = " or ".join(name for name, _ in allowed)
            raise OptionTypeError(f"{owner}: {option} must be {names}, got {reprlib.repr(value)}")


def _alternatives(hint: Any) -> list[tuple[str, Callable[[Any], bool]]]:
    """The name and the test of each type that a hint allows. The name is empty if the hint allows anything."""
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
    except OverflowError:  # a whole number beyond every float
        return False


_TYPES: dict[Any, tuple[str, Callable[[Any], bool]]] = {
    float: ("a finite number", _is_number),
    int: ("a whole number", is_whole),
    bool: ("true or false", lambda value: isinstance(value, bool | np.bool_)),
    str: ("text", lambda value: isinstance(value, str)),
    NoneType: ("null", lambda value: value is None),
}
