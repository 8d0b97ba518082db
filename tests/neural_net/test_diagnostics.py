"""Diagnostics measures what it says, and leaves the training as it is."""

import math
from typing import Any

import numpy as np
import pytest

import neural_net as nn
from neural_net import SGD, Diagnostics, DivergedError, Linear, Network, ReLU, Training, dense_layers, fit
from neural_net.diagnostics import QUANTITIES


def value(watch: Diagnostics, epoch: int, layer: str, quantity: str) -> float:
    wanted = {"epoch": epoch, "layer": layer, "quantity": quantity}
    (found,) = [record["value"] for record in watch.records if record.items() >= wanted.items()]
    return float(found)


def bars(watch: Diagnostics, epoch: int, layer: str, of: str) -> list[dict[str, Any]]:
    wanted = {"epoch": epoch, "layer": layer, "of": of}
    return [record for record in watch.histograms(bins=10) if record.items() >= wanted.items()]


def trained(layers: list[Any], rows: int = 40, n_in: int = 6, seed: int = 0, **how: Any) -> tuple[Network, Diagnostics]:
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(rows, n_in)), rng.integers(3, size=rows)
    network, watch = Network(layers, n_in, rng=rng), Diagnostics()
    fit(network, X, y, rng=rng, callbacks=[watch], **({"epochs": 2, "batch_size": 16} | how))
    return network, watch


def test_norms_in_numbers_to_check_by_head() -> None:
    """W = (3, -4), x = (2, 2), target 0: y = -2, dL/dy = 2 y = -4, and the gradient -4 * (2, 2, 1) is 12 long."""
    network = Network([Linear(1)], 2, rng=np.random.default_rng(0), dtype=np.float64)
    network.params[...] = [3, -4, 0]
    watch = Diagnostics()
    how: Any = {"loss": "mean_squared_error", "optimizer": SGD(0.125), "accuracy": False, "callbacks": [watch]}
    fit(network, [[2, 2]], [[0]], rng=np.random.default_rng(0), epochs=1, **how)
    assert value(watch, 0, "linear1", "gradient_norm") == pytest.approx(12)
    assert value(watch, 0, "linear1", "weight_norm") == pytest.approx(5)
    assert value(watch, 1, "linear1", "update_ratio") == pytest.approx(0.125 * 12 / 5)
    assert value(watch, 1, "linear1", "weight_norm") == pytest.approx(math.hypot(4, -3, 0.5))


def activations(W: list[list[float]], X: list[list[float]]) -> Diagnostics:
    network = Network([Linear(len(W[0])), ReLU(), Linear(2)], len(W), rng=np.random.default_rng(0), dtype=np.float64)
    network.layers[0].W[...] = W  # type: ignore[attr-defined]
    watch = Diagnostics()
    fit(network, X, [0] * len(X), rng=np.random.default_rng(0), epochs=1, callbacks=[watch])
    return watch


def test_activations_in_numbers_to_check_by_head() -> None:
    """ReLU makes (1, 0) and (3, 0) of the two rows: mean 1, mean square 2.5, and the second unit is dead."""
    watch = activations([[1, -1]], [[1], [3]])
    assert value(watch, 0, "relu1", "activation_mean") == pytest.approx(1)
    assert value(watch, 0, "relu1", "activation_deviation") == pytest.approx(math.sqrt(2.5 - 1))
    assert value(watch, 0, "relu1", "dead_share") == 0.5
    # The row is the last of many: the sample reaches from the first to the last
    assert value(activations([[1]], [[-1]] * 999 + [[1]]), 0, "relu1", "dead_share") == 0


def test_the_unit_of_a_path_is_its_channel() -> None:
    conv = [{"reshape": {"shape": [8, 2]}}, {"conv1d": {"filters": 4}}, "relu", "flatten", {"linear": {"n_out": 3}}]
    network, watch = trained(conv, n_in=16)
    network.layers[1].b[...] = [-1000, 0, 0, 0]  # type: ignore[attr-defined]
    again = Diagnostics()
    X = np.random.default_rng(0).normal(size=(20, 16))
    fit(network, X, [0] * 20, rng=np.random.default_rng(0), epochs=1, callbacks=[again])
    assert (value(watch, 2, "relu1", "dead_share"), value(again, 0, "relu1", "dead_share")) == (0, 0.25)


