"""What is compared with PyTorch, and our side of it: the same cases for `make oracle` and for the tests.

No number here is drawn at random, so that the cases are the same on any machine and with any version of NumPy.
"""

import math
from typing import Any

import numpy as np

from neural_net import Network, Training, make_optimizer, make_schedule
from neural_net.over_steps import loss_for

Results = dict[str, np.ndarray]


def wave(*shape: int, phase: float = 0.0) -> np.ndarray:
    """Numbers between -1.5 and 1.5 in no visible order."""
    return 1.5 * np.sin(phase + 1.7 * np.arange(1, math.prod(shape) + 1) ** 1.3).reshape(shape)


class FixedDraws:
    """In the place of a random generator, for dropout."""

    def integers(self, high: int, size: int, dtype: Any, endpoint: bool) -> np.ndarray:
        """Four numbers of 16 bits in each: the columns of a batch of four."""
        return (wave(BATCH, size).T ** 2 % 1 * 2**16).astype(np.uint16).ravel().view(dtype)


# Networks: one forward and one backward pass
BATCH = 4
LABELS = [2, 0, 1, 1]
SOFT = [[0.2, 0.3, 0.5], [1.0, 0.0, 0.0], [0.1, 0.8, 0.1], [0.25, 0.5, 0.25]]
PATH = {"reshape": {"shape": [8, 2]}}


Case = tuple[list[Any], int, Any, Any]  # layers, length of a row, loss, targets


def _hidden(part: Any) -> Case:
    return [{"linear": {"n_out": 3}}, part, {"linear": {"n_out": 3}}], 4, "cross_entropy", LABELS


def _on_path(*parts: Any) -> Case:
    return [PATH, *parts, "flatten", {"linear": {"n_out": 3}}], 16, "cross_entropy", LABELS


def _conv(**options: Any) -> dict[str, Any]:
    return {"conv1d": {"filters": 2, **options}}


_ACTIVATIONS = [
    "identity", "relu", {"leaky_relu": {"slope": 0.2}}, {"elu": {"alpha": 0.7}}, "selu", "sigmoid", "tanh", "softplus",
    "silu", "gelu", {"gelu": {"approximate": False}}, "mish", "softmax",
]  # fmt: skip
_LOSSES = {
    "smoothed labels": ({"cross_entropy": {"label_smoothing": 0.1}}, LABELS),
    "class weights": ({"cross_entropy": {"class_weights": [0.5, 1.0, 3.0]}}, LABELS),
    "smoothed labels and class weights": (
        {"cross_entropy": {"class_weights": [0.5, 1.0, 3.0], "label_smoothing": 0.2}}, LABELS,
    ),
    "soft targets": ("cross_entropy", SOFT),
    "smoothed soft targets": ({"cross_entropy": {"label_smoothing": 0.3}}, SOFT),
    "squared error": ("mean_squared_error", SOFT),
    "absolute error": ("mean_absolute_error", SOFT),
    "huber": ("huber", SOFT),
    "huber with delta": ({"huber": {"delta": 0.3}}, SOFT),
    "yes or no": ("binary_cross_entropy", [[1, 0, 1], [0, 0, 0], [1, 1, 0], [0, 1, 1]]),
    "smoothed yes or no": ({"binary_cross_entropy": {"label_smoothing": 0.2}}, SOFT),
    "focal": ("focal", LABELS),
    "focal with gamma 0.5": ({"focal": {"gamma": 0.5}}, LABELS),
}  # fmt: skip
_STEPS = [[2, 0, 1, 1], [0, 0, 2, 1], [1, 1, 1, 2], [0, 2, 0, 2]]  # a class for each step of four paths
_PATHS = [[SOFT[i] for i in row] for row in ([0, 1, 2, 3], [3, 2, 1, 0], [1, 0, 0, 2], [2, 2, 3, 1])]
_LOSSES_OF_PATHS: dict[str, tuple[Any, Any]] = {
    "classes": ({"cross_entropy": {"class_weights": [0.5, 1.0, 3.0]}}, _STEPS),
    "focal classes": ("focal", _STEPS),
    "squared error": ("mean_squared_error", _PATHS),
    "huber": ("huber", _PATHS),
    "yes or no": ("binary_cross_entropy", _PATHS),
}
_POOLS: dict[str, dict[str, Any]] = {
    "": {}, " with stride": {"stride": 2}, " with padding": {"padding": "same"},
    " with stride and padding": {"stride": 1, "padding": "same"},
}  # fmt: skip

