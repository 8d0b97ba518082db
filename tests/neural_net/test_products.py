"""Products in pieces are the same product."""

import itertools

import numpy as np
import pytest

from neural_net import products


@pytest.mark.parametrize("unpacked", [True, False])
@pytest.mark.parametrize(
    ("m", "k", "n"),
    [
        (3, 4, 5),
        (128, 257, 32),
        (128, 257, 128),
        (128, 257, 512),
        (257, 32, 128),
        (180, 120, 130),
        (256, 130, 120),
        (17, 128, 256),
        (40, 128, 256),
        (7, 400, 501),
    ],
)
@pytest.mark.parametrize("orders", list(itertools.product("CF", "CF")))
def test_every_layout(
    unpacked: bool, m: int, k: int, n: int, orders: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(products, "multiplies_small_matrices_unpacked", lambda: unpacked)
    rng = np.random.default_rng(0)
    shapes = [(m, k), (k, n)]
    a, b = (np.asarray(rng.normal(size=s), np.float32, order) for s, order in zip(shapes, orders, strict=True))
    out = np.full((m, n), np.nan, np.float32)
    products.multiply(a, b, out)
    assert np.allclose(out, a.astype(float) @ b, rtol=1e-4, atol=1e-4)