def test_every_layer_is_measured_before_and_after_each_epoch() -> None:
    layers = dense_layers([8, 8], 3, "tanh", normalization="batch_norm", dropout=0.2, residual=True)
    _, watch = trained(layers, epochs=3)
    found = {(r["epoch"], r["layer"], r["quantity"]) for r in watch.records}
    with_parameters = {"linear1", "batchnorm1", "linear2", "batchnorm2", "linear3"}
    expected = {
        (epoch, layer, quantity)
        for epoch in range(4)
        for quantity in QUANTITIES
        for layer in (with_parameters if quantity in list(QUANTITIES)[:3] else {"tanh1", "tanh2"})
        if (epoch, quantity) != (0, "update_ratio")
    }
    assert (found, len(watch.records)) == (expected, len(expected))
    assert all(math.isfinite(r["value"]) for r in watch.records)


@pytest.mark.parametrize("batch_size", [16, None])
def test_the_training_stays_the_same(batch_size: int | None) -> None:
    ends = []
    for watch in ([], [Diagnostics()]):
        rng = np.random.default_rng(0)
        X, y = rng.normal(size=(50, 6)), rng.integers(3, size=50)
        layers = dense_layers([8, 8], 3, "relu", normalization="batch_norm", dropout=0.3)
        network = Network(layers, 6, rng=rng)
        callbacks = [*watch, nn.WeightAverage(0.9)]
        history = fit(network, X, y, rng=rng, epochs=4, batch_size=batch_size, validation=(X, y), callbacks=callbacks)
        ends.append((network.params.tobytes(), network.outputs(X).tobytes(), history.records))
    assert ends[0] == ends[1]


def test_histograms_hold_all_weights_and_gradients() -> None:
    network, watch = trained(dense_layers([8], 3), epochs=3)
    assert len(watch.histograms(bins=10)) == 2 * 2 * 2 * 10  # layers, weights and gradients, epochs, bins
    for layer in ("linear1", "linear2"):
        for of in ("weights", "gradients"):
            for epoch in (0, 3):
                chosen = bars(watch, epoch, layer, of)
                assert [r["high"] for r in chosen[:-1]] == [r["low"] for r in chosen[1:]]
                assert sum(r["share"] for r in chosen) == pytest.approx(1)
    fifth, W = bars(watch, 3, "linear1", "weights")[4], network.layers[0].Wb  # type: ignore[attr-defined]
    assert fifth["share"] == pytest.approx(np.mean((fifth["low"] <= W) & (fifth["high"] > W)))


def test_gradients_that_are_zero_are_in_no_bin() -> None:
    """A ReLU that is dead for all rows passes no gradient to the layer before it."""
    network = Network(dense_layers([2], 2), 1, rng=np.random.default_rng(0))
    network.layers[0].W[...] = [[-1, 1]]  # type: ignore[attr-defined]
    watch = Diagnostics()
    fit(network, np.ones((4, 1)), [0, 0, 0, 1], rng=np.random.default_rng(0), epochs=1, callbacks=[watch])
    shares = [
        r["share"] for r in watch.histograms() if (r["layer"], r["of"], r["epoch"]) == ("linear1", "gradients", 0)
    ]
    assert sum(shares) == pytest.approx(0.5)


def test_what_was_measured_before_a_divergence_stays() -> None:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(20, 3)), rng.normal(size=(20, 1))
    watch = Diagnostics()
    network = Network(dense_layers([8, 8], 1), 3, rng=rng)
    how: Any = {"loss": "mean_squared_error", "optimizer": SGD(5.0), "batch_size": None, "accuracy": False}
    training = Training(network, X, y, rng=rng, epochs=50, callbacks=[watch], **how)
    with pytest.raises(DivergedError):
        training.run()
    assert value(watch, 0, "linear1", "gradient_norm") > 0
    assert {r["epoch"] for r in watch.histograms()} == {0, len(training.history)}
