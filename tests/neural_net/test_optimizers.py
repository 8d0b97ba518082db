"""Optimizers: first steps that can be checked by head from the papers' formulas, decay and clipping."""

import math
from typing import Any

import numpy as np
import pytest

from neural_net import OPTIMIZERS, Network, make_optimizer
from neural_net.parts import arguments

EVERY = [*((name, {}) for name in OPTIMIZERS), ("adam", {"amsgrad": True}), ("rmsprop", {"centered": True})]


def steps(spec: Any, start: Any, gradients: Any, decays: Any = None, factor: float = 1.0) -> list[list[float]]:
    """Where the parameters are after each step."""
    optimizer, w, places = make_optimizer(spec), np.array(start, dtype=np.float64), []
    for g in gradients:
        optimizer.step(w, np.array(g, dtype=np.float64), decays, factor)
        places.append(w.tolist())
    return places


@pytest.mark.parametrize(("spec", "gradients", "places"), [
    ({"sgd": {"lr": 0.5}}, [2, -4], [9, 11]),
    ({"sgd": {"lr": 1, "momentum": 0.5}}, [2, 2, 0], [8, 5, 3.5]),  # velocity 2, 3, 1.5
    ({"sgd": {"lr": 1, "momentum": 0.5, "nesterov": True}}, [2, 2], [7, 3.5]),  # 2 + 1, 2 + 1.5
    ({"adagrad": {"lr": 1}}, [3, 4, 12], [9, 9 - 4 / 5, 9 - 4 / 5 - 12 / 13]),  # sums of squares 9, 25, 169
    ({"adagrad": {"lr": 1, "eps": 1}}, [3], [9.25]),  # 3 / (3 + 1)
    ({"rmsprop": {"lr": 1, "rho": 0.75, "eps": 2}}, [4], [9]),  # 4 / (2 + 2)
    ({"adam": {"lr": 1, "eps": 1}}, [4], [9.2]),  # 4 / (4 + 1)
    ({"rmsprop": {"lr": 1, "rho": 0.75}}, [4, 0, 0], [8, 8, 8]),  # mean square 4, 3, ...
    ({"rmsprop": {"lr": 1, "rho": 0.75, "momentum": 0.5}}, [4, 0, 0], [8, 7, 6.5]),  # velocity 2, 1, 0.5
    ({"adam": {"lr": 1}}, [5, 5, 5], [9, 8, 7]),  # of a gradient that stays, the step is lr
    ({"adam": {"lr": 1, "beta1": 0, "beta2": 0.5}}, [1, 7], [9, 9 - 7 / math.sqrt(33)]),  # (1 + 2 * 49) / 3 = 33
    ({"adam": {"lr": 1, "beta1": 0.5, "beta2": 0}}, [3, 6], [9, 9 - 5 / 6]),  # (3 + 2 * 6) / 3 = 5
    ({"adam": {"lr": 1, "beta1": 0, "beta2": 0.5, "amsgrad": True}}, [2, 0, 1], [9, 9, 9 - math.sqrt(7) / 4]),
    ({"rmsprop": {"lr": 1, "rho": 0.75, "centered": True}}, [4, 0], [10 - 4 / math.sqrt(3)] * 2),  # 4 - 1^2
    ({"adamw": {"lr": 0.5}}, [1], [10 - 0.05 - 0.5]),  # a two-hundredth of 10, then lr
    ({"lion": {"lr": 1}}, [0.1, -0.001, -5], [9, 8, 9]),  # 0.9 of the memory outweighs -0.001, not -5
    ({"lion": {"lr": 1, "beta1": 0.5, "beta2": 0.75}}, [4, -2], [9, 10]),  # the memory of 4 is 1, less than 2
    ({"lion": {"lr": 1, "weight_decay": 0.5}}, [3], [4]),
])  # fmt: skip
def test_first_steps(spec: Any, gradients: list[float], places: list[float]) -> None:
    path = steps(spec, [10], [[g] for g in gradients])
    np.testing.assert_allclose(np.ravel(path), places, rtol=1e-7)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_schedules_factor_multiplies_the_learning_rate(name: str) -> None:
    gradients = [[1.0], [-2.0]]
    half = steps({name: {"lr": 0.01}}, [1], gradients)
    assert steps({name: {"lr": 0.02}}, [1], gradients, factor=0.5) == half
    assert steps({name: {"lr": 0.02}}, [1], gradients, factor=0) == [[1], [1]]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_weight_decay_is_decoupled(name: str) -> None:
    """Its effect on the first step is lr * weight_decay * w, whatever the gradient."""
    for g in (1.0, 100.0):
        options = {"lr": 0.1, "weight_decay": 0.0}
        ((without,),) = steps({name: options}, [4], [[g]])
        ((with_decay,),) = steps({name: options | {"weight_decay": 0.5}}, [4], [[g]])
        assert without - with_decay == pytest.approx(0.1 * 0.5 * 4)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_weight_decay_leaves_biases_and_normalisation_alone(name: str, rng: np.random.Generator) -> None:
    layers = [{"reshape": {"shape": [4, 2]}}, {"conv1d": {"filters": 3}}, "batch_norm", "flatten", "layer_norm",
              {"residual": {"layers": [{"linear": {"n_out": 12}}]}}, {"linear": {"n_out": 2}}]  # fmt: skip
    network = Network(layers, 8, rng=rng, dtype=np.float64)
    network.params += 1
    before = [getattr(layer, parameter).copy() for layer, parameter, _ in network.parameters()]
    make_optimizer({name: {"lr": 0.1, "weight_decay": 0.5}}).step(network.params, network.grads, network.decays)
    for (layer, parameter, _), old in zip(network.parameters(), before, strict=True):
        np.testing.assert_allclose(getattr(layer, parameter), 0.95 * old if parameter == "W" else old, rtol=1e-12)


