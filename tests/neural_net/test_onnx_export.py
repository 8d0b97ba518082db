"""Exported networks give the same outputs in onnxruntime."""

import copy
import sys

import numpy as np
import onnxruntime
import pytest

from neural_net import ACTIVATIONS, LAYERS, Network, ReLU, fit, make_layer, to_onnx
from neural_net.gradcheck import OPTIONS
from neural_net.parts import needed_options

BUILT_IN = {name: part for name, part in {**LAYERS, **ACTIVATIONS}.items() if part.__module__.startswith("neural_net.")}
SPECS = [
    {name: options}
    for name, part in BUILT_IN.items()
    for options in [*([] if needed_options(part) else [{}]), *OPTIONS.get(name, [])]
]


def in_onnxruntime(model, X):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"X": np.asarray(X, np.float32)})[0]


def network_of(spec, rng) -> Network:
    for shape in [(6,), (8, 3), (16,)]:
        try:
            make_layer(spec).build(shape)
        except ValueError:
            continue
        ends_in_row = len(make_layer(spec).build(shape)) == 1
        return Network(
            [copy.deepcopy(spec), *([] if ends_in_row else ["flatten"]), {"linear": {"n_out": 3}}], shape, rng=rng
        )
    raise AssertionError(spec)


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_each_part_gives_the_same_probabilities(spec):
    rng = np.random.default_rng(0)
    network = network_of(spec, rng)
    X = rng.normal(0, 2, (40, *network.shape_in))
    fit(network, X, rng.integers(3, size=40), rng=rng, epochs=2)  # running statistics and biases that are not 0
    assert in_onnxruntime(to_onnx(network), X) == pytest.approx(network.predict_proba(X), abs=1e-5)


def test_outputs_scaling_temperature_and_classes(tmp_path):
    rng = np.random.default_rng(0)
    network = Network(["tanh", {"linear": {"n_out": 2}}], 4, rng=rng, classes=["a, b", "c"])
    raw = rng.uniform(0, 100, (9, 4))
    by_input = (np.array([40, 50, 60, 0]), np.arange(1.0, 5))
    model = to_onnx(network, scaling=by_input)
    scaled = (raw - by_input[0]) / by_input[1]
    assert in_onnxruntime(model, raw) == pytest.approx(network.predict_proba(scaled), abs=1e-5)
    model = to_onnx(network, tmp_path / "network.onnx", scaling=(50, 50), temperature=2, probabilities=False)
    assert (tmp_path / "network.onnx").read_bytes() == model.SerializeToString()
    assert in_onnxruntime(model, raw) == pytest.approx(network.outputs((raw - 50) / 50) / 2, abs=1e-5)
    assert {prop.key: prop.value for prop in model.metadata_props} == {"classes": '["a, b", "c"]'}


def test_a_part_of_your_own_exports_itself_or_is_refused_by_name():
    class Doubled(ReLU):
        def _value(self, z, y):
            np.multiply(z, 2, out=y)

    class Exported(Doubled):
        def to_onnx(self, graph, x):
            return graph.node("Mul", x, graph.constant(2))

    rng = np.random.default_rng(0)
    X = rng.normal(size=(5, 3))
    with pytest.raises(ValueError, match="doubled1 cannot be exported to ONNX; give Doubled the method to_onnx"):
        to_onnx(Network([Doubled(), {"linear": {"n_out": 2}}], 3, rng=rng))
    network = Network([Exported(), {"linear": {"n_out": 2}}], 3, rng=rng)
    assert in_onnxruntime(to_onnx(network), X) == pytest.approx(network.predict_proba(X), abs=1e-5)


def test_it_is_refused_without_sizes_or_without_the_package(monkeypatch):
    network = Network(["relu", {"linear": {"n_out": 2}}], rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match="no sizes yet"):
        to_onnx(network)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match="pip install onnx"):
        to_onnx(network)
