"""The libraries that ``bench.py`` lets train the same network: same weights to begin with, same rows, same Adam.

Each class takes a ``Task``; ``train(epochs)`` trains on all rows, in a new order each epoch, and ``logits(X)`` answers
rows of NumPy numbers with NumPy numbers. Each is written as its users would write a fast loop: nothing is logged, the
shuffled rows are gathered once an epoch, and PyTorch and jax keep them as their own arrays. Libraries are imported on
use.
"""

import itertools
import os
import timeit
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from neural_net import Linear, Network, Training, dense_layers
from neural_net.products import multiply

LR = 0.002
Array = np.ndarray


class Task(NamedTuple):
    """What to train: ``hidden`` widths between 16 inputs and 10 classes, ReLU, cross-entropy, Adam, float32."""

    X: Array  # (rows, 16) float32
    y: Array  # (rows,) int64
    hidden: tuple[int, ...]
    batch: int
    threads: int

    def network(self) -> Network:
        """The network, always with the same initial weights."""
        return Network(dense_layers(self.hidden, 10, "relu"), 16, rng=np.random.default_rng(0))

    def weights(self) -> list[tuple[Array, Array]]:
        """The initial W (n_in, n_out) and b (n_out,) of each linear layer."""
        return [(layer.W, layer.b) for layer in self.network().layers if isinstance(layer, Linear)]


class Ours:
    """neural_net, as it is."""

    def __init__(self, task: Task) -> None:
        self.network = task.network()
        self.training = Training(
            self.network,
            task.X,
            task.y,
            rng=np.random.default_rng(1),
            optimizer={"adam": {"lr": LR}},
            batch_size=task.batch,
            epochs=1,
            accuracy=False,
        )

    def train(self, epochs: int) -> None:
        self.training.epochs = self.training.epoch + epochs
        self.training.run()

    def logits(self, X: Array) -> Array:
        return self.network.outputs(X)


class Torch:
    """PyTorch, eager, with its fused Adam."""

    def __init__(self, task: Task) -> None:
        import torch

        torch.set_num_threads(task.threads)
        self.torch, self.task = torch, task
        layers: list[Any] = []
        for W, b in task.weights():
            linear = torch.nn.Linear(*W.shape)
            with torch.no_grad():
                linear.weight.copy_(torch.from_numpy(W.T.copy()))
                linear.bias.copy_(torch.from_numpy(b))
            layers += [linear, torch.nn.ReLU()]
        self.model = torch.nn.Sequential(*layers[:-1])
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=LR, fused=True)
        self.X, self.y = torch.from_numpy(task.X), torch.from_numpy(task.y)
        self.loss = self._loss
        torch.manual_seed(1)

    def _loss(self, X: Any, y: Any) -> Any:
        return self.torch.nn.functional.cross_entropy(self.model(X), y)

    def train(self, epochs: int) -> None:
        for _ in range(epochs):
            order = self.torch.randperm(len(self.X))
            for X, y in zip(self.X[order].split(self.task.batch), self.y[order].split(self.task.batch), strict=True):
                self.optimizer.zero_grad()
                self.loss(X, y).backward()
                self.optimizer.step()

    def logits(self, X: Array) -> Array:
        with self.torch.inference_mode():
            return self.model(self.torch.from_numpy(X)).numpy()