@pytest.mark.parametrize(("options", "gradient", "clipped"), [
    ({"clip_norm": 5}, [6, 8], [3, 4]), ({"clip_norm": 10}, [6, 8], [6, 8]), ({"clip_norm": 5}, [0, 10], [0, 5]),
    ({"clip_value": 7}, [6, -8], [6, -7]),
    ({"clip_value": 4, "clip_norm": 1}, [30, -40], [math.sqrt(0.5), -math.sqrt(0.5)]),  # first each number
    ({"clip_norm": 5}, [6e200, 8e200], [3, 4]),  # whose squares overflow
    ({"clip_norm": 5}, [0, 0], [0, 0]),
])  # fmt: skip
def test_clipping(options: dict[str, float], gradient: list[float], clipped: list[float]) -> None:
    ((x, y),) = steps({"sgd": {"lr": 1, **options}}, [0, 0], [gradient])
    assert (-x, -y) == pytest.approx(tuple(clipped))


@pytest.mark.parametrize("clip", ["clip_norm", "clip_value"])
def test_clipping_hides_no_nan(clip: str) -> None:
    ((w,),) = steps({"sgd": {"lr": 1, clip: 1}}, [0], [[math.nan]])
    assert math.isnan(w)


def test_a_gradient_that_stays_leaves_no_variance_and_no_nan() -> None:
    optimizer, w = make_optimizer({"rmsprop": {"centered": True}}), np.ones(9, np.float32)
    for _ in range(2000):
        optimizer.step(w, np.linspace(0.1, 1, 9, dtype=np.float32))
    assert np.isfinite(w).all()


