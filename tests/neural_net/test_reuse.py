"""Trained layers in new networks, frozen layers, and weights as lists of arrays."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neural_net import OPTIMIZERS, Callback, Chain, Linear, Network, Training, WeightAverage, fit, load, save

RNG = np.random.default_rng
BODY = [
    {"linear": {"n_out": 6}}, "batch_norm", "tanh", {"residual": {"layers": [{"linear": {"n_out": 6}}, "batch_norm"]}},
]  # fmt: skip
BUILT_IN = [name for name, kind in OPTIMIZERS.items() if kind.__module__.startswith("neural_net")]


def trained(blobs: Any) -> Network:
    """A network in float64 whose weights and running statistics have moved."""
    network = Network([*BODY, "relu", Linear(3)], 4, rng=RNG(0), dtype=np.float64)
    fit(network, *blobs, rng=RNG(1), epochs=3, batch_size=8)
    return network


def same(ours: list[np.ndarray], theirs: list[np.ndarray]) -> bool:
    return len(ours) == len(theirs) and all(map(np.array_equal, ours, theirs))


def test_trained_layers_keep_their_weights_in_a_new_network_and_the_old_one_stays(blobs: Any) -> None:
    old = trained(blobs)
    before = old.get_weights()
    new = Network([*old.layers[:-1], Linear(5)], 4, rng=RNG(2), dtype=np.float64)
    assert same(new.get_weights()[:-2], before[:-2])
    fresh = Network([*BODY, "relu", Linear(5)], 4, rng=RNG(2), dtype=np.float64)
    assert same(new.layers[-1].get_weights(), fresh.layers[-1].get_weights())
    fit(new, *blobs, rng=RNG(3), epochs=1)
    assert same(old.get_weights(), before)
    assert Network(old.layers, 4, rng=RNG(4)).outputs(blobs[0]) == pytest.approx(old.outputs(blobs[0]), abs=1e-5)


@pytest.mark.parametrize(
    "take", [lambda network: network.layers, list, lambda network: [network[0], network["linear2"]]]
)
def test_weights_are_kept_with_a_warning_unless_the_layers_were_taken_from_a_network(take: Any, blobs: Any) -> None:
    given = [Linear(6), Chain([Linear(3)])]
    old = Network(given, 4, rng=RNG(0))
    fit(old, *blobs, rng=RNG(1), epochs=1)
    with pytest.warns(
        UserWarning, match=r"linear1, linear2: in a network already; the copies here begin with the same"
    ):
        again = Network(given, 4, rng=RNG(2))
    assert same(again.get_weights(), old.get_weights())
    assert same(Network(take(old), 4, rng=RNG(2)).get_weights(), old.get_weights())  # warnings are errors


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_frozen_body_is_as_good_as_its_outputs_computed_before(name: str, blobs: Any) -> None:
    """Nothing of it moves or decays, or counts in the clipped norm, the average, or the statistics."""
    X, y = blobs
    optimizer = {name: {"lr": 0.05, "weight_decay": 0.1, "clip_norm": 0.02}}
    whole = trained(blobs)
    head = Network([whole.layers[-1]], 6, rng=RNG(0), dtype=np.float64)
    for layer in whole.layers[:-1]:
        layer.trainable = False
    assert whole.summary().endswith("117 parameters, 96 of them frozen, float64")
    features = Network(whole.layers[:-1], 4, rng=RNG(0), dtype=np.float64).outputs(X)
    before = whole.get_weights()
    for network, rows in ((whole, X), (head, features)):
        fit(network, rows, y, rng=RNG(5), epochs=4, batch_size=8, optimizer=optimizer, callbacks=[WeightAverage(0.7)])
    fit(whole, X[:3], y[:3], rng=RNG(0), epochs=1, batch_size=1, optimizer={name: {"lr": 1e-30}})  # a norm may stand it
    assert same(whole.get_weights()[:-2], before[:-2])
    assert not np.array_equal(before[-2], whole.get_weights()[-2])
    for ours, theirs in zip(whole.get_weights()[-2:], head.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-7, atol=1e-10)


def test_a_callback_can_unfreeze_with_the_next_epoch(blobs: Any) -> None:
    network, weights = trained(blobs), []
    network.layers[0].trainable = network.layers[3].trainable = False

    class Unfreeze(Callback):
        def on_epoch_end(self, training: Training, record: Any) -> None:
            weights.append([array.copy() for array in training.network.get_weights()[:2]])
            network.layers[0].trainable = training.epoch == 2

    start = network.get_weights()[0]
    fit(network, *blobs, rng=RNG(0), epochs=4, callbacks=[Unfreeze()])
    assert [bool(np.array_equal(now[0], start)) for now in weights] == [True, True, False, False]
    assert np.array_equal(weights[2][0], weights[3][0])
    assert [layer.trainable for layer in network.layers[3].walk()] == [False] * 3


def test_frozen_layers_are_frozen_after_saving_and_only_then_in_the_file(blobs: Any, tmp_path: Path) -> None:
    network = trained(blobs)
    save(network, tmp_path)
    assert "frozen" not in (tmp_path / "network.json").read_text()
    network.layers[3].trainable = False
    network.layers[3].layers[1].trainable = True  # type: ignore[attr-defined]
    save(network, tmp_path)
    assert [layer.name for layer in load(tmp_path)[0].walk() if not layer.trainable] == ["residual1", "linear2"]


def test_weights_come_as_copies_in_the_order_of_the_layers_and_go_back(blobs: Any) -> None:
    old = trained(blobs)
    weights = old.get_weights()
    assert [array.shape for array in weights] == [(4, 6), *[(6,)] * 5, (6, 6), *[(6,)] * 5, (6, 3), (3,)]
    assert np.array_equal(weights[4], old.layers[1].state["mean"])
    new = Network([*BODY, "relu", Linear(3)], 4, rng=RNG(9), dtype=np.float64)
    new.set_weights([array.tolist() for array in weights])
    np.testing.assert_array_equal(new.outputs(blobs[0]), old.outputs(blobs[0]))
    new.layers[3].set_weights([array * 0 for array in old.layers[3].get_weights()])
    assert not any(array.any() for array in new.layers[3].get_weights())
    weights[0][...] = 0
    assert old.layers[0].get_weights()[0].all()
    for wrong, message in (
        (weights[:3], r"expected 14 arrays, linear1.W, linear1.b, batchnorm1.gamma, .*, linear3.b, got 3"),
        ([*weights[:-1], weights[0]], r"linear3.b has shape \(3,\), got an array of shape \(4, 6\)"),
    ):
        before = new.get_weights()
        with pytest.raises(ValueError, match=message):
            new.set_weights(wrong)
        assert same(new.get_weights(), before)
