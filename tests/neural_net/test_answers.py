"""What a network answers: predictions and probabilities as its loss meant the outputs, also from a file and in ONNX."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from neural_net import Linear, Network, Neural_Net, fit, load, save, to_onnx

RNG = np.random.default_rng
X = RNG(0).normal(size=(60, 4))
CLASSES, LABELS = X[:, :3].argmax(axis=1), (X[:, :3] > 0).astype(int)


def of_softmax(z: np.ndarray) -> np.ndarray:
    return np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)


def of_sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


def of_shares(z: np.ndarray) -> np.ndarray:
    return of_sigmoid(z) / of_sigmoid(z).sum(axis=1, keepdims=True)


CASES: dict[str, tuple[str, Any, list[Any], Any]] = {  # the loss, the targets, the last layers, probabilities
    "classes": ("cross_entropy", CLASSES, [Linear(3)], of_softmax),
    "focal": ("focal", CLASSES, [Linear(3)], of_softmax),
    "softmax at the end": ("mean_squared_error", CLASSES, [Linear(3), "softmax", "identity"], np.copy),
    "one vs rest": ("binary_cross_entropy", CLASSES, [Linear(3)], of_shares),
    "labels": ("binary_cross_entropy", LABELS, [Linear(3)], of_sigmoid),
    "yes or no": ("binary_cross_entropy", LABELS[:, 0], [Linear(1)], of_sigmoid),
    "numbers": ("huber", X[:, :3], [Linear(3)], None),
    "a number": ("mean_squared_error", X[:, 0], [Linear(1)], None),
}


def trained(case: str, **options: Any) -> Network:
    loss, y, layers, _ = CASES[case]
    network = Network(copy.deepcopy(layers), 4, rng=RNG(0), **options)
    fit(network, X, y, rng=RNG(1), loss=loss, epochs=150, batch_size=20, optimizer={"adam": {"lr": 0.05}})
    return network


@pytest.mark.parametrize("case", CASES)
def test_a_network_answers_as_its_loss_meant_the_outputs(case: str, tmp_path: Path) -> None:
    network, (_, y, _, formula) = trained(case), CASES[case]
    save(network, tmp_path)
    assert ("task" in (tmp_path / "network.json").read_text()) == (case not in list(CASES)[:3])
    for one in (network, load(tmp_path)[0]):
        assert one.predict(X).shape == y.shape
        wrong = one.predict(X) - y if formula is None else one.predict(X) != y
        assert np.abs(wrong).mean() < 0.1
        if formula is None:
            with pytest.raises(ValueError, match=r"trained to predict numbers, which have no probabilities; use pred"):
                one.predict_proba(X)
        else:
            expected = formula(one.outputs(X).astype(np.float64))
            np.testing.assert_allclose(one.predict_proba(X), expected, rtol=1e-4)


def test_a_network_that_ends_in_softmax_answers_with_classes_whatever_its_targets() -> None:
    network = Network([Linear(3), "softmax"], 4, rng=0)
    fit(network, X, np.eye(3)[CLASSES], rng=0, epochs=1, loss="mean_squared_error")
    assert np.array_equal(network.predict(X), network(X).argmax(axis=1))
    assert np.array_equal(network.predict_proba(X), network(X))


def in_onnx(network: Network, **options: Any) -> Any:
    session = onnxruntime.InferenceSession(to_onnx(network, **options).SerializeToString())
    return session.run(None, {"X": X.astype(np.float32)})[0]


@pytest.mark.parametrize("case", CASES)
def test_onnx_answers_as_the_network_does(case: str) -> None:
    network = trained(case)
    assert in_onnx(network, probabilities=False) == pytest.approx(network.outputs(X), abs=1e-4)
    if CASES[case][3] is None:
        with pytest.raises(ValueError, match=r"no probabilities; use predict; to_onnx\(..., probabilities=False\) exp"):
            to_onnx(network)
    else:
        assert in_onnx(network) == pytest.approx(network.predict_proba(X), abs=1e-5)


@pytest.mark.parametrize(("call", "message"), [
    (lambda: to_onnx(Network([Linear(1)], 4, rng=0)), "a single output has no classes; .* probabilities=False"),
    (lambda: to_onnx(trained("softmax at the end"), temperature=2), "a temperature divides logits, and this netw"),
    (lambda: to_onnx(Network([Linear(3)], 4, rng=0), temperature=0), "temperature must be greater than 0, got 0"),
    (lambda: to_onnx(Network([Linear(3)], 4, rng=0), scaling=(0, [1, 0, 1, 1])), "half width, greater than 0, got"),
    (lambda: to_onnx(Neural_Net([4, 3], [])), r"network must be of type Network, got .*; give its network$"),
    (lambda: to_onnx([Linear(3)]), r"network must be of type Network, got \[Linear\(3\)\]$"),
])  # fmt: skip
def test_what_cannot_be_exported_to_onnx_is_named(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
