"""Ways of writing that few people have: held out one at a time, they ask what other people's habits will ask.

Folds of writers hardly ask it: a habit that somebody among 24 people shows is learned from them. So all rows of one way
are left out of the training, whoever wrote them, and predicted.
"""

import numpy as np
from numpy.typing import NDArray

from pen.strokes import Strokes
from pipeline.errors import StageError

LEAST, RARE = 8, 0.4  # rows of a way, and the share of the digit's rows that it must stay below
PLACES = ("bottom left", "bottom right", "top left", "top right")
STROKES = ("in one stroke", "in two strokes", "in three strokes or more")


def ways_of(strokes: Strokes | None, digit: NDArray[np.int64]) -> dict[str, NDArray[np.bool_]]:
    """The rows that are written in each rare way, by its name: ``7 in one stroke``, ``5 ends at the bottom left``.

    A way is a digit with its number of strokes, or with the quarter of its box in which the pen starts, or ends. Ways
    of the same rows are one.

    Args:
        strokes: of n digits.
        digit: (n,).

    Returns:
        For each way (n,), True for its rows.

    Raises:
        StageError: if there are no strokes, or no such way.
    """
    if strokes is None:
        raise StageError("ways of writing are told by the ink, and this data set has none")
    count = np.minimum(strokes.stroke.max(axis=1), len(STROKES) - 1)
    kinds: list[tuple[NDArray, tuple[str, ...]]] = [(count, STROKES)]
    for end, verb in ((0, "starts"), (-1, "ends")):
        kinds.append((_quarter(strokes.points[:, end]), tuple(f"{verb} at the {place}" for place in PLACES)))
    found: dict[str, NDArray[np.bool_]] = {}
    for number in np.unique(digit):
        of_digit = digit == number
        for value, names in kinds:
            for i, name in enumerate(names):
                rows = of_digit & (value == i)
                rare = LEAST <= rows.sum() < RARE * of_digit.sum()
                if rare and not any(np.array_equal(rows, known) for known in found.values()):
                    found[f"{number} {name}"] = rows
    if not found:
        raise StageError(f"no way of writing has {LEAST} rows or more and is rarer than {RARE:.0%} of its digit")
    return found


def _quarter(points: NDArray[np.float32]) -> NDArray[np.int64]:
    """The place in PLACES of points (n, 2), whose box has its middle at 0."""
    return (points[:, 0] > 0) + 2 * (points[:, 1] > 0).astype(np.int64)
