"""The small array helpers."""

from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils import accuracy, log_loss, one_hot, one_line, scale_features, split_data

RNG = np.random.default_rng


def test_scaling_one_hot_rows_and_accuracy_by_hand() -> None:
    assert scale_features([[0, 25, 50, 100]]).tolist() == [[-1, -0.5, 0, 1]]
    assert scale_features([0, 5, 10], low=0, high=10).tolist() == [-1, 0, 1]
    assert one_hot([2, 0], 3).tolist() == [[0, 0, 1], [1, 0, 0]]
    assert accuracy([1, 2, 3, 4], [1, 2, 3, 0]) == 0.75
    assert str(log_loss([[1.0, 0.0]], [0])) == "0.0"  # not -0.0


@given(n=st.integers(30, 60), test_size=st.floats(0.2, 0.8), seed=st.integers(0, 9))
def test_split_keeps_every_row_once_with_its_label(n: int, test_size: float, seed: int) -> None:
    X = np.arange(n)
    y = X % 3
    X_train, X_test, y_train, y_test = split_data(X, y, test_size, rng=RNG(seed))
    assert sorted([*X_train, *X_test]) == list(range(n))
    assert (X_train % 3 == y_train).all()
    assert (X_test % 3 == y_test).all()


def test_split_gives_each_class_its_share_and_the_seed_decides() -> None:
    y = np.repeat([0, 1], [100, 20])
    *_, y_test = split_data(y, y, 0.25, rng=RNG(0))
    assert np.bincount(y_test).tolist() == [25, 5]
    first, second, other = (split_data(range(50), [0] * 50, rng=rng)[1] for rng in (1, RNG(1), 2))
    assert first.tolist() == second.tolist() != other.tolist()


@pytest.mark.parametrize(("helper", "arguments"), [
    (scale_features, ([1], 3, 3)),
    *((partial(split_data, rng=RNG(0)), wrong) for wrong in [([1, 2], [1]), ([1, 2], [0, 0], 0), ([1, 2], [0, 1])]),
    *((one_hot, (y, 3)) for y in ([3], [-1], [0.5], [[0]])),
    *((accuracy, wrong) for wrong in [([1], [1, 2]), ([], [])]),
])  # fmt: skip
def test_each_refuses_what_it_cannot_take(helper: Any, arguments: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError, match=f"^{getattr(helper, 'func', helper).__name__}: "):
        helper(*arguments)
    with pytest.raises(TypeError, match="rng"):
        split_data([1, 2], [0, 0])  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("text", "most", "line"),
    [("a\n b\tc ", 9, "a b c"), ("\x1b[31mred\u202e", 20, "?[31mred?"), ("x" * 9, 8, "xxxxx..."), (1.5, 3, "1.5")],
)
def test_text_becomes_one_printable_line(text: object, most: int, line: str) -> None:
    assert one_line(text, most) == line
