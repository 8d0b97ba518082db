"""The small array helpers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils import accuracy, one_hot, scale_features, split_data


def test_scaling_maps_the_coordinates_range_to_minus_one_to_one() -> None:
    assert scale_features([[0, 25, 50, 100]]).tolist() == [[-1, -0.5, 0, 1]]
    assert scale_features([0, 5, 10], low=0, high=10).tolist() == [-1, 0, 1]


def test_scaling_refuses_an_empty_range() -> None:
    with pytest.raises(ValueError, match="high must be greater than low"):
        scale_features([1], low=3, high=3)


@given(n=st.integers(30, 60), test_size=st.floats(0.2, 0.8), seed=st.integers(0, 9))
def test_split_keeps_every_row_once_with_its_label(n: int, test_size: float, seed: int) -> None:
    X = np.arange(n)
    y = X % 3
    X_train, X_test, y_train, y_test = split_data(X, y, test_size, rng=np.random.default_rng(seed))
    assert sorted([*X_train, *X_test]) == list(range(n))
    assert (X_train % 3 == y_train).all()
    assert (X_test % 3 == y_test).all()


def test_split_gives_each_class_its_share() -> None:
    y = np.repeat([0, 1], [100, 20])
    *_, y_test = split_data(y, y, 0.25, rng=np.random.default_rng(0))
    assert np.bincount(y_test).tolist() == [25, 5]


def test_split_is_the_same_for_the_same_seed() -> None:
    first, second, other = (split_data(range(50), [0] * 50, rng=np.random.default_rng(seed))[1] for seed in (1, 1, 2))
    assert first.tolist() == second.tolist() != other.tolist()


@pytest.mark.parametrize(("X", "y", "size"), [([1, 2], [1], 0.5), ([1, 2], [0, 0], 0), ([1, 2], [0, 1], 0.5)])
def test_split_refuses_what_cannot_be_split(X: list[int], y: list[int], size: float) -> None:
    with pytest.raises(ValueError, match=r"^split_data: "):
        split_data(X, y, size, rng=np.random.default_rng(0))


def test_split_wants_a_generator() -> None:
    with pytest.raises(TypeError, match="rng"):
        split_data([1, 2], [0, 0])  # type: ignore[call-arg]


def test_one_hot_puts_a_single_one_in_each_row() -> None:
    assert one_hot([2, 0], 3).tolist() == [[0, 0, 1], [1, 0, 0]]


@pytest.mark.parametrize("y", [[3], [-1], [0.5], [[0]]])
def test_one_hot_refuses_what_is_no_label(y: list[float]) -> None:
    with pytest.raises(ValueError, match=r"^one_hot: labels must"):
        one_hot(y, 3)


def test_accuracy_is_the_share_of_right_predictions() -> None:
    assert accuracy([1, 2, 3, 4], [1, 2, 3, 0]) == 0.75


@pytest.mark.parametrize(("y_true", "y_pred"), [([1], [1, 2]), ([], [])])
def test_accuracy_refuses_rows_that_do_not_match(y_true: list[int], y_pred: list[int]) -> None:
    with pytest.raises(ValueError, match=r"^accuracy: "):
        accuracy(y_true, y_pred)
