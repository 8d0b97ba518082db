"""Arrays that an earlier stage wrote, read as what may come from anywhere: nothing in them is trusted or runs."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stage import StageError, one_line, read_bytes


def load_npz(path: Path, names: tuple[str, ...]) -> list[NDArray[Any]]:
    """Arrays, as many rows each, of a file that an earlier stage wrote with ``np.savez``; they cannot be written to.

    Raises:
        StageError: if the file is damaged, or an array is missing, or not like the others.
    """
    from neural_net.npz import NpzError, read_npz  # here: who reads none need not wait for the library

    try:
        arrays = read_npz(read_bytes(path))
        found = [arrays[name] for name in names]
        lengths = {len(array) for array in found}
    except (NpzError, KeyError, TypeError) as error:  # no such array; one without rows
        raise _damaged(path, error) from None
    if len(lengths) > 1:
        raise _damaged(path, "its arrays are not of the same length")
    return found


def _damaged(path: Path, why: object) -> StageError:
    return StageError(f"{path} is damaged ({one_line(why, 200)}); `dvc repro` makes it anew")


def load_rows(path: Path, width: int, names: tuple[str, ...]) -> list[NDArray[Any]]:
    """Arrays of a file of data/split: ``X``, features (n, width), the digits ``y``, and other whole numbers (n,).

    Raises:
        StageError: as ``load_npz``, or if the arrays are something else.
    """
    found = dict(zip(names, load_npz(path, names), strict=True))
    X, y = found["X"], found["y"]
    others = all(array.ndim == 1 and array.dtype == np.int64 for name, array in found.items() if name != "X")
    if X.dtype != np.float32 or X.shape != (len(y), width) or not np.isfinite(X).all():
        raise StageError(f"{path} holds no rows of {width} numbers for the network; `dvc repro` makes it anew")
    if not len(y) or not others or y.min() < 0 or y.max() > 9:
        raise StageError(f"{path} does not say which digits its rows are; `dvc repro` makes it anew")
    return list(found.values())