@pytest.mark.parametrize(("name", "options"), EVERY)
def test_dtype_and_place_stay(name: str, options: Any) -> None:
    optimizer, w = make_optimizer({name: {"weight_decay": 0.1} | options}), np.ones(3, np.float32)
    place = w.__array_interface__["data"]
    for _ in range(3):
        optimizer.step(w, np.ones(3, np.float32))
    assert (w.dtype, w.__array_interface__["data"]) == (np.float32, place)
    assert {array.dtype for array in optimizer.state.values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_reset_forgets_the_steps_and_the_number_of_parameters(name: str) -> None:
    optimizer, gradient = make_optimizer(name), np.array([1.0, -2.0])
    first, again = np.zeros(2), np.zeros(2)
    optimizer.step(first, gradient)
    with pytest.raises(ValueError, match=r"1 steps on 2 parameters and is now handed 3; reset\(\)"):
        optimizer.step(np.ones(3), np.ones(3))
    optimizer.reset()
    optimizer.step(np.ones(3), 100 * np.ones(3))
    optimizer.reset()
    optimizer.step(again, gradient)
    assert np.array_equal(first, again)


@pytest.mark.parametrize(("spec", "options"), [
    ("sgd", {"lr": 0.01, "momentum": 0.0, "nesterov": False}),
    ("adagrad", {"lr": 0.01, "eps": 1e-10}),
    ("rmsprop", {"lr": 0.001, "rho": 0.99, "momentum": 0.0, "eps": 1e-8, "centered": False}),
    ("adam", {"lr": 0.001, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "amsgrad": False}),
    ("adamw", {"lr": 0.001, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "amsgrad": False, "weight_decay": 0.01}),
    ("lion", {"lr": 1e-4, "beta1": 0.9, "beta2": 0.99}),
])  # fmt: skip
def test_the_options_and_their_defaults(spec: str, options: dict[str, Any]) -> None:
    shared = {"weight_decay": 0.0, "clip_norm": None, "clip_value": None}
    assert arguments(make_optimizer(spec)) == shared | options
    given = {"lr": 5.0, "clip_norm": 2.0}
    assert arguments(make_optimizer({spec: {"lr": 5.0}}, lr=3.0, clip_norm=2.0)) == shared | options | given


@pytest.mark.parametrize(("spec", "message"), [
    ({"sgd": {"lr": 0}}, "SGD: lr must be greater than 0, got 0"),
    ({"sgd": {"lr": math.nan}}, "SGD: lr must be greater than 0, got nan"),
    ({"sgd": {"momentum": 1}}, "SGD: momentum must be at least 0 and less than 1, got 1"),
    ({"sgd": {"nesterov": True}}, "SGD: nesterov needs a momentum greater than 0"),
    ({"adam": {"weight_decay": -1}}, "Adam: weight_decay must be at least 0, got -1"),
    ({"adam": {"clip_norm": 0}}, "Adam: clip_norm must be greater than 0, got 0"),
    ({"adam": {"clip_value": 0}}, "Adam: clip_value must be greater than 0, got 0"),
    ({"adam": {"beta1": 1}}, "Adam: beta1 must be at least 0 and less than 1, got 1"),
    ({"adamw": {"beta2": -0.1}}, "AdamW: beta2 must be at least 0 and less than 1, got -0.1"),
    ({"rmsprop": {"rho": 1}}, "RMSProp: rho must be at least 0 and less than 1, got 1"),
    ({"adagrad": {"eps": 0}}, "Adagrad: eps must be greater than 0, got 0"),
    ({"lion": {"lr": "fast"}}, "optimizer lion: lr must be a finite number, got 'fast'"),
    ({"adam": {"lr": True}}, "optimizer adam: lr must be a finite number, got True"),
    ({"adamw": {"eps": 0}}, "AdamW: eps must be greater than 0, got 0"),
    ({"rmsprop": {"eps": 0}}, "RMSProp: eps must be greater than 0, got 0"),
    ({"rmsprop": {"momentum": 1}}, "RMSProp: momentum must be at least 0 and less than 1, got 1"),
    ({"lion": {"beta1": 1}}, "Lion: beta1 must be at least 0 and less than 1, got 1"),
    ({"adam": {"lr": 10**400}}, "optimizer adam: lr must be a finite number, got 1000"),
    ({"adam": {"clip_norm": "1"}}, "optimizer adam: clip_norm must be a finite number or null, got '1'"),
    ({"sgd": {"momentum": 0.9, "nesterov": "yes"}}, "optimizer sgd: nesterov must be true or false, got 'yes'"),
    (5, "optimizer must be of type Optimizer, got 5"),
    ("adamax", r"optimizer must be one of adagrad, adam, adamw, lion, rmsprop, sgd, got 'adamax' \(did you mean"),
])  # fmt: skip
def test_faulty_options_are_named(spec: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_optimizer(spec)


@pytest.mark.parametrize(("name", "options"), EVERY)
def test_a_long_vector_is_treated_as_many_short_ones(name: str, options: Any, rng: np.random.Generator) -> None:
    long, decays = rng.normal(size=70_000).astype(np.float32), np.arange(70_000) % 2
    ends = [slice(0, 9), slice(32_760, 32_780), slice(69_990, 70_000)]
    optimizers = [make_optimizer({name: {"weight_decay": 0.1} | options}) for _ in range(4)]
    short = [long[end].copy() for end in ends]
    for _ in range(3):
        gradient = rng.normal(size=70_000).astype(np.float32)
        optimizers[0].step(long, gradient.copy(), decays)
        for optimizer, w, end in zip(optimizers[1:], short, ends, strict=True):
            optimizer.step(w, gradient[end].copy(), decays[end])
    assert all(np.array_equal(long[end], w) for w, end in zip(short, ends, strict=True))


@pytest.mark.parametrize("spec", ["adam", {"rmsprop": {"rho": 0.9}}, {"sgd": {"momentum": 0.7}}], ids=str)
def test_what_a_dead_unit_leaves_behind_becomes_zero(spec: Any) -> None:
    """Not a number below 1.2e-38 instead, which a processor is slow with; and the others stay as they are."""
    optimizer, w, gradient = make_optimizer(spec), np.ones(2, np.float32), np.ones(2, np.float32)
    for _ in range(1500):
        optimizer.step(w, gradient.copy())
        gradient[1] = 0
    living, dead = next(iter(optimizer.state.values()))
    assert living > 0.9
    assert dead == 0
