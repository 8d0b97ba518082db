"""Values from a caller: checked, and cast to what the network computes with; the types that all modules share."""

from collections.abc import Iterable, Mapping
from numbers import Integral
from typing import Any, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .memory import aligned_copy

Array = NDArray[Any]
Shape = tuple[int, ...]
Rng = np.random.Generator | int  # a generator, or the seed of a new one
Kind = TypeVar("Kind")


def check(condition: bool, owner: object, message: str) -> None:
    """Raise ValueError, naming the owner's class, unless the condition holds."""
    if not condition:
        raise ValueError(f"{type(owner).__name__}: {message}")


def check_positive(owner: object, **values: Any) -> None:
    """Raise ValueError, naming the owner and the option, unless each value is greater than 0."""
    for name, value in values.items():
        check(value > 0, owner, f"{name} must be greater than 0, got {value}")


def check_below_1(owner: object, **values: Any) -> None:
    """Raise ValueError, naming the owner and the option, unless each value is at least 0 and less than 1."""
    for name, value in values.items():
        check(0 <= value < 1, owner, f"{name} must be at least 0 and less than 1, got {value}")


def check_count(owner: object, **values: Any) -> None:
    """Raise ValueError, naming the owner and the option, unless each value is a whole number of at least 1."""
    for name, n in values.items():
        whole = isinstance(n, int | np.integer) and not isinstance(n, bool)
        check(whole and n >= 1, owner, f"{name} must be a whole number of at least 1, got {n!r}")


def is_whole(value: Any) -> bool:
    """Whether a value is a whole number; a truth value is none."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def of_type(kind: type[Kind], what: str, value: Any) -> Kind:
    """Return ``value`` if it is of that class; otherwise raise ValueError with ``what`` it should have been.

    The message names the attribute of ``value`` that is, such as the ``network_`` of an estimator.
    """
    fits = isinstance(value, kind)
    if not fits:
        inside = next((name for name in ("network_", "network") if isinstance(getattr(value, name, None), kind)), "")
        raise ValueError(f"{what} must be of type {kind.__name__}, got {value!r}{inside and f'; give its {inside}'}")
    return value


def generator(rng: Any) -> np.random.Generator:
    """The generator ``rng``, or a new one with the whole number ``rng`` as its seed; ValueError for anything else."""
    if not isinstance(rng, np.random.Generator) and not (is_whole(rng) and rng >= 0):
        raise ValueError(f"rng must be a numpy.random.Generator, or a whole number as its seed, got {rng!r}")
    return np.random.default_rng(rng)


def listed(what: str, values: Any) -> list[Any]:
    """The values in a list; ValueError for a single value that is in none."""
    single = not isinstance(values, Iterable) or isinstance(values, str | Mapping)
    if single:
        example = "" if values is None else f", [{values!r}]"
        raise ValueError(f"{what} must be in a list{example}, got {values!r}")
    return list(values)


def not_finite(values: Array, dtype: Any) -> str:
    """What keeps these numbers from being finite ones of ``dtype``, in words."""
    if not np.isfinite(values).all():
        return "NaN or infinity"
    return f"{np.abs(values).max():.3g} (too large for {np.dtype(dtype)})"


def copy_like(model: Array, array: Any) -> Array:
    """A copy of ``array``; ValueError unless it is an array with the model's shape and dtype."""
    if not isinstance(array, np.ndarray) or array.shape != model.shape or array.dtype != model.dtype:
        raise ValueError(f"expected an array of shape {model.shape} and dtype {model.dtype}")
    return aligned_copy(array)


def as_numbers(values: Any, what: str) -> Array:
    """Anything array-like as an array of real numbers; copied only if necessary.

    Raises:
        ValueError: beginning with ``what``, if the values are not real numbers.
    """
    if hasattr(values, "toarray"):
        kind = type(values).__name__
        raise ValueError(f"{what} must be an array of numbers, got a sparse one, {kind}; give its toarray()")
    try:
        array = np.asarray(values)
        kind = array.dtype.kind
        if kind in "OSU":
            array, kind = array.astype(np.float64), "f"
    except (TypeError, ValueError) as error:
        raise ValueError(f"{what} must be an array of numbers: {error}") from None
    if kind == "c":
        raise ValueError(f"{what} must be real numbers, got complex ones. Complex data not supported")
    if kind not in "biuf":
        raise ValueError(f"{what} must be an array of numbers, got dtype {array.dtype}")
    return array


def class_numbers(y: Array, n_classes: int, owner: str) -> Array:
    """Check a vector of class numbers and return it as whole numbers; floats such as 3.0 are accepted."""
    if np.issubdtype(y.dtype, np.floating) and not (np.isfinite(y).all() and (y == np.floor(y)).all()):
        raise ValueError(f"{owner} expects class numbers, got numbers that are not whole")
    if len(y) and (y.min() < 0 or y.max() >= n_classes):
        raise ValueError(f"{owner} expects class numbers from 0 to {n_classes - 1}, got {y.min()} to {y.max()}")
    return y if y.dtype.kind in "iu" else y.astype(np.intp)


def fitting(place: Array, what: str, value: Any) -> Array:
    """Numbers as an array like ``place``; ValueError for another shape, or if its dtype cannot hold them."""
    array = as_numbers(value, what)
    if array.shape != place.shape:
        raise ValueError(f"{what} has shape {place.shape}, got an array of shape {array.shape}")
    if array.dtype == place.dtype:
        return array
    with np.errstate(over="ignore"):  # reported below
        cast = array.astype(place.dtype)
    if not np.isfinite(cast).all() and np.isfinite(array).all():
        raise ValueError(f"{what} cannot hold {not_finite(array, place.dtype)}")
    return cast


_ROWS_CHECKED = 65536  # at once


def as_rows(X: Any, dtype: DTypeLike) -> Array:
    """Anything array-like with one row per sample, as an array of finite numbers of that dtype.

    Raises:
        ValueError: for values that are not numbers, not in rows, or not finite.
    """
    given = X = as_numbers(X, "X")
    if X.ndim < 2:
        raise ValueError(
            f"expected one row a sample, got an array of shape {X.shape}; a single sample is X.reshape(1, -1)"
        )
    if X.dtype != dtype or not X.flags.c_contiguous:
        with np.errstate(over="ignore"):  # reported below
            X = X.astype(dtype, order="C")  # always this order, so that sums round alike for any memory layout
    for start in range(0, len(X), _ROWS_CHECKED):
        finite = np.isfinite(X if len(X) <= _ROWS_CHECKED else X[start : start + _ROWS_CHECKED])
        if np.count_nonzero(finite) < finite.size:  # for one row in a third of the time of finite.all()
            row = start + int(np.argmin(finite.reshape(len(finite), -1).all(axis=1)))
            found = not_finite(given[row], dtype)
            raise ValueError(f"expected finite numbers, got {found} in row {row} of X, counted from 0")
    return X
