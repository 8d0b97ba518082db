"""From ink to the table's eight points."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pen.ink import Ink, eight_points, join_strokes, resample, to_table_range


def one(*strokes: list[tuple[int, int]]) -> Ink:
    return join_strokes([strokes], [0], [1], [1])


def test_eight_points_by_hand() -> None:
    # 30 units up, the pen lifted and set down 40 units to the right: 70 units, a point every 10.
    points = eight_points(one([(0, 0), (0, 30)], [(40, 30)]))
    assert points.reshape(8, 2).tolist() == [
        [0, 0], [0, 33], [0, 67], [0, 100],
        [25, 100], [50, 100], [75, 100], [100, 100],
    ]  # fmt: skip


@pytest.mark.parametrize(("stroke", "x"), [
    ([(0, 0), (8, 0)], [0, 12, 25, 38, 50, 62, 75, 100]),  # 0, 1.14, ..., 8 is cut down to 0, 1, 2, ..., 6, 8
    ([(5, 5), (5, 9)], [50] * 8),  # an axis without movement becomes the middle
    ([(5, 5)], [50] * 8),
])  # fmt: skip
def test_points_are_cut_down_to_whole_units_and_stretched(stroke: list[tuple[int, int]], x: list[int]) -> None:
    assert eight_points(one(stroke))[0, ::2].tolist() == x


def test_table_range_and_resample_by_hand() -> None:
    paths = np.array([[[2.0, -1.0], [4.0, 1.0], [3.0, 0.0]]])
    assert to_table_range(paths).tolist() == [[[0, 0], [100, 100], [50, 50]]]
    paths = resample(one([(3, 4), (9, 12), (0, 0)], [(7, 7), (1, 2)]), 5)
    assert paths.shape == (1, 5, 2)
    assert paths[0, [0, -1]].tolist() == [[3, 4], [1, 2]]
    assert eight_points(join_strokes([], [], [], [])).shape == (0, 16)


strokes = st.lists(st.tuples(st.integers(-9999, 99999), st.integers(-9999, 99999)), min_size=1, max_size=5)


@given(samples=st.lists(st.lists(strokes, min_size=1, max_size=3), min_size=1, max_size=5))
def test_a_sample_does_not_depend_on_its_neighbours(samples: list) -> None:
    numbers = range(len(samples))
    together = resample(join_strokes(samples, numbers, numbers, numbers), 8)
    alone = [resample(one(*sample), 8)[0] for sample in samples]
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-4)
