"""Points in the plane that a straight line cannot divide: circles, moons and spirals."""

import numpy as np
from numpy.typing import NDArray

TOYS = ("circles", "moons", "spirals")


def make_toy(
    name: str, n: int, noise: float, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Points (n, 2), mostly from -1 to 1, and their classes (n,), 0 or 1, by turns.

    Args:
        name: ``circles``, one around the other; ``moons``, two half circles that interlock; ``spirals``, two arms.
        noise: the standard deviation of what is added to each coordinate.
    """
    y = np.arange(n) % 2
    share = rng.random(n)  # of the way along the curve
    if name == "circles":
        angle, radius = 2 * np.pi * share, np.where(y, 0.4, 0.9)
    elif name == "spirals":
        angle, radius = 3 * np.pi * np.sqrt(share) + np.pi * y, 0.1 + 0.85 * np.sqrt(share)
    else:
        angle, radius = np.pi * (share + y), np.full(n, 0.6)
    X = radius[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])
    if name == "moons":
        X += np.where(y[:, None], [0.3, 0.15], [-0.3, -0.15])
    return (X + noise * rng.standard_normal((n, 2))).astype(np.float32), y