class TorchCompiled(Torch):
    """PyTorch with network and loss through torch.compile; it needs a C++ compiler."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        # What is compiled for one network counts against a limit, past which PyTorch would quietly run eagerly.
        self.torch.compiler.reset()
        self.torch._dynamo.config.fail_on_recompile_limit_hit = True
        self.loss = self.torch.compile(self._loss, dynamic=False)


class Jax:
    """jax.jit over a whole epoch: a scan over its batches, and one step more for the rows that are left."""

    def __init__(self, task: Task) -> None:
        import jax
        import jax.numpy as jnp

        n, size = task.X.shape[0], task.batch
        whole = n // size * size
        X_all, y_all = jnp.asarray(task.X), jnp.asarray(task.y)

        def outputs(params: Any, X: Any) -> Any:
            for W, b in params[:-1]:
                X = jax.nn.relu(X @ W + b)
            W, b = params[-1]
            return X @ W + b

        def loss(params: Any, X: Any, y: Any) -> Any:
            logits = outputs(params, X)
            return -jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], axis=1).mean()

        def step(state: Any, batch: Any) -> Any:
            params, mean, square, t = state
            grads, t = jax.grad(loss)(params, *batch), t + 1
            mean = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, mean, grads)
            square = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, square, grads)
            a, c = 1 / (1 - 0.9**t), 1 / (1 - 0.999**t)
            params = jax.tree.map(lambda p, m, v: p - LR * a * m / (jnp.sqrt(c * v) + 1e-8), params, mean, square)
            return (params, mean, square, t), None

        def epoch(state: Any, key: Any) -> Any:
            order = jax.random.permutation(key, n)
            X, y = X_all[order], y_all[order]
            batches = X[:whole].reshape(-1, size, X.shape[1]), y[:whole].reshape(-1, size)
            state, _ = jax.lax.scan(step, state, batches)
            return step(state, (X[whole:], y[whole:]))[0] if whole < n else state

        params = [(jnp.asarray(W), jnp.asarray(b)) for W, b in task.weights()]
        zeros = jax.tree.map(jnp.zeros_like, params)
        self.state = (params, zeros, jax.tree.map(jnp.zeros_like, params), jnp.float32(0))
        self.key, self.jax = jax.random.key(1), jax
        self._epoch, self._outputs = jax.jit(epoch, donate_argnums=0), jax.jit(outputs)

    def train(self, epochs: int) -> None:
        for _ in range(epochs):
            self.key, key = self.jax.random.split(self.key)
            self.state = self._epoch(self.state, key)
        self.jax.block_until_ready(self.state)

    def logits(self, X: Array) -> Array:
        return np.asarray(self._outputs(self.state[0], X))


class ScikitLearn:
    """scikit-learn's MLPClassifier; ``partial_fit`` is one epoch in a new order."""

    def __init__(self, task: Task) -> None:
        from sklearn.neural_network import MLPClassifier

        self.task = task
        self.model = MLPClassifier(
            task.hidden, batch_size=task.batch, learning_rate_init=LR, alpha=0.0, random_state=1, solver="adam"
        )
        self.model.partial_fit(task.X[: task.batch], task.y[: task.batch], classes=np.arange(10))
        self.model.coefs_ = [W.copy() for W, _ in task.weights()]  # begin as the others do
        self.model.intercepts_ = [b.copy() for _, b in task.weights()]
        del self.model._optimizer

    def train(self, epochs: int) -> None:
        for _ in range(epochs):
            self.model.partial_fit(self.task.X, self.task.y)

    def logits(self, X: Array) -> Array:
        return self.model.predict_proba(X)


class Keras:
    """Keras with its jax backend and ``fit``."""

    def __init__(self, task: Task) -> None:
        os.environ["KERAS_BACKEND"] = "jax"
        import keras

        keras.utils.set_random_seed(1)
        hidden = [keras.layers.Dense(width, "relu") for width in task.hidden]
        self.model = keras.Sequential([keras.Input((16,)), *hidden, keras.layers.Dense(10)])
        self.model.set_weights([array for pair in task.weights() for array in pair])
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        self.model.compile(optimizer=keras.optimizers.Adam(LR, epsilon=1e-8), loss=loss)
        self.task = task

    def train(self, epochs: int) -> None:
        self.model.fit(self.task.X, self.task.y, batch_size=self.task.batch, epochs=epochs, verbose=0)

    def logits(self, X: Array) -> Array:
        if len(X) == 1:  # what Keras advises for few rows
            return np.asarray(self.model(X, training=False))
        return self.model.predict(X, verbose=0, batch_size=8192)


class Products:
    """The floor: a step's matrix products alone, on arrays and views that are there; it learns nothing.

    Each product has the fastest of its layouts: with rows or columns one after the other in memory, by ``ndarray.dot``
    or by the library's ``multiply``.
    """

    def __init__(self, task: Task) -> None:
        self.sizes = [min(task.batch, len(task.X) - start) for start in range(0, len(task.X), task.batch)]
        self.products = {n: list(self._step(n, [16, *task.hidden, 10])) for n in set(self.sizes)}

    def _step(self, n: int, widths: list[int]) -> Iterator[Callable[[], object]]:
        """The products of a batch of n rows."""
        for n_in, n_out in pairwise(widths):
            yield fastest(n, n_in + 1, n_out)  # [x 1] Wb
            yield fastest(n_in + 1, n, n_out)  # [x 1]^T dL/dy
            if n_in != widths[0]:
                yield fastest(n, n_out, n_in)  # dL/dy W^T

    def train(self, epochs: int) -> None:
        for n in self.sizes * epochs:
            for product in self.products[n]:
                product()


def fastest(m: int, k: int, n: int) -> Callable[[], object]:
    """The product of an (m, k) and a (k, n) matrix: of all its layouts the one that takes the least time."""
    rng = np.random.default_rng(0)
    calls: list[Callable[[], object]] = []
    for a_order, b_order, turned in itertools.product("CF", "CF", (False, True)):
        shapes = ((m, k), a_order), ((k, n), b_order)
        a, b = (np.asarray(rng.normal(size=shape), np.float32, order) for shape, order in shapes)
        factors = (b.T, a.T, np.empty((n, m), np.float32)) if turned else (a, b, np.empty((m, n), np.float32))
        calls += [partial(factors[0].dot, *factors[1:]), partial(multiply, *factors)]
    return min(calls, key=lambda call: min(timeit.repeat(call, number=1, repeat=7)))


CONTESTANTS: dict[str, Any] = {
    "ours": Ours,
    "PyTorch": Torch,
    "torch.compile": TorchCompiled,
    "jax.jit": Jax,
    "scikit-learn": ScikitLearn,
    "Keras (jax)": Keras,
    "products alone": Products,
}
