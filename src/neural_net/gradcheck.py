"""The gradient check: is the result of ``backward`` the derivative of ``forward``?

``backward`` is compared with central differences, number by number, in float64, for the inputs and for the parameters.
With ``d(h) = (f(v + h) - f(v - h)) / 2h`` the difference is ``(4 d(h) - d(2h)) / 3``. Its error falls with h^4, that of
d(h) alone with h^2; so h can be large enough for rounding errors not to matter. A layer has many outputs, so f is their
sum with random weights, which depends on every output.
"""

import copy
import importlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from .activations import ACTIVATIONS
from .layer import Layer
from .layers import LAYERS, make_layer, setup
from .losses import LOSSES, Loss, make_loss
from .network import Network
from .over_steps import loss_for
from .parts import needed_options
from .values import Array, Rng, Shape, generator

STEP = 1e-4
TOLERANCE = 1e-6


def numerical_gradient(f: Callable[[], float], place: Array, step: float = STEP) -> Array:
    """The gradient of f by the numbers in ``place``, by central differences; ``place`` is changed and restored."""
    gradient = np.empty(place.shape)
    for index in np.ndindex(place.shape):
        value, slopes = place[index], []
        for h in (step, 2 * step):
            place[index] = value + h
            above = f()
            place[index] = value - h
            slopes.append((above - f()) / (2 * h))
        place[index] = value
        gradient[index] = (4 * slopes[0] - slopes[1]) / 3
    return gradient


def relative_error(ours: Array, reference: Array) -> float:
    """The largest ``|a - b| / max(|a|, |b|)``.

    The denominator is at least a thousandth of the largest number, because the rounding error of the differences is.
    """
    if not ours.size:
        return 0.0
    size = np.maximum(np.abs(ours), np.abs(reference))
    return float((np.abs(ours - reference) / np.maximum(size, max(1e-3 * size.max(), 1e-9))).max())


def check_layer(layer: Layer, shape_in: Shape, rng: Rng, batch: int = 4, training: bool = True) -> float:
    """The worst relative error of a layer's gradients by its inputs and by every parameter."""
    rng = generator(rng)
    setup(layer, shape_in, rng)
    for name in layer.parameters:  # avoid special values such as zero biases
        place = getattr(layer, name)
        place += rng.normal(0, 0.3, place.shape)
    x = rng.normal(0, 1.5, (batch, *shape_in))
    x += 0.05 * np.sign(x)  # avoid the kink of ReLU and the like
    mix = rng.normal(size=(batch, *layer.shape_out))

    def f() -> float:
        _same_draws(layer)
        return float((layer.forward(x, training) * mix).sum())

    f()
    grad_x = layer.backward(mix).copy()
    pairs = [(grad_x, x)]
    for part in layer.walk():
        pairs += [(getattr(part, f"d{name}").copy(), getattr(part, name)) for name in part.parameters]
    return _worst(relative_error(ours, numerical_gradient(f, place)) for ours, place in pairs)


def check_loss(loss: Loss, rng: Rng, batch: int = 5, n_outputs: int = 4) -> float:
    """The worst relative error of a loss's gradient: for class numbers, soft targets, and both with sample weights."""
    rng = generator(rng)
    outputs = rng.normal(0, 2, (batch, n_outputs))
    labels = rng.integers(n_outputs, size=batch)
    soft = rng.dirichlet(np.ones(n_outputs), batch)
    errors = []
    for y in (labels, soft):
        targets = loss.targets(y, n_outputs)
        for weight in (None, rng.uniform(0.2, 2, batch)):

            def f(targets: Array = targets, weight: Array | None = weight) -> float:
                return loss.forward(outputs, targets, weight)

            f()
            ours = loss.backward().copy()
            errors.append(relative_error(ours, numerical_gradient(f, outputs)))
    return _worst(errors)


def check_network(network: Network, X: Any, y: Any, loss: Any = "cross_entropy") -> float:
    """The worst relative error of a whole float64 network's gradients of a loss, by its parameters and its inputs.

    Raises:
        ValueError: for a float32 network, whose rounding would hide errors.
    """
    if network.dtype != np.float64:
        raise ValueError(f"gradients are checked in float64, and this network is {network.dtype}")
    X = network.check_inputs(np.array(X, dtype=np.float64))
    loss = loss_for(network.shape_out, loss)
    network = copy.deepcopy(network)  # the caller's running means and generators stay the same
    targets = loss.targets(y, network.n_outputs)

    def f() -> float:
        for layer in network.walk():
            _same_draws(layer)
        return loss.forward(network.forward(X, training=True), targets)

    f()
    grad_X = network.backward(loss.backward()).copy()
    grads = network.grads.copy()
    by_parameters = relative_error(grads, numerical_gradient(f, network.params))
    return _worst([by_parameters, relative_error(grad_X, numerical_gradient(f, X))])


def _worst(errors: Iterable[float]) -> float:
    """The largest, or NaN if one is NaN, which ``max`` would ignore."""
    return float(np.max(list(errors)))


def _same_draws(layer: Layer) -> None:
    """Make a layer that draws at random draw the same numbers in every call."""
    for part in layer.walk():
        part.rng = np.random.default_rng(1)


