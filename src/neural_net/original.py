"""The project's first interface: ``Neural_Net(layers_dim, activations)``, ``train``, ``predict``."""

import warnings
from collections.abc import Sequence
from typing import Any

from .activations import Activation
from .dense import dense_layers
from .network import Network
from .optimizers import SGD
from .training import Training
from .values import Array, Rng


class Neural_Net:  # noqa: N801 (the original's name)
    """A ``Network`` of dense layers with a softmax output, trained by full-batch gradient descent.

    Args:
        layers_dim: the numbers of inputs, of units in each hidden layer, and of classes: ``[16, 48, 32, 10]``.
        activations: an object or a name for each hidden layer; the output layer is always softmax. An object only needs
            ``Forward_prop(Z)`` and ``Backward_prop(dA)``.
        rng: draws the initial weights; a generator or its seed; None: 0, so that a program always gives the same
            numbers.

    Raises:
        ValueError: if the number of activations is neither that of the hidden layers nor one more.
    """

    def __init__(self, layers_dim: Sequence[int], activations: Sequence[Any], rng: Rng | None = None) -> None:
        if len(layers_dim) < 2:
            raise ValueError(f"layers_dim must hold the inputs' and the classes' number at least, got {layers_dim}")
        n_in, *hidden, n_out = layers_dim

        activations = list(activations)
        if len(activations) == len(hidden) + 1:
            message = f"the output layer is always softmax: the last of {len(activations)} activations is ignored"
            warnings.warn(message, stacklevel=2)
            activations.pop()
        if len(activations) != len(hidden):
            raise ValueError(f"{len(hidden)} hidden layers need {len(hidden)} activations, got {len(activations)}")
        self.layers_dim = list(layers_dim)
        self.network = Network(dense_layers(hidden, n_out, activations), n_in, rng=0 if rng is None else rng)
        self.rng = self.network.rng

    def __repr__(self) -> str:
        """The code that makes such a network, with the same initial weights if ``rng`` was a seed."""
        activations = [layer for layer in self.network if isinstance(layer, Activation)]
        return f"Neural_Net({self.layers_dim}, {activations}, rng={self.network._rng_code})"

    def train(self, X: Any, y: Any, lr: float, n_iters: int) -> list[float]:
        """Take ``n_iters`` steps of gradient descent on all rows; returns the loss before each step."""
        training = Training(
            self.network, X, y, rng=self.rng, optimizer=SGD(lr), epochs=n_iters, batch_size=None, accuracy=False
        )
        return training.run()["train_loss"]

    def predict(self, X: Any) -> Array:
        """The most probable class of each row, (rows,)."""
        return self.network.predict(X)

    def predict_proba(self, X: Any) -> Array:
        """The probabilities of the classes, (rows, classes)."""
        return self.network.predict_proba(X)
