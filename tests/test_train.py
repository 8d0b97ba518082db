"""The temperature is fitted to the rows held out, and to new ones made of them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import train
from neural_net import Network, dense_layers, fit
from pen.augmentation import Augmentation
from pen.calibration import fit_temperature
from pen.ink import Ink, eight_points
from pen.strokes import strokes_of
from pipeline.params import load_params
from pipeline.rows import Rows

PARAMS = load_params(Path(__file__).parent.parent / "params.yaml")


@pytest.fixture(scope="module")
def rows(small_inks: tuple[Ink, Ink]) -> Rows:
    ink = small_inks[0]
    X = ((eight_points(ink) - 50) / 50).astype(np.float32)
    return Rows(X, ink.digit, ink.writer, np.arange(len(X)), strokes_of(ink))


@pytest.fixture(scope="module")
def network(rows: Rows) -> Network:
    """One that was trained on other rows: temperatures are between their bounds."""
    made = Network(dense_layers([24], 10, "gelu"), 16, rng=np.random.default_rng(0))
    fit(made, rows.X[100:], rows.y[100:], rng=np.random.default_rng(0), epochs=10, optimizer={"adam": {"lr": 0.01}})
    return made


def test_without_augmentation_it_is_the_temperature_of_the_rows(network: Network, rows: Rows) -> None:
    found = train.fitted_temperature(PARAMS.model_copy(update={"augment": Augmentation()}), network, rows)
    assert found == fit_temperature(network.outputs(rows.X), rows.y)


def test_it_is_fitted_to_new_rows_for_each(network: Network, rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    outputs = network.outputs
    monkeypatch.setattr(network, "outputs", lambda X: seen.append(X) or outputs(X))
    found = [train.fitted_temperature(PARAMS, network, rows) for _ in range(2)]
    copies = seen[: train.COPIES]
    assert (found[0], len({X.tobytes() for X in copies} | {rows.X.tobytes()})) == (found[1], train.COPIES + 1)
    assert {X.shape for X in copies} == {rows.X.shape}
    alone = [fit_temperature(outputs(X), rows.y) for X in copies]
    assert min(alone) <= found[0] <= max(alone)
    assert fit_temperature(outputs(rows.X), rows.y) != found[0]
