"""Layers: small whole numbers that can be checked by head, shapes that do not fit, and what is kept for whom."""

from typing import Any

import numpy as np
import pytest

import neural_net as nn
from neural_net import BatchNorm, Conv1D, Dropout, LayerNorm, Linear, MaxPool1D, Network, Residual, Tanh, make_layer
from neural_net.layers import layer_spec, setup


def ready(layer: nn.Layer, *shape_in: int, **parameters: Any) -> Any:
    """The layer, usable by itself in float64, with these values of its parameters."""
    setup(layer, shape_in, np.random.default_rng(0))
    for name, value in parameters.items():
        getattr(layer, name)[...] = value
    return layer


def path(*points: float) -> np.ndarray:
    """One sample of one channel."""
    return np.array(points, dtype=np.float64).reshape(1, -1, 1)


# Worked examples
def test_linear() -> None:
    linear = ready(Linear(3), 2, W=[[1, 2, 3], [4, 5, 6]], b=[1, 0, -1])
    assert linear.forward(np.array([[1.0, 2], [0, 1]])).tolist() == [[10, 12, 14], [5, 5, 5]]
    assert linear.backward(np.array([[1.0, 0, 2], [0, 1, 0]])).tolist() == [[7, 16], [2, 5]]
    assert (linear.dW.tolist(), linear.db.tolist()) == ([[1, 0, 2], [2, 1, 4]], [1, 1, 2])


def test_linear_on_the_points_of_a_path_and_without_bias() -> None:
    linear = ready(Linear(3, use_bias=False), 2, 2, W=[[1, 2, 3], [4, 5, 6]])
    assert linear.forward(np.array([[[1.0, 2], [0, 1]]])).tolist() == [[[9, 12, 15], [4, 5, 6]]]
    assert linear.backward(np.array([[[1.0, 0, 2], [0, 1, 0]]])).tolist() == [[[7, 16], [2, 5]]]
    assert (linear.dW.tolist(), list(linear.parameters)) == ([[1, 0, 2], [2, 1, 4]], ["W"])


@pytest.mark.parametrize("rows", [1, 40])  # windows that are copied, and views
@pytest.mark.parametrize(("options", "y"), [
    ({"padding": "valid"}, [-2, -2]),  # 1 - 3, 2 - 4
    ({"padding": "same"}, [-2, -2, -2, 3]),  # 0 - 2, 1 - 3, 2 - 4, 3 - 0
    ({"padding": "valid", "stride": 2}, [-2]),
    ({"padding": "same", "stride": 2}, [-2, 3]),  # windows 1 2 3 and 3 4 0: the zero that is missing comes last
    ({"padding": "same", "stride": 3}, [-2, 3]),  # windows 0 1 2 and 3 4 0
    ({"padding": "same", "dilation": 2}, [-3, -4, 1, 2]),  # 0 - 3, 0 - 4, 1 - 0, 2 - 0
])  # fmt: skip
def test_conv1d(options: dict[str, Any], y: list[int], rows: int) -> None:
    conv = ready(Conv1D(1, 3, **options), 4, 1, W=np.reshape([1, 0, -1], (3, 1, 1)))
    assert conv.forward(path(1, 2, 3, 4).repeat(rows, axis=0)).ravel().tolist() == y * rows


@pytest.mark.parametrize("rows", [1, 40])
def test_conv1d_backward(rows: int) -> None:
    conv = ready(Conv1D(1, 3, padding="valid"), 4, 1, W=np.reshape([1, 0, -1], (3, 1, 1)), b=5)
    assert conv.forward(path(1, 2, 3, 4).repeat(rows, axis=0)).ravel().tolist() == [3, 3] * rows
    assert conv.backward(path(1, 10).repeat(rows, axis=0)).ravel().tolist() == [1, 10, -1, -10] * rows
    assert conv.dW.ravel().tolist() == [21 * rows, 32 * rows, 43 * rows]  # 1 + 20, 2 + 30, 3 + 40
    assert conv.db.tolist() == [11 * rows]


