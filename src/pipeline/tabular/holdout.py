"""Hold rows of a table out: whole groups, or a share of each class."""

import numpy as np
from numpy.typing import NDArray

from utils import split_data


def hold_out(y: NDArray, group: NDArray | None, fraction: float, seed: int, *, stratify: bool) -> NDArray[np.bool_]:
    """Choose about ``fraction`` of the rows: (n,), True for those held out.

    Whole groups where there are groups: those with classes in about the same shares as in all rows. Without groups, the
    nearest whole number of each class's rows, and never its last one; of a regression, any rows.

    Args:
        y: (n,) class numbers, or the numbers of a regression.
        group: (n,) whatever names a row's group; None: there are no groups.
        stratify: y are classes.

    Raises:
        ValueError: if one side would have no row.
    """
    n = len(y)
    if group is None:
        _, held_out, _, _ = split_data(np.arange(n), y if stratify else np.zeros(n, int), fraction, rng=seed)
        return np.isin(np.arange(n), held_out)
    n_groups = len(np.unique(group))
    if n_groups < 2:
        raise ValueError(f"there are {n_groups} groups; at least 2 are needed")
    n_folds = min(round(1 / fraction), n_groups)
    if not stratify or fraction > 0.5 or np.unique(y, return_counts=True)[1].max() < n_folds:
        return _whole_groups(group, fraction, seed)
    import warnings

    from sklearn.model_selection import StratifiedGroupKFold

    folds = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed % 2**32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a class with fewer rows than folds
        held_out = next(folds.split(np.zeros(n), y, group))[1]
    return np.isin(np.arange(n), held_out)


def _whole_groups(group: NDArray, fraction: float, seed: int) -> NDArray[np.bool_]:
    """Random groups until they have about ``fraction`` of the rows; at least one, and never the last one."""
    names, codes = np.unique(group, return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(names))
    rows = np.cumsum(np.bincount(codes)[order])
    chosen = int(np.abs(rows[:-1] - fraction * len(group)).argmin()) + 1
    return np.isin(codes, order[:chosen])