# Everything that has a name, with all its options

_ROW: Shape = (6,)
_PATH: Shape = (8, 3)  # points and channels; layer norm would turn any two channels into -1 and 1
_PEN: list[Shape] = [(8, 2), (16,)]  # for layers that take only the points of a pen's path

#: The options that each part is checked with, besides its defaults. A test holds that no option of any part is missing.
#: A user's class has its own list, ``check_with``.
OPTIONS: dict[str, list[dict[str, Any]]] = {
    "leaky_relu": [{"slope": 0.2}],
    "elu": [{"alpha": 0.7}],
    "gelu": [{"approximate": False}],
    "linear": [
        {"n_out": 3},
        {"n_out": 5, "n_in": 6, "init": "orthogonal", "bias_init": "normal"},
        {"n_out": 4, "use_bias": False},
    ],
    "conv1d": [
        {"filters": 3},
        {"filters": 2, "kernel_size": 5, "stride": 2, "init": "lecun_normal", "bias_init": "uniform"},
        {"filters": 2, "kernel_size": 2, "padding": "valid"},
        {"filters": 3, "kernel_size": 4, "stride": 3, "padding": "valid"},
        {"filters": 2, "kernel_size": 2, "dilation": 3, "use_bias": False},
        {"filters": 2, "stride": 2, "padding": "valid", "dilation": 2},
    ],
    "max_pool1d": [{"size": 3}, {"size": 3, "stride": 1}, {"size": 3, "stride": 2, "padding": "same"}],
    "average_pool1d": [{"size": 3}, {"size": 3, "stride": 1}, {"size": 3, "stride": 2, "padding": "same"}],
    "reshape": [{"shape": [4, 4]}],
    "dropout": [{"rate": 0.3}],
    "batch_norm": [{"momentum": 0.5, "eps": 1e-3}],
    "layer_norm": [{"eps": 1e-2}],
    "residual": [
        {"layers": [{"linear": {"n_out": 6}}, "tanh"]},
        {
            "layers": [
                {"linear": {"n_out": 9}},
                "gelu",
                "layer_norm",
                {"dropout": {"rate": 0.2}},
                {"linear": {"n_out": 6}},
            ]
        },
    ],
    "cross_entropy": [{"label_smoothing": 0.1}, {"class_weights": [0.5, 1, 2, 3], "label_smoothing": 0.2}],
    "binary_cross_entropy": [{"label_smoothing": 0.1}],
    "huber": [{"delta": 0.3}, {"delta": 2.0}],
    "focal": [{"gamma": 0.0}, {"gamma": 0.5}, {"gamma": 3.0}],
}


def check_all(seed: int = 0) -> Iterator[tuple[str, str, dict[str, Any], float]]:
    """Check all registered parts, with defaults and each of ``OPTIONS``: yields (kind, name, options, error)."""
    tables: dict[str, Mapping[str, type]] = {"activation": ACTIVATIONS, "layer": LAYERS, "loss": LOSSES}
    for kind, table in tables.items():
        for name, part in table.items():
            defaults: list[dict[str, Any]] = [] if needed_options(part) else [{}]
            for options in [*defaults, *OPTIONS.get(name, []), *getattr(part, "check_with", [])]:
                rng = np.random.default_rng(seed)
                yield kind, name, options, _check_named(kind, {name: options}, rng)


def _check_named(kind: str, spec: dict[str, dict[str, Any]], rng: np.random.Generator) -> float:
    if kind == "loss":
        return check_loss(make_loss(spec), rng)
    shapes = [shape for shape in (_ROW, _PATH) if _takes(spec, shape)] or [s for s in _PEN if _takes(spec, s)] or _PEN
    return _worst(
        check_layer(make_layer(spec), shape, rng, training=training) for shape in shapes for training in (True, False)
    )


def _takes(spec: dict[str, dict[str, Any]], shape: Shape) -> bool:
    try:
        make_layer(spec).build(shape)
    except ValueError:
        return False
    return True


def main(modules: Sequence[str] = ()) -> None:
    """Print a table of the worst relative errors; exit with 1 if one is too large.

    Args:
        modules: names of modules to import first, which register parts of their own.
    """
    for module in modules:
        importlib.import_module(module)
    errors = []
    sys.stdout.write(f"{'part':<20} {'options':<72} {'worst relative error':>20}\n")
    for _, name, options, error in check_all():
        shown = ", ".join(f"{key}={value}" for key, value in options.items())
        shown = shown if len(shown) <= 72 else shown[:69] + "..."
        sys.stdout.write(f"{name:<20} {shown:<72} {error:>20.1e}{'' if error < TOLERANCE else '  WRONG'}\n")
        errors.append(error)
    right = _worst(errors) < TOLERANCE
    verdict = "all gradients are right" if right else "there are wrong gradients"
    sys.stdout.write(f"\n{verdict}: the worst relative error is {_worst(errors):.1e}, the limit {TOLERANCE:.0e}\n")
    sys.exit(not right)


if __name__ == "__main__":
    main(sys.argv[1:])
