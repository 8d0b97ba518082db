"""The same loss, gradients and predictions as scikit-learn's MLPClassifier has with the same weights."""

import numpy as np
import pytest
from sklearn.metrics import log_loss
from sklearn.neural_network import MLPClassifier

from neural_net import CrossEntropy, Network, dense_layers

HIDDEN = (7, 5)


@pytest.fixture(params=[("relu", "relu"), ("tanh", "tanh"), ("logistic", "sigmoid"), ("identity", "identity")])
def pair(request: pytest.FixtureRequest, rng: np.random.Generator) -> tuple[MLPClassifier, Network, np.ndarray]:
    theirs_name, ours_name = request.param
    X, y = rng.normal(size=(40, 6)), np.arange(40) % 4
    network = Network(dense_layers(HIDDEN, 4, ours_name), 6, rng=rng, dtype=np.float64)
    theirs = MLPClassifier(HIDDEN, activation=theirs_name, alpha=0.0).partial_fit(X, y, classes=range(4))
    dense = [layer for layer in network.layers if layer.n_parameters]
    theirs.coefs_ = [layer.W.copy() for layer in dense]
    theirs.intercepts_ = [rng.normal(size=layer.b.shape) for layer in dense]
    for layer, b in zip(dense, theirs.intercepts_, strict=True):
        layer.b[...] = b
    return theirs, network, X


def test_predictions(pair: tuple[MLPClassifier, Network, np.ndarray]) -> None:
    theirs, network, X = pair
    np.testing.assert_allclose(network.predict_proba(X), theirs.predict_proba(X), rtol=1e-12)
    assert np.array_equal(network.predict(X), theirs.predict(X))


def test_loss_and_gradients(pair: tuple[MLPClassifier, Network, np.ndarray]) -> None:
    theirs, network, X = pair
    y = np.arange(40) % 4
    loss = CrossEntropy()
    value = loss.forward(network.forward(X, training=True), loss.targets(y, 4))
    network.backward_parameters(loss.backward())

    shapes = [layer.shape for layer in theirs.coefs_]
    deltas, coefficients = [np.empty(0)] * len(shapes), [np.empty(shape) for shape in shapes]
    intercepts = [np.empty(shape[1]) for shape in shapes]
    activations = [X, *(np.empty((40, shape[1])) for shape in shapes)]
    their_value, coefficients, intercepts = theirs._backprop(  # its gradients have no public name
        X, np.eye(4)[y], None, activations, deltas, coefficients, intercepts
    )

    assert value == pytest.approx(their_value, rel=1e-12)
    assert value == pytest.approx(log_loss(y, theirs.predict_proba(X)), rel=1e-12)
    dense = [layer for layer in network.layers if layer.n_parameters]
    for layer, dW, db in zip(dense, coefficients, intercepts, strict=True):
        np.testing.assert_allclose(layer.dW, dW, rtol=1e-9, atol=1e-14)
        np.testing.assert_allclose(layer.db, db, rtol=1e-9, atol=1e-14)
