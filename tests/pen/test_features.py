"""What the network reads of a digit: the table's eight points, or ink with pen lifts and true proportions."""

import numpy as np
import pytest
from tests.pen.digits import CROSS, strokes

from pen.features import FEATURE_SETS, points_at, stretch

N_INK = FEATURE_SETS["ink"].n_points


def test_ink_keeps_proportions_and_says_where_the_pen_is_up() -> None:
    row = FEATURE_SETS["ink"].of(strokes(CROSS)).reshape(N_INK, 3)
    x, y, up = row.T
    assert np.ptp(x) / np.ptp(y) == pytest.approx(1 / 3, abs=0.02)  # 100 wide, 300 high; no point is just at each end
    assert (y.min(), y.max()) == pytest.approx((-1, 1))
    way = np.hypot(50, 200)  # from the end of the first stroke to the start of the second
    steps = np.linspace(0, 300 + way + 100, N_INK)
    assert up.tolist() == ((steps > 300) & (steps < 300 + way)).tolist()
    first = steps <= 300
    assert np.ptp(x[first]) == 0
    np.testing.assert_allclose(np.diff(y[first]), y[1] - y[0], rtol=1e-5)


def test_one_stroke_is_never_up_and_paths_are_drawn_without_the_air() -> None:
    joined = [[*CROSS[0], *CROSS[1]]]
    assert not FEATURE_SETS["ink"].of(strokes(joined)).reshape(N_INK, 3)[:, 2].any()
    table = [FEATURE_SETS["table"].of(strokes(digit)) for digit in (joined, CROSS)]
    np.testing.assert_allclose(*table, atol=0.1)
    features = FEATURE_SETS["ink"]
    row = features.of(strokes(CROSS))
    path, up = features.drawn(row)[0], row.reshape(N_INK, 3)[:, 2] == 1
    assert np.isnan(path[up]).all()
    np.testing.assert_array_equal(path[~up], row.reshape(N_INK, 3)[~up, :2])
    table = FEATURE_SETS["table"]
    assert table.drawn(table.of(strokes(CROSS))).tobytes() == table.of(strokes(CROSS)).tobytes()


def test_points_at_goes_by_the_length_of_the_path() -> None:
    path = np.array([[[0, 0], [2, 0], [2, 6]]], np.float32)
    moments = np.array([[0, 0.125, 0.25, 0.5, 1]])
    assert points_at(path, moments).tolist() == [[[0, 0], [1, 0], [2, 0], [2, 2], [2, 6]]]
    assert points_at(path, moments, np.array([[5, 7, 9]]))[0, :, 2].tolist() == pytest.approx([5, 6, 7, 7 + 2 / 3, 9])
    flat = np.zeros((1, 8, 2), np.float32)
    flat[0, :, 0] = np.arange(8)
    assert np.isfinite(stretch(flat)).all()
