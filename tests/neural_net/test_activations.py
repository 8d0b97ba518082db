"""Activations: values and derivatives that can be checked by head, and what holds for all of them."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neural_net import ACTIVATIONS, GELU, ReLU, make_activation

LOG2, LOG3 = math.log(2), math.log(3)
ROOT = math.sqrt(8 / math.pi)
SCALE, ALPHA = 1.0507009873554805, 1.6732632423543772  # of SELU

KNOWN = [  # (activation, z, y, dy/dz); exp(log 3) = 3, so that sigmoid(log 3) = 3/4 and tanh(log 3) = 8/10
    ("identity", -3.0, -3.0, 1.0), ("relu", -2.0, 0.0, 0.0), ("relu", 0.0, 0.0, 0.0), ("relu", 3.0, 3.0, 1.0),
    ({"leaky_relu": {"slope": 0.25}}, -8.0, -2.0, 0.25), ({"leaky_relu": {"slope": 0.25}}, 8.0, 8.0, 1.0),
    ("elu", -LOG2, -0.5, 0.5), ({"elu": {"alpha": 4.0}}, -LOG2, -2.0, 2.0), ("elu", 2.0, 2.0, 1.0),
    ("selu", 1.0, SCALE, SCALE), ("selu", -LOG2, -SCALE * ALPHA / 2, SCALE * ALPHA / 2), ("sigmoid", 0.0, 0.5, 0.25),
    ("sigmoid", LOG3, 0.75, 0.1875), ("tanh", 0.0, 0.0, 1.0), ("tanh", LOG3, 0.8, 0.36), ("softplus", 0.0, LOG2, 0.5),
    ("softplus", LOG3, 2 * LOG2, 0.75), ("silu", 0.0, 0.0, 0.5), ("silu", LOG3, 0.75 * LOG3, 0.75 + 0.1875 * LOG3),
    ("gelu", 0.0, 0.0, 0.5),
    ("mish", 0.0, 0.0, 0.6),  # tanh(log 2) = 3/5
    ("mish", LOG2, 0.8 * LOG2, 0.8 + LOG2 * 0.36 * 2 / 3),  # softplus(log 2) = log 3, sigmoid(log 2) = 2/3
]  # fmt: skip


@pytest.mark.parametrize(("spec", "z", "y", "slope"), KNOWN)
def test_known_values(spec: object, z: float, y: float, slope: float) -> None:
    activation = make_activation(spec)
    assert activation.Forward_prop([[z]]) == pytest.approx(np.array([[y]]), abs=1e-15)
    assert activation.Backward_prop([[10.0]]) == pytest.approx(np.array([[10 * slope]]), abs=1e-14)


def test_softmax_of_known_values_and_none_is_without() -> None:
    softmax = make_activation("softmax")
    assert softmax.Forward_prop([[0, LOG3], [5, 5]]) == pytest.approx(np.array([[0.25, 0.75], [0.5, 0.5]]))
    assert softmax.Backward_prop([[16, 0], [0, 4]]) == pytest.approx(np.array([[3, -3], [-1, 1]]))
    known = {spec if isinstance(spec, str) else next(iter(spec)) for spec, *_ in KNOWN}
    assert known | {"softmax"} == {name for name, kind in ACTIVATIONS.items() if kind.__module__.startswith("neural_")}


def s(z: np.ndarray) -> np.ndarray:
    """The sigmoid, with a formula for either side."""
    small = np.exp(-np.abs(z))
    return np.where(z > 0, 1, small) / (1 + small)


def u(z: np.ndarray) -> np.ndarray:
    return ROOT * (z + 0.044715 * z**3)


def mish(z: np.ndarray) -> np.ndarray:
    return np.tanh(np.logaddexp(z, 0))


EXACT = {  # value and derivative in float64, by formulas that lose nothing far from 0
    "identity": (lambda z: z, lambda z: z**0), "relu": (lambda z: np.maximum(z, 0), lambda z: z > 0),
    "leaky_relu": (lambda z: np.where(z > 0, z, z / 100), lambda z: np.where(z > 0, 1, 0.01)),
    "elu": (lambda z: np.where(z > 0, z, np.expm1(-np.abs(z))), lambda z: np.exp(np.minimum(z, 0))),
    "selu": (lambda z: SCALE * np.where(z > 0, z, ALPHA * np.expm1(-np.abs(z))),
             lambda z: SCALE * np.where(z > 0, 1, ALPHA * np.exp(-np.abs(z)))),
    "sigmoid": (s, lambda z: 0.25 / np.cosh(z / 2) ** 2), "tanh": (np.tanh, lambda z: 1 / np.cosh(z) ** 2),
    "softplus": (lambda z: np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z))), s),
    "silu": (lambda z: z * s(z), lambda z: s(z) + z * s(z) * s(-z)),
    "gelu": (lambda z: z * s(u(z)), lambda z: s(u(z)) + z * s(u(z)) * s(-u(z)) * ROOT * (1 + 0.134145 * z**2)),
    "mish": (lambda z: z * mish(z), lambda z: mish(z) + z * s(z) / np.cosh(np.logaddexp(z, 0)) ** 2),
    "softmax": (s, lambda z: 0.25 / np.cosh(z / 2) ** 2),  # of the row (z, 0)
}  # fmt: skip


@pytest.mark.parametrize(("dtype", "rtol"), [(np.float32, 3e-5), (np.float64, 1e-12)])
@pytest.mark.parametrize("name", EXACT)
def test_tails_are_as_exact_as_the_middle(name: str, dtype: type, rtol: float) -> None:
    """Relatively, down to 1e-35; near 0, where some derivatives change their sign, absolutely."""
    far = np.geomspace(1e-6, 1000 if dtype is np.float32 else 300, 3000)
    z = np.concatenate([far, -far]).astype(dtype)[:, None]
    rows = np.hstack([z, 0 * z]) if name == "softmax" else z
    activation, atol = make_activation(name), np.where(np.abs(z) < 3, rtol / 100, 1e-35)[:, 0]
    first = np.zeros_like(rows)
    first[:, 0] = 1
    values = activation.forward(rows)[:, 0], activation.backward(first)[:, 0]
    for ours, exact in zip(values, EXACT[name], strict=True):
        with np.errstate(over="ignore"):  # of a cosh, whose reciprocal is 0
            reference = exact(z[:, 0].astype(np.float64))
        assert (np.abs(ours - reference) <= rtol * np.abs(reference) + atol).all()


AT_1000 = {  # y(-1000), y(1000), y'(-1000), y'(1000)
    "identity": (-1000, 1000, 1, 1), "relu": (0, 1000, 0, 1), "leaky_relu": (-10, 1000, 0.01, 1),
    "elu": (-1, 1000, 0, 1), "selu": (-SCALE * ALPHA, SCALE * 1000, 0, SCALE), "sigmoid": (0, 1, 0, 0),
    "tanh": (-1, 1, 0, 0), "softplus": (0, 1000, 0, 1), "silu": (0, 1000, 0, 1), "gelu": (0, 1000, 0, 1),
    "mish": (0, 1000, 0, 1), "softmax": (0, 1, 0, 0),
}  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", AT_1000)
def test_stable_far_from_zero(name: str, dtype: type) -> None:
    activation, z = make_activation(name), np.array([[-1000, 1000]], dtype)
    with np.errstate(all="raise", under="ignore"):
        values = [*activation.forward(z)[0], *activation.backward(np.ones_like(z))[0]]
    np.testing.assert_allclose(values, AT_1000[name], rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize(("dtype", "relative", "absolute"), [(np.float32, 4e-6, 4e-7), (np.float64, 4e-13, 1e-15)])
def test_the_exact_gelu_has_the_accuracy_of_its_dtype_far_from_0_too(
    dtype: type, relative: float, absolute: float
) -> None:
    z = np.linspace(*{np.float32: (-12, 12), np.float64: (-37, 37)}[dtype], 5000)[:, None].astype(dtype)
    gelu = GELU(approximate=False)
    y, slope = gelu.forward(z), gelu.backward(np.ones_like(z))
    phi = np.array([[0.5 * math.erfc(-x / math.sqrt(2))] for x in z[:, 0].tolist()])
    bell = np.array([[math.exp(-x * x / 2) / math.sqrt(2 * math.pi)] for x in z[:, 0].tolist()])
    np.testing.assert_allclose(y, z.astype(np.float64) * phi, rtol=relative, atol=0)
    np.testing.assert_allclose(slope, phi + z * bell, rtol=0, atol=absolute)
    ends = np.array([[1e30, -1e30, 0]], dtype)
    with np.errstate(all="raise", under="ignore"):
        np.testing.assert_allclose(
            [*gelu.forward(ends), *gelu.backward(np.ones_like(ends))], [ends[0] * [1, 0, 1], [1, 0, 0.5]]
        )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(0, 4), (1, 1), (5, 4), (2, 8, 3)])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_shape_and_dtype_stay(name: str, shape: tuple[int, ...], dtype: type, rng: np.random.Generator) -> None:
    activation, z = make_activation(name), rng.normal(size=shape).astype(dtype)
    y = activation.forward(z)
    grad = activation.backward(np.ones_like(z))
    assert (y.shape, y.dtype, grad.shape, grad.dtype) == (shape, dtype, shape, dtype)


@given(st.lists(st.floats(-50, 50), min_size=1, max_size=20))
def test_the_original_names_do_the_same_and_keep_their_results(numbers: list[float]) -> None:
    for name in ACTIVATIONS:
        by_old_name, by_new_name = make_activation(name), make_activation(name)
        Z = np.array([numbers])
        A, dZ = by_old_name.Forward_prop(Z), by_old_name.Backward_prop(Z)
        assert np.array_equal(A, by_new_name.forward(Z))
        assert np.array_equal(dZ, by_new_name.backward(Z))
        kept = A.copy()
        by_old_name.Forward_prop(Z + 1)
        assert np.array_equal(A, kept)
        assert np.array_equal(Z, [numbers])


class Cube:
    """A user's activation, with the two methods and nothing else."""

    def Forward_prop(self, Z: np.ndarray) -> np.ndarray:
        self.Z = Z
        return Z**3

    def Backward_prop(self, dA: np.ndarray) -> np.ndarray:
        return dA * 3 * self.Z**2