@pytest.mark.parametrize("length", [5, 6, 9])
@pytest.mark.parametrize("options", [
    {"kernel_size": k, "stride": s, "padding": padding}
    for k in (1, 2, 3, 5) for s in (1, 2, 3, 4) for padding in ("same", "valid")
])  # fmt: skip
def test_conv1d_of_many_samples_is_that_of_each(options: dict[str, Any], length: int) -> None:
    conv, rng = ready(Conv1D(3, **options), length, 2), np.random.default_rng(0)
    x, grad = rng.normal(size=(40, length, 2)), rng.normal(size=(40, *conv.shape_out))
    one_by_one, dW = [], np.zeros_like(conv.dW)
    for i in range(40):
        one_by_one.append((conv.forward(x[i : i + 1]).copy(), conv.backward(grad[i : i + 1]).copy()))
        dW += conv.dW
    y, grad_in = map(np.concatenate, zip(*one_by_one, strict=True))
    together = conv.forward(x), conv.backward(grad), conv.dW
    for found, expected in zip(together, (y, grad_in, dW), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-12)


def test_pools_leave_out_the_rest_and_the_first_of_equals_gets_the_gradient() -> None:
    pool = ready(MaxPool1D(2), 7, 1)
    assert pool.forward(path(1, 5, 2, 2, -1, -3, 9)).ravel().tolist() == [5, 2, -1]
    assert pool.backward(path(10, 20, 30)).ravel().tolist() == [0, 10, 20, 0, 30, 0, 0]
    pool = ready(nn.AveragePool1D(3), 7, 1)
    assert pool.forward(path(1, 2, 3, 4, 5, 9, 100)).ravel().tolist() == [2, 6]
    assert pool.backward(path(3, 6)).ravel().tolist() == [1, 1, 1, 2, 2, 2, 0]


@pytest.mark.parametrize(("pool", "y", "gradient"), [
    (MaxPool1D(2, stride=1), [5, 5, 3, 3], [0, 30, 0, 70, 0]),  # windows 1 5, 5 2, 2 3, 3 0
    (MaxPool1D(3, padding="same"), [5, 3], [0, 10, 0, 20, 0]),  # windows . 1 5 and 2 3 0: a point . comes before them
    (nn.AveragePool1D(3, stride=2, padding="same"), [3, 10 / 3, 1.5], [5, 5 + 20 / 3, 20 / 3, 20 / 3 + 15, 15]),
    (nn.AveragePool1D(2, stride=3), [3, 1.5], [5, 5, 0, 10, 10]),
])  # fmt: skip
def test_pools_with_stride_and_padding(pool: Any, y: list[float], gradient: list[float]) -> None:
    assert ready(pool, 5, 1).forward(path(1, 5, 2, 3, 0)).ravel().tolist() == pytest.approx(y)
    assert pool.backward(path(*[10, 20, 30, 40][: len(y)])).ravel().tolist() == pytest.approx(gradient)


def test_batch_norm_of_two_samples_and_by_the_running_statistics() -> None:
    norm = ready(BatchNorm(momentum=0.5, eps=1e-12), 2, gamma=[1, 10], beta=[0, 7])
    y = norm.forward(np.array([[1.0, 0], [3, 0]]), training=True)
    np.testing.assert_allclose(y, [[-1, 7], [1, 7]], rtol=1e-9)  # mean 2, variance 1; a constant has its beta
    assert norm.state["mean"].tolist() == [1, 0]  # half of 0 and half of 2
    assert norm.state["variance"].tolist() == [1.5, 0.5]  # half of 1 and half of the unbiased 2, of 0
    np.testing.assert_allclose(norm.backward(np.array([[5.0, 0], [5, 0]])), 0, atol=1e-9)  # a shift changes nothing
    assert norm.dbeta.tolist() == [10, 0]
    norm = ready(BatchNorm(eps=1e-12), 1)
    norm.state["mean"][:], norm.state["variance"][:] = 10, 4
    np.testing.assert_allclose(norm.forward(np.array([[14.0]])), [[2]])
    np.testing.assert_allclose(norm.backward(np.array([[6.0]])), [[3]])
    norm.forward(np.array([[100.0]]), training=True)  # one row has no variance
    assert (norm.state["mean"], norm.state["variance"]) == (10, 4)


def test_layer_norm() -> None:
    norm = ready(LayerNorm(eps=1e-12), 2, gamma=[1, 2], beta=[0, 10])
    for training in (True, False):
        np.testing.assert_allclose(norm.forward(np.array([[1.0, 3], [8, 2]]), training), [[-1, 12], [1, 8]])


