"""Digits by hand for the tests of pen."""

from pen.ink import join_strokes
from pen.strokes import Strokes, strokes_of

ZIGZAG = [[(0, 0), (40, 100), (80, 20)]]
CROSS = [[(0, 0), (0, 300)], [(-50, 100), (50, 100)]]  # a long stroke upwards, then a short one to the right
SQUARE = [[(0, 0), (100, 0), (100, 100), (0, 100), (0, 5)]]


def strokes(*samples: list[list[tuple[int, int]]]) -> Strokes:
    """Digits, each a list of strokes, each a list of points."""
    count = len(samples)
    return strokes_of(join_strokes(samples, [0] * count, [1] * count, range(1, count + 1)))