def test_a_users_result_of_another_shape_is_rejected() -> None:
    cube = Cube()
    activation, z = make_activation(cube), np.ones((2, 3))
    cube.Backward_prop = lambda dA: np.zeros(7)  # type: ignore[method-assign]
    with pytest.raises(ValueError, match=r"Cube.Backward_prop must return an array of shape \(2, 3\), got \(7,\)"):
        activation.backward(activation.forward(z))


@pytest.mark.parametrize(("spec", "message"), [
    ({"leaky_relu": {"slope": 1}}, "LeakyReLU: slope must be at least 0 and less than 1, got 1"),
    ({"leaky_relu": {"slope": math.nan}}, "LeakyReLU: slope"),
    ({"elu": {"alpha": 0}}, "ELU: alpha must be greater than 0, got 0"),
    ({"relu": {"slope": 1}}, "activation relu takes no options, got "),
    ({"relu": {}, "tanh": {}}, "activation must be a name, or one name with its options"),
    ({"relu": 3}, "the options of activation relu must be given by name"),
    (ReLU, "activation must be a name, a name with its options, or an object, got <class"),
    (3, "an activation must be a name, or an object with Forward_prop and Backward_prop, got 3"),
])  # fmt: skip
def test_faults_are_named(spec: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_activation(spec)