def test_flatten_and_reshape_are_inverse_and_residual_adds_its_input() -> None:
    x = np.arange(12.0).reshape(2, 3, 2)
    rows = ready(nn.Flatten(), 3, 2).forward(x)
    assert rows[1].tolist() == [6, 7, 8, 9, 10, 11]
    assert np.array_equal(ready(make_layer({"reshape": {"shape": [3, 2]}}), 6).forward(rows), x)
    filled = ready(make_layer({"reshape": {"shape": [3, -1]}}), 6)
    assert np.array_equal(filled.forward(rows), x)
    assert layer_spec(filled) == {"reshape": {"shape": [3, 2]}}
    assert filled.build((12,)) == (3, 4)
    residual = ready(Residual([Linear(2)]), 2)
    residual.layers[0].W[...], residual.layers[0].b[...] = [[2, 0], [0, 3]], [1, 1]
    assert residual.forward(np.array([[1.0, 10]])).tolist() == [[4, 41]]
    assert residual.backward(np.array([[1.0, 1]])).tolist() == [[3, 4]]


# Dropout
def test_dropout_zeroes_its_share_and_scales_the_rest(rng: np.random.Generator) -> None:
    dropout = ready(Dropout(0.2), 100)
    dropout.rng = rng
    y = dropout.forward(np.ones((1000, 100)), training=True)
    assert set(np.unique(y)) == {0, 1.25}
    assert np.mean(y == 0) == pytest.approx(0.2, abs=0.005)  # four standard deviations
    assert np.array_equal(dropout.backward(np.ones_like(y)), y)
    first = y.copy()
    assert not np.array_equal(dropout.forward(np.ones((1000, 100)), training=True), first)
    with pytest.raises(ValueError, match=r"Dropout draws at random: set rng"):
        Dropout().forward(np.ones((1, 1)), training=True)


@pytest.mark.parametrize(("rate", "training"), [(0.9, False), (0.0, True)])
def test_dropout_that_does_nothing(rate: float, training: bool) -> None:
    dropout, x = Dropout(rate), np.ones((2, 3))
    assert np.array_equal(dropout.forward(x, training), x)
    assert np.array_equal(dropout.backward(x), x)


