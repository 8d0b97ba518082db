"""Every derivative against central differences, and the check itself against planted bugs."""

import inspect
from typing import Any

import numpy as np
import pytest

from neural_net import ACTIVATIONS, LAYERS, LOSSES, CrossEntropy, Layer, Linear, Network, Tanh, gradcheck
from neural_net.gradcheck import TOLERANCE, check_layer, check_loss, check_network

PARTS = {**ACTIVATIONS, **LAYERS, **LOSSES}


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_part_with_every_option_is_right(seed: int) -> None:
    errors = {f"{name} {options}": error for _, name, options, error in gradcheck.check_all(seed)}
    assert {part.split()[0] for part in errors} == {*ACTIVATIONS, *LAYERS, *LOSSES}
    assert {part: error for part, error in errors.items() if not error < TOLERANCE} == {}


@pytest.mark.parametrize("name", PARTS)
def test_no_option_is_left_out(name: str) -> None:
    options = set(inspect.signature(PARTS[name]).parameters) if PARTS[name].__init__ is not object.__init__ else set()
    checked = [*gradcheck.OPTIONS.get(name, []), *getattr(PARTS[name], "check_with", [])]
    assert options == {option for given in checked for option in given}


class WrongFactor(Tanh):
    def _gradient(self, z: Any, y: Any, grad_y: Any, grad_z: Any) -> None:
        super()._gradient(z, y, grad_y, grad_z)
        grad_z *= 1.00001


class ForgottenBias(Linear):
    def backward_parameters(self, grad_out: Any) -> None:
        super().backward_parameters(grad_out)
        self.db[...] = 0


@pytest.mark.parametrize("layer", [WrongFactor(), ForgottenBias(2)])
def test_a_wrong_layer_is_found(layer: Layer, rng: np.random.Generator) -> None:
    assert not check_layer(layer, (3,), rng) < TOLERANCE


class SummedCrossEntropy(CrossEntropy):
    def backward(self) -> np.ndarray:
        return super().backward() * 5


def test_numerical_gradient_of_a_known_function() -> None:
    place = np.array([3.0, 4.0])
    gradient = gradcheck.numerical_gradient(lambda: place[0] ** 2 * place[1], place)
    np.testing.assert_allclose(gradient, [24, 9], rtol=1e-9)  # 2xy and x^2
    assert place.tolist() == [3, 4]


EVERYTHING = [
    {"reshape": {"shape": [8, 2]}}, {"conv1d": {"filters": 3}}, "batch_norm", "gelu",
    {"residual": {"layers": [{"conv1d": {"filters": 3}}, "layer_norm", "silu"]}}, "max_pool1d", "flatten",
    {"dropout": {"rate": 0.3}}, {"linear": {"n_out": 4}}, "tanh", {"linear": {"n_out": 3}},
]  # fmt: skip


def test_a_network_of_everything_is_right_and_left_as_it_was(rng: np.random.Generator) -> None:
    network = Network(EVERYTHING, 16, rng=rng, dtype=np.float64)
    network.set_rng(rng)
    X, params = rng.normal(size=(6, 16)), network.params.copy()
    before = network.outputs(X)
    assert check_network(network, X, [0, 1, 2, 0, 1, 2]) < TOLERANCE
    assert np.array_equal(network.outputs(X), before)
    assert np.array_equal(network.params, params)
    assert all(layer.rng is rng for layer in network.walk())


@pytest.mark.parametrize("loss", LOSSES)
def test_a_network_that_ends_in_paths_is_right_with_every_loss(loss: str, rng: np.random.Generator) -> None:
    network = Network([*EVERYTHING[:5], {"linear": {"n_out": 2}}], 16, rng=rng, dtype=np.float64)
    assert check_network(network, rng.normal(size=(5, 16)), rng.integers(2, size=(5, 8)), loss) < TOLERANCE


def test_a_wrong_network_or_loss_is_found_and_float32_refused(rng: np.random.Generator) -> None:
    network = Network([Linear(4), WrongFactor(), Linear(3)], 2, rng=rng, dtype=np.float64)
    assert check_network(network, rng.normal(size=(6, 2)), [0, 1, 2, 0, 1, 2]) > TOLERANCE
    with pytest.raises(ValueError, match="float64, and this network is float32"):
        check_network(Network(["tanh"], 2, rng=rng), np.ones((2, 2)), [0, 1])
    assert check_loss(SummedCrossEntropy(), rng) > 0.5
