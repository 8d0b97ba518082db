"""The built-in data set: the form of the real one, the same from the same seed, and neither trivial nor impossible."""

import numpy as np
import pytest

from data_sets import synthetic
from pen.ink import Ink, eight_points


@pytest.fixture(scope="module")
def rows() -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
    """X, digit and writer of 30 writers, and of 14 others, 100 rows each."""
    inks = synthetic.make_data_set(100, np.random.default_rng(1))
    return tuple((eight_points(ink), ink.digit, ink.writer) for ink in inks)  # type: ignore[return-value]


def nearest_neighbour(X: np.ndarray, y: np.ndarray, X_new: np.ndarray) -> np.ndarray:
    """Give each new row the digit of the row that is nearest to it."""
    distances = (X_new**2).sum(axis=1)[:, None] - 2.0 * X_new @ X.T + (X**2).sum(axis=1)
    return y[distances.argmin(axis=1)]


@pytest.mark.parametrize(("part", "n_writers"), [(0, 30), (1, 14)])
def test_form_of_the_real_data(small_inks: tuple[Ink, Ink], part: int, n_writers: int) -> None:
    ink = small_inks[part]
    assert np.bincount(ink.digit).tolist() == [n_writers] * 10
    assert np.bincount(ink.writer)[1:].tolist() == [10] * n_writers
    for writer in range(1, n_writers + 1):
        assert sorted(ink.number[ink.writer == writer]) == list(range(1, 11))
    assert np.mean(np.diff(ink.writer) == 0) < 0.2, "rows must be shuffled across writers"
    X = eight_points(ink).reshape(-1, 8, 2)
    assert (X.min(axis=1) == 0).all()
    assert (X.max(axis=1) == 100).all()
    assert ink.points.dtype == np.int64
    assert np.diff(ink.strokes).min() >= 2
    n_points = np.diff(ink.strokes[ink.samples])
    assert 25 < np.median(n_points) < 60  # 39 and 36 in the real files
    assert len(np.unique(X.reshape(-1, 16), axis=0)) == len(X)


@pytest.mark.parametrize("rows_per_writer", [1, 7, 23])
def test_any_number_of_rows(rows_per_writer: int) -> None:
    training, test = synthetic.make_data_set(rows_per_writer, np.random.default_rng(0))
    assert (len(training), len(test)) == (30 * rows_per_writer, 14 * rows_per_writer)
    counts = np.bincount(training.digit, minlength=10) // 30
    assert counts.max() - counts.min() <= 1


def test_chunks_make_one_ink(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic, "_CHUNK", 64)
    ink, _ = synthetic.make_data_set(10, np.random.default_rng(0))
    assert len(ink) == len(ink.writer) == len(ink.samples) - 1 == 300
    assert ink.strokes[-1] == len(ink.points)
    assert all(len(ink[i]) >= 1 for i in range(300))


def test_other_writers_are_harder_hands_differ_and_zeros_go_round_both_ways(rows: tuple) -> None:
    (X, y, _), (X_other, y_other, _) = rows
    others = np.mean(nearest_neighbour(X, y, X_other) == y_other)
    same = np.mean(nearest_neighbour(X[::2], y[::2], X[1::2]) == y[1::2])
    assert 0.93 < others < 0.99  # 0.977 on the real data
    assert others < same
    (X, y, writer), _ = rows
    for digit in range(10):
        mine = X[y == digit]
        found = nearest_neighbour(mine[::2], writer[y == digit][::2], mine[1::2])
        assert np.mean(found == writer[y == digit][1::2]) > 3 / 30  # three times better than guessing
    X, y, _ = rows[0]
    x, up = X[y == 0, ::2], X[y == 0, 1::2]
    area = np.sum(x * np.roll(up, -1, axis=1) - np.roll(x, -1, axis=1) * up, axis=1)  # positive against the clock
    assert 0.5 < np.mean(area > 0) < 1


def test_pen_lifts_where_people_lift_the_pen() -> None:
    ink, _ = synthetic.make_data_set(60, np.random.default_rng(0))
    strokes = np.diff(ink.samples)
    lifted = [np.mean(strokes[ink.digit == digit] > 1) for digit in range(10)]
    assert all(lifted[digit] > 0.3 for digit in (4, 5, 7))
    assert all(lifted[digit] == 0 for digit in (0, 2, 3, 6, 8, 9))


def test_rows_are_like_those_that_ink_gives() -> None:
    rng = np.random.default_rng(0)
    writers = synthetic.draw_writers(5, rng)
    digit, writer = np.tile(np.arange(10), 200), np.repeat(np.arange(1, 6), 400)
    from_ink = eight_points(synthetic.draw_ink(writers, digit, writer, writer, rng))
    direct = synthetic.draw_rows(writers, digit, writer, rng)
    for d in range(10):
        np.testing.assert_allclose(from_ink[digit == d].mean(axis=0), direct[digit == d].mean(axis=0), atol=6)


@pytest.mark.parametrize("n", [0, 20_000])
def test_any_number_of_rows_of_the_table(n: int) -> None:
    X, digit, writer = synthetic.make_rows(n, np.random.default_rng(0))
    assert X.shape == (n, 16)
    assert (set(digit), set(writer)) == (set(range(10 if n else 0)), set(range(1, 31 if n else 1)))
    assert not n or (X.min(), X.max()) == (0, 100)
