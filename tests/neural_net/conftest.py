"""What the tests of the library share: a generator, and a small problem that every network can learn."""

import numpy as np
import pytest


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def blobs() -> tuple[np.ndarray, np.ndarray]:
    """32 rows of 4 numbers around three centres, and the number of the centre."""
    rng = np.random.default_rng(1)
    y = np.arange(32) % 3
    centres = np.array([[2.0, 0, 0, 0], [0, 2, 0, 0], [0, 0, 2, 0]])
    return centres[y] + rng.normal(0, 0.4, (32, 4)), y
