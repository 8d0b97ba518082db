"""Augmented pen paths are still pen paths of the data set's form."""

import numpy as np
import pytest

from strokes import Augmentation, points_at, stretch

KINDS = ["warp", "trim", "rotation", "shear", "aspect", "bend", "jitter"]
ALONE = [{kind: 0.1} for kind in KINDS if kind != "aspect"] + [{"aspect": 0.2, "rotation": 0.1}]


@pytest.fixture
def X() -> np.ndarray:
    paths = np.random.default_rng(0).uniform(-1, 1, (50, 8, 2)).astype(np.float32)
    return stretch(paths).reshape(50, 16)


@pytest.mark.parametrize("options", ALONE)
def test_augmented_rows_fill_both_axes_and_differ(X: np.ndarray, options: dict[str, float]) -> None:
    before = X.copy()
    made = Augmentation(**options)(X, np.random.default_rng(1))
    paths = made.reshape(-1, 8, 2)
    np.testing.assert_allclose(paths.min(axis=1), -1, atol=1e-5)
    np.testing.assert_allclose(paths.max(axis=1), 1, atol=1e-5)
    assert made.dtype == np.float32
    assert made.shape == X.shape
    assert (np.abs(made - X).max(axis=1) > 1e-4).mean() > 0.9
    assert (X == before).all()


@pytest.mark.parametrize("options", ALONE)
def test_same_generator_gives_the_same_paths(X: np.ndarray, options: dict[str, float]) -> None:
    first, second, other = (Augmentation(**options)(X, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first.tobytes() == second.tobytes() != other.tobytes()


def test_without_options_it_is_false_and_changes_nothing(X: np.ndarray) -> None:
    nothing = Augmentation()
    assert not nothing
    assert all(Augmentation(**{kind: 0.1}) for kind in KINDS)
    np.testing.assert_allclose(nothing(X, np.random.default_rng(0)), X, atol=1e-6)


def test_affine_changes_keep_straight_lines_straight() -> None:
    line = np.linspace(-1, 1, 8, dtype=np.float32)
    X = np.stack([line, line], axis=1).reshape(1, 16)
    made = Augmentation(rotation=0.2, shear=0.3, aspect=0.2)(X, np.random.default_rng(3)).reshape(8, 2)
    np.testing.assert_allclose(np.diff(made, 2, axis=0), 0, atol=1e-5)


def test_points_at_reads_between_the_points() -> None:
    path = np.array([[[0, 0], [2, 0], [2, 4]]], np.float32)
    assert points_at(path, np.array([[0, 0.5, 1, 1.25, 2]], np.float32)).tolist() == [
        [[0, 0], [1, 0], [2, 0], [2, 1], [2, 4]]
    ]


def test_an_axis_without_extent_is_not_divided_by() -> None:
    flat = np.zeros((1, 8, 2), np.float32)
    flat[0, :, 0] = np.arange(8)
    assert np.isfinite(stretch(flat)).all()