# What does not fit
@pytest.mark.parametrize(("layers", "n_in", "message"), [
    ([Linear(3), Linear(2, n_in=5)], 4, "Linear: linear2 expects 5 inputs, got 3"),
    ([Linear(3, n_in=8)], (8, 2), "Linear: linear1 expects 8 inputs, got 2"),
    ([Conv1D(3, dilation=4, padding="valid")], (8, 2), "conv1d1 has a kernel of 9 points, longer than a path of 8"),
    ([Conv1D(3)], 16, r"conv1d1 expects samples of shape \(length, channels\), got \(16,\); put reshape before"),
    ([Conv1D(3, 9, padding="valid")], (8, 2), "conv1d1 has a kernel of 9 points, longer than a path of 8"),
    ([Conv1D(3, dilation=8)], (8, 2), "conv1d1 has a dilation of 8 on a path of 8 points"),
    ([MaxPool1D(9, padding="same")], (8, 2), "maxpool1d1 pools 9 points of a path of 8"),
    ([MaxPool1D()], 16, r"maxpool1d1 expects samples of shape \(length, channels\), got \(16,\)"),
    ([nn.AveragePool1D(9)], (8, 2), "averagepool1d1 pools 9 points of a path of 8"),
    ([{"reshape": {"shape": [-1, 3]}}], 16, r"reshape1 cannot make samples of shape \(5, 3\) out of \(16,\)"),
    ([{"reshape": {"shape": [8, 3]}}], 16, r"reshape1 cannot make samples of shape \(8, 3\) out of \(16,\)"),
    ([Residual([Linear(3)])], 4, r"residual1 must keep the shape of its samples, \(4,\), .* make it \(3,\)"),
])  # fmt: skip
def test_shapes_that_do_not_fit_are_named(layers: list[Any], n_in: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Network(layers, n_in, rng=np.random.default_rng(0))


@pytest.mark.parametrize(("spec", "message"), [
    ({"linear": {"n_out": 0}}, "Linear: n_out must be a whole number of at least 1, got 0"),
    ({"linear": {"n_out": True}}, "Linear: n_out must be a whole number of at least 1, got True"),
    ({"linear": {"n_out": 3, "init": "xaver_normal"}}, "did you mean xavier_normal?"),
    ({"linear": {}}, "layer linear needs the option n_out"),
    ({"linear": {"n_outs": 3}}, "the option of layer linear must be one of .*did you mean n_out?"),
    ({"conv1d": {"filters": 1, "padding": "full"}}, "Conv1D: padding must be same or valid, got 'full'"),
    ({"max_pool1d": {"size": 0}}, "MaxPool1D: size must be a whole number"),
    ({"max_pool1d": {"stride": 0}}, "MaxPool1D: stride must be a whole number of at least 1, got 0"),
    ({"average_pool1d": {"padding": "full"}}, "AveragePool1D: padding must be same or valid, got 'full'"),
    ({"conv1d": {"filters": 1, "dilation": 0}}, "Conv1D: dilation must be a whole number of at least 1, got 0"),
    ({"linear": {"n_out": 1, "use_bias": 1}}, "layer linear: use_bias must be true or false, got 1"),
    ({"reshape": {"shape": [-1, -1]}}, r"Reshape: shape may hold one -1 at most, got \[-1, -1\]"),
    ({"dropout": {"rate": 1.0}}, "Dropout: rate must be at least 0 and less than 1, got 1.0"),
    ({"batch_norm": {"momentum": 1}}, "BatchNorm: momentum must be at least 0 and less than 1, got 1"),
    ({"batch_norm": {"eps": 0}}, "BatchNorm: eps must be greater than 0, got 0"),
    ({"layer_norm": {"eps": "1e-5"}}, "layer layer_norm: eps must be a finite number, got '1e-5'"),
    ({"conv1d": {"filters": 1, "init": ["ones"]}}, r"layer conv1d: init must be text, got \['ones'\]"),
    ({"reshape": {"shape": 3}}, "layer reshape: shape must be a list of whole numbers, got 3"),
    ({"residual": {"layers": []}}, "Residual: needs at least one layer"),
])  # fmt: skip
def test_faulty_options_are_named(spec: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("?", r"\?")):
        make_layer(spec)


# What holds for all
EXAMPLES: dict[str, Any] = {
    "linear": {"n_out": 3, "init": "orthogonal"}, "conv1d": {"filters": 3, "kernel_size": 2, "dilation": 2},
    "reshape": {"shape": [3, 4]}, "dropout": {"rate": 0.25},
    "residual": {"layers": [{"linear": {"n_out": 12}}, "tanh"]},
}  # fmt: skip
BUILT_IN = [name for name, kind in nn.LAYERS.items() if kind.__module__.startswith("neural_net")]


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_layer_can_be_made_again_from_its_spec(name: str) -> None:
    layer = make_layer({name: EXAMPLES.get(name, {})})
    spec = layer_spec(layer)
    assert layer_spec(make_layer(spec)) == spec
    assert {option: spec[name][option] for option in EXAMPLES.get(name, {}) if option != "layers"} == {
        option: value for option, value in EXAMPLES.get(name, {}).items() if option != "layers"
    }


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", BUILT_IN)
def test_what_is_handed_to_a_layer_is_never_written_to(name: str, training: bool, rng: np.random.Generator) -> None:
    layer = make_layer({name: EXAMPLES.get(name, {})})
    shape = (12,) if name in ("linear", "reshape", "residual") else (6, 2)
    setup(layer, shape, rng)
    x = rng.normal(size=(4, *shape))
    x.flags.writeable = False
    grad = np.ones_like(layer.forward(x, training))
    grad.flags.writeable = False
    layer.backward(grad)


@pytest.mark.parametrize("layer", [Tanh(), Linear(2), Conv1D(2), MaxPool1D(), LayerNorm(), Dropout()])
def test_backward_before_forward_and_forward_without_sizes_say_so(layer: nn.Layer) -> None:
    with pytest.raises(AttributeError, match="and goes forward before it goes backward"):
        layer.backward(np.ones((1, 2)))
    if isinstance(layer, Linear | LayerNorm):
        with pytest.raises(AttributeError, match="a layer gets its sizes in a network, or by setup"):
            layer.forward(np.ones((1, 4)))


def test_a_second_network_of_the_same_objects_leaves_the_first_alone(rng: np.random.Generator) -> None:
    layers = [Linear(3), Tanh(), Linear(2)]
    first = Network(layers, 4, rng=rng)
    X = rng.normal(size=(5, 4))
    before = first.outputs(X)
    with pytest.warns(UserWarning, match=r"linear1 draws new weights: those it has do not fit here, W \(4, 3\), b"):
        second = Network(first.layers, 6, rng=rng)
    assert second.outputs(np.ones((1, 6))).shape == (1, 2)
    assert np.array_equal(first.outputs(X), before)
    assert np.array_equal(second.layers[2].get_weights()[0], first.layers[2].get_weights()[0])
    twice = Network([layers[0], layers[1], Linear(3), layers[1]], 4, rng=rng)
    assert (len({id(layer) for layer in twice.walk()}), twice.n_parameters) == (4, 15 + 12)