NETWORKS: dict[str, Case] = {
    **{str(part): _hidden(part) for part in _ACTIVATIONS},
    **{f"loss: {name}": ([{"linear": {"n_out": 3}}], 4, loss, y) for name, (loss, y) in _LOSSES.items()},
    "batch_norm": _hidden({"batch_norm": {"momentum": 0.7, "eps": 1e-3}}),
    "layer_norm": _hidden("layer_norm"),
    "dropout": _hidden({"dropout": {"rate": 0.4}}),
    "residual": _hidden({"residual": {"layers": [{"linear": {"n_out": 3}}, "tanh"]}}),
    "conv1d": _on_path(_conv()),
    "conv1d, one after the other": _on_path(_conv(), _conv(kernel_size=2)),
    "conv1d with stride": _on_path(_conv(kernel_size=5, stride=2)),
    "conv1d without padding": _on_path(_conv(kernel_size=4, stride=3, padding="valid")),
    "conv1d with dilation": _on_path(_conv(dilation=2)),
    "conv1d with dilation and stride": _on_path(_conv(kernel_size=2, dilation=3, stride=2, padding="valid")),
    "conv1d without bias": _on_path(_conv(use_bias=False)),
    "linear without bias": ([{"linear": {"n_out": 3, "use_bias": False}}], 4, "cross_entropy", LABELS),
    "linear on a path": _on_path({"linear": {"n_out": 3}}, "gelu", _conv(), {"linear": {"n_out": 4}}),
    **{f"{kind}{name}": _on_path({kind: {"size": 3, **options}})
       for kind in ("max_pool1d", "average_pool1d") for name, options in _POOLS.items()},
    "batch_norm on a path": _on_path("batch_norm"),
    "layer_norm on a path": _on_path({"layer_norm": {"eps": 0.01}}),
    **{f"{name} at the end of a path": ([PATH, _conv(stride=2), "gelu", {"linear": {"n_out": 3}}], 16, loss, y)
       for name, (loss, y) in _LOSSES_OF_PATHS.items()},
    "all together": (
        [PATH, _conv(), "batch_norm", "gelu", {"residual": {"layers": [_conv(), "layer_norm", "mish"]}}, "max_pool1d",
         "flatten", {"linear": {"n_out": 4}}, "silu", {"dropout": {"rate": 0.3}}, {"linear": {"n_out": 3}}],
        16, {"cross_entropy": {"label_smoothing": 0.1}}, LABELS,
    ),
}  # fmt: skip


def network(name: str) -> tuple[Network, np.ndarray]:
    """The network of a case with its weights, and its inputs."""
    layers, n_in, _, _ = NETWORKS[name]
    made = Network(layers, n_in, rng=np.random.default_rng(0), dtype=np.float64)
    for layer in made.walk():
        layer.rng = FixedDraws()  # type: ignore[assignment]
    made.params[:] = 0.6 * wave(made.n_parameters, phase=1)
    return made, wave(BATCH, n_in)


def run_network(name: str) -> tuple[Results, Network]:
    """Outputs, loss and gradients of one training step, and the outputs outside of training; with the network."""
    made, X = network(name)
    loss, y = NETWORKS[name][2:]
    loss = loss_for(made.shape_out, loss)
    outputs = made.forward(X, training=True).copy()
    value = loss.forward(outputs, loss.targets(y, made.n_outputs))
    grad_X = made.backward(loss.backward()).copy()
    results = {"outputs": outputs, "loss": np.array(value), "gradient": made.grads.copy(), "gradient of X": grad_X}
    return results | {"outputs outside training": made.outputs(X)}, made


# Optimizers: steps on one function of six numbers, of which the last two count as biases
STEPS = (1, 2, 3, 10, 100)
START = np.array([1.0, -2.0, 0.5, 3.0, -1.0, 2.0])
DECAYS = np.array([1.0, 1, 1, 1, 0, 0])

