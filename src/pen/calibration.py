"""How far a classifier's probabilities can be believed, and what to leave to a person."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


def fit_temperature(logits: NDArray, y: NDArray) -> float:
    """The temperature T that makes ``softmax(logits / T)`` most likely for rows that the network was not trained on.

    T above 1 makes it less sure of itself, T below 1 more; no prediction changes (Guo et al. 2017, section 4.2).

    Args:
        logits: (rows, classes); y: (rows,) the true classes, from 0.

    Returns:
        T between 1/20 and 20. It minimises the mean of ``logsumexp(logits / T) - logits[y] / T``, which is convex in
        1 / T, so that bisection on its slope ``E[logit] - logits[y]`` finds it; E is the mean under the softmax.

    Raises:
        ValueError: if there is no row.
    """
    if not len(y):
        raise ValueError("a temperature needs at least one row to be fitted to, got none")
    logits = logits.astype(np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    true = logits[np.arange(len(y)), y]

    def slope(inverse: float) -> float:
        weights = np.exp(logits * inverse)
        expected = (weights * logits).sum(axis=1) / weights.sum(axis=1)
        return float((expected - true).mean())

    low, high = 1 / 20, 20.0  # of 1 / T
    for _ in range(60):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if slope(middle) > 0 else (middle, high)
    return 1 / math.sqrt(low * high)


class Rejection(NamedTuple):
    """What is left to a person: the share of the rows, and the confidence from which on the machine decides."""

    share: float
    threshold: float


def rejection(confidence: NDArray, right: NDArray, accuracy: float) -> Rejection:
    """The smallest share of rows to leave to a person so that the rest is right with at least ``accuracy``.

    The rows are left in the order of their confidence, the least sure first, and those of equal confidence together:
    the machine keeps the rows whose confidence reaches a threshold, and the threshold is the lowest at which the share
    of right ones among the kept is at least ``accuracy``. It is found on the same rows that it is reported for.

    Args:
        confidence: (rows,) the largest probability of each row.
        right: (rows,) whether the prediction is true.

    Returns:
        If no threshold is high enough, a share of 1 and an infinite threshold.
    """
    order = np.argsort(-confidence, kind="stable")
    sure = confidence[order]
    share_right = np.cumsum(right[order]) / np.arange(1, len(sure) + 1)
    ends_a_tie = np.append(sure[:-1] > sure[1:], True)
    good = np.flatnonzero(ends_a_tie & (share_right >= accuracy))
    if not len(good):
        return Rejection(1.0, math.inf)
    return Rejection(1 - (int(good[-1]) + 1) / len(sure), float(sure[good[-1]]))


def expected_calibration_error(p: NDArray, y: NDArray, bins: int) -> float:
    """How far confidence is from accuracy: ``sum over bins of |accuracy - mean confidence| * share of the rows``.

    The confidence is the largest probability of a row; bins are of equal width, closed above (Guo et al. 2017, eq. 5).
    """
    confidence, right = p.max(axis=1), p.argmax(axis=1) == y
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gap = np.bincount(place, weights=right - confidence, minlength=bins)
    return float(np.abs(gap).sum() / len(y))
