"""Initializers: how their weights are distributed, and which of them ``auto`` picks."""

from typing import Any

import numpy as np
import pytest

from neural_net import ACTIVATIONS, INITIALIZERS, Conv1D, Linear, Network, Residual

N_IN, N_OUT = 200, 100
SPREAD = {  # name -> (standard deviation, largest number that can come), by the papers' formulas for 200 -> 100
    "zeros": (0, 0), "ones": (0, 1), "normal": (0.05, np.inf), "uniform": (0.0288675, 0.05),
    "xavier_normal": (0.0816497, np.inf),  # sqrt(2 / 300)
    "xavier_uniform": (0.0816497, 0.1414214),  # sqrt(6 / 300)
    "he_normal": (0.1, np.inf),  # sqrt(2 / 200)
    "he_uniform": (0.1, 0.1732051),
    "lecun_normal": (0.0707107, np.inf),  # sqrt(1 / 200)
    "lecun_uniform": (0.0707107, 0.1224745),
    "orthogonal": (0.0707107, 1),  # columns of length 1 have 200 numbers
}  # fmt: skip


def draw(name: str, shape: tuple[int, ...] = (N_IN, N_OUT), seed: int = 0) -> np.ndarray:
    weights = np.full(shape, np.nan)
    INITIALIZERS[name](weights, N_IN, N_OUT, np.random.default_rng(seed))
    return weights


@pytest.mark.parametrize("name", INITIALIZERS)
def test_mean_and_spread(name: str) -> None:
    weights, (deviation, bound) = draw(name), SPREAD[name]
    assert weights.std() == pytest.approx(deviation, rel=0.02, abs=1e-12)
    assert weights.mean() == pytest.approx(1 if name == "ones" else 0, abs=0.003)
    assert np.abs(weights).max() <= bound
    if "uniform" in name:
        assert np.abs(weights).max() > 0.999 * bound


@pytest.mark.parametrize("name", INITIALIZERS)
def test_the_seed_decides(name: str) -> None:
    assert np.array_equal(draw(name, seed=1), draw(name, seed=1))
    assert np.array_equal(draw(name, seed=1), draw(name, seed=2)) == (name in ("zeros", "ones"))


@pytest.mark.parametrize("shape", [(7, 4), (4, 7), (5, 5), (3, 2, 4), (3, 2, 9), (1, 1), (5,)])
def test_orthogonal_has_orthonormal_columns_or_rows(shape: tuple[int, ...]) -> None:
    matrix = draw("orthogonal", shape).reshape(-1, shape[-1])
    gram = matrix.T @ matrix if matrix.shape[0] >= matrix.shape[1] else matrix @ matrix.T
    np.testing.assert_allclose(gram, np.eye(len(gram)), atol=1e-12)


def test_orthogonal_prefers_no_direction() -> None:
    corners = [draw("orthogonal", (2, 2), seed)[0, 0] for seed in range(400)]
    assert abs(np.mean(corners)) < 0.1  # without the signs of R it is -0.64


SUITED = {
    "relu": "he_normal", "leaky_relu": "he_normal", "elu": "he_normal", "selu": "lecun_normal", "gelu": "he_normal",
    "silu": "he_normal", "mish": "he_normal", "softplus": "he_normal", "tanh": "xavier_uniform",
    "sigmoid": "xavier_uniform", "identity": "xavier_uniform", "softmax": "xavier_uniform",
}  # fmt: skip


def weights_of(layers: list[Any]) -> np.ndarray:
    return Network(layers, N_IN, rng=np.random.default_rng(0), dtype=np.float64).layers[0].W


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_auto_suits_the_activation_that_follows(activation: str) -> None:
    automatic = weights_of([Linear(N_OUT), "batch_norm", {"dropout": {"rate": 0.1}}, activation, Linear(2)])
    if activation in SUITED:
        assert np.array_equal(automatic, draw(SUITED[activation]))


def test_auto_stops_at_weights_of_any_kind_and_looks_into_blocks() -> None:
    path, conv = {"reshape": {"shape": [10, 10]}}, {"conv1d": {"filters": 3}}
    xavier, he = draw("xavier_uniform"), draw("he_normal")
    assert np.array_equal(weights_of([Linear(N_OUT), path, conv, "relu", "flatten", Linear(2)]), xavier)
    assert np.array_equal(weights_of([Linear(N_OUT), Residual([Linear(N_OUT), "tanh"]), "relu", Linear(2)]), xavier)
    assert np.array_equal(weights_of([Linear(N_OUT), Residual(["relu", Linear(N_OUT)]), "tanh", Linear(2)]), he)


def test_the_fans_of_a_convolution_count_its_kernel() -> None:
    layers = [{"reshape": {"shape": [20, 10]}}, Conv1D(400, 5, init="he_normal"), "flatten", Linear(2)]
    network = Network(layers, N_IN, rng=np.random.default_rng(0))
    assert network.layers[1].W.std() == pytest.approx(0.2, rel=0.02)  # sqrt(2 / (5 * 10))