#: name -> (optimizer, whether weight decay spares the biases)
OPTIMIZERS: dict[str, tuple[Any, bool]] = {
    "sgd": ({"sgd": {"lr": 0.05}}, False),
    "sgd with momentum": ({"sgd": {"lr": 0.02, "momentum": 0.9}}, False),
    "sgd with Nesterov's momentum": ({"sgd": {"lr": 0.02, "momentum": 0.8, "nesterov": True}}, False),
    "sgd, clipped by norm": ({"sgd": {"lr": 0.05, "clip_norm": 0.5}}, False),
    "sgd, clipped by value": ({"sgd": {"lr": 0.05, "clip_value": 0.3}}, False),
    "adagrad": ({"adagrad": {"lr": 0.2}}, False),
    "adagrad with eps": ({"adagrad": {"lr": 0.2, "eps": 0.1}}, False),
    "rmsprop": ({"rmsprop": {"lr": 0.01}}, False),
    "rmsprop with momentum": ({"rmsprop": {"lr": 0.005, "rho": 0.9, "momentum": 0.5, "eps": 1e-3}}, False),
    "rmsprop, centered": ({"rmsprop": {"lr": 0.005, "rho": 0.9, "eps": 1e-3, "centered": True}}, False),
    "rmsprop, centered with momentum": (
        {"rmsprop": {"lr": 0.002, "momentum": 0.5, "eps": 1e-2, "centered": True}},
        False,
    ),
    "adam": ({"adam": {"lr": 0.05}}, False),
    "adam with other betas": ({"adam": {"lr": 0.05, "beta1": 0.8, "beta2": 0.95, "eps": 1e-3}}, False),
    "adam with amsgrad": ({"adam": {"lr": 0.05, "beta2": 0.9, "amsgrad": True}}, False),
    "adamw with amsgrad": ({"adamw": {"lr": 0.05, "beta1": 0.8, "beta2": 0.5, "amsgrad": True}}, False),
    "adam with decoupled weight decay": ({"adam": {"lr": 0.05, "weight_decay": 0.1}}, False),
    "adamw": ({"adamw": {"lr": 0.05}}, False),
    "adamw that spares biases": ({"adamw": {"lr": 0.05, "weight_decay": 0.3}}, True),
}


def gradient(w: np.ndarray) -> np.ndarray:
    """Of a bowl with ripples: the steps neither settle at once nor run away."""
    return np.array([0.1, 0.5, 1.0, 2.0, 5.0, 10.0]) * (w - 0.5) + 0.5 * np.sin(4 * w)


def run_optimizer(name: str) -> Results:
    """Where the optimizer has come after each of ``STEPS``."""
    spec, spares_biases = OPTIMIZERS[name]
    optimizer, w, places = make_optimizer(spec), START.copy(), {}
    for step in range(1, max(STEPS) + 1):
        optimizer.step(w, gradient(w), DECAYS if spares_biases else None)
        if step in STEPS:
            places[f"step {step}"] = w.copy()
    return places


# Schedules: the factors before each of 100 epochs and at the end
EPOCHS = 100
PLATEAUS = np.repeat([2.0, 1.5, 1.499, 1.2, 1.3, 0.9], [5, 20, 15, 10, 30, 21])  # a validation loss an epoch
SCHEDULES: dict[str, Any] = {
    "step": {"step": {"every": 10, "rate": 0.7}}, "exponential": {"exponential": {"rate": 0.97}}, "cosine": "cosine",
    "cosine with a floor": {"cosine": {"floor": 0.2}}, "polynomial": "polynomial",
    "polynomial with power": {"polynomial": {"power": 2.5}},
    "cosine_restarts": {"cosine_restarts": {"period": 8, "floor": 0.1}},
    "cosine_restarts that grow": {"cosine_restarts": {"period": 5, "growth": 2}}, "one_cycle": "one_cycle",
    "one_cycle with options": {"one_cycle": {"rise": 0.5, "start_divisor": 10, "end_divisor": 100}},
    "reduce_on_plateau": {"reduce_on_plateau": {"rate": 0.5, "patience": 6, "threshold": 0.01, "floor": 0.1}},
    "warmup": {"warmup": {"epochs": 10}}, "warmup before cosine": {"warmup": {"epochs": 10, "schedule": "cosine"}},
}  # fmt: skip


def run_schedule(name: str) -> Results:
    """The factors at the epochs 0 to 100."""
    schedule, factors = make_schedule(SCHEDULES[name]), []
    schedule.start()
    for t in range(EPOCHS + 1):
        factors.append(schedule.factor(t, EPOCHS))
        schedule.observe(PLATEAUS[t])
    return {"factors": np.array(factors)}


# Training: 100 epochs of the whole loop
TRAINING_LAYERS = [{"linear": {"n_out": 5}}, "batch_norm", "gelu", {"linear": {"n_out": 3}}]
TRAINING_OPTIMIZER = {"adamw": {"lr": 0.03, "weight_decay": 0.1, "clip_norm": 0.5}}


def training_data() -> tuple[Network, np.ndarray, np.ndarray]:
    """A network with its weights, and 12 rows in three classes."""
    made = Network(TRAINING_LAYERS, 4, rng=np.random.default_rng(0), dtype=np.float64)
    made.params[:] = 0.6 * wave(made.n_parameters, phase=2)
    return made, wave(12, 4, phase=3), np.arange(12) % 3


def run_training() -> Results:
    """The losses of full-batch training and the weights that come out of it."""
    made, X, y = training_data()
    training = Training(
        made, X, y, rng=np.random.default_rng(0), optimizer=TRAINING_OPTIMIZER, schedule="cosine", batch_size=None
    )
    return {"losses": np.array(training.run()["train_loss"]), "weights": made.params}
