"""Strokes keep a digit's proportions, and are refused where they are something else."""

from pathlib import Path

import numpy as np
import pytest
from tests.pen.digits import CROSS, strokes

from pen.ink import Ink
from pen.strokes import N_DENSE, Strokes, check_strokes, strokes_of
from pipeline.errors import StageError
from pipeline.rows import read_strokes, strokes_npz


def test_a_digit_is_in_the_middle_and_keeps_its_proportions() -> None:
    points, stroke = strokes([[(x + 100, y) for x, y in part] for part in CROSS])
    assert points.shape == (1, N_DENSE, 2)
    assert (points.dtype, points[0].min(axis=0)) == (np.float32, pytest.approx([-1 / 3, -1]))
    assert points[0].max(axis=0) == pytest.approx([1 / 3, 1])
    assert np.bincount(stroke[0]).tolist() == [47, 17]  # of lengths 300 and 100
    assert (points[0, :47, 0] == 0).all()
    points, stroke = strokes([[(i, 0), (i, 9)] for i in range(100)])
    assert points.shape == (1, N_DENSE, 2)
    assert stroke.max() == N_DENSE // 2 - 1


@pytest.mark.parametrize("dot", [[(5, 5)], [(5, 5), (5, 5)]])
def test_a_dot_alone_and_beside_a_line(dot: list[tuple[int, int]]) -> None:
    assert (strokes([dot]).points == 0).all()
    assert np.bincount(strokes([[(0, 0), (0, 100)], dot]).stroke[0]).tolist() == [N_DENSE - 2, 2]


def test_they_are_read_as_they_were_written(small_inks: tuple[Ink, Ink], tmp_path: Path) -> None:
    path, digits = tmp_path / "ink.npz", strokes_of(small_inks[0])
    path.write_bytes(strokes_npz(digits))
    found = read_strokes(path, 300)
    for array, expected in zip(found, digits, strict=True):
        assert array.dtype == expected.dtype
        np.testing.assert_array_equal(array, expected)
    assert strokes_npz(found) == path.read_bytes()
    with pytest.raises(
        StageError, match=r"ink\.npz: expected points of 299 digits, got shape \(300, 64, 2\), .* again"
    ):
        read_strokes(path, 299)


GOOD = strokes(CROSS)


@pytest.mark.parametrize(("points", "stroke", "fault"), [
    (GOOD.points[:, :9], GOOD.stroke[:, :9], r"expected points of 1 digits, got shape \(1, 9, 2\)"),
    (GOOD.points.astype(float), GOOD.stroke, "expected points of 1 digits, .* float64"),
    (GOOD.points, GOOD.stroke[:, :9], r"expected the strokes of 1 digits, got shape \(1, 9\)"),
    (GOOD.points, GOOD.stroke.astype(int), "expected the strokes of 1 digits, .* int64"),
    (GOOD.points * np.float32(np.nan), GOOD.stroke, "numbered from 0, with points from -1 to 1"),
    (GOOD.points * 3, GOOD.stroke, "numbered from 0, with points from -1 to 1"),
    (GOOD.points, GOOD.stroke + np.int8(1), "numbered from 0"),
    (GOOD.points, GOOD.stroke * np.int8(2), "numbered from 0"),
    (GOOD.points, GOOD.stroke * np.int8(-1), "numbered from 0"),
])  # fmt: skip
def test_what_is_no_strokes_is_refused(points: np.ndarray, stroke: np.ndarray, fault: str) -> None:
    check_strokes(GOOD, 1)
    with pytest.raises(ValueError, match=fault):
        check_strokes(Strokes(points, stroke), 1)
