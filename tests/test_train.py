"""The temperature is fitted to rows held out, and to new ones made of them; the refit stops where validation says."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import fetch
import preprocess
import split
import train
from neural_net import Network, dense_layers, fit
from pen.augmentation import Augmentation
from pen.calibration import fit_temperature
from pen.ink import Ink, eight_points
from pen.strokes import strokes_of
from pipeline import paths
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
    read = network.outputs(rows.X).argmax(axis=1)
    all_right = Rows(rows.X, read, rows.writer, rows.row)
    assert train.fitted_temperature(PARAMS, network, all_right) == 1  # no temperature is the most likely one
    assert fit_temperature(network.outputs(rows.X), read) < 0.1


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


@pytest.mark.parametrize("patience", [2, None])
def test_the_refit_ends_with_the_epoch_that_validation_chose(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, patience: int | None
) -> None:
    values = yaml.safe_load((workspace / "params.yaml").read_text())
    values |= {"hidden_layers": [8], "epochs": 40, "lr": 0.05, "early_stopping": patience, "weight_average": None}
    values |= {"augment": {}, "dropout": 0}  # so that it is soon trained
    (workspace / "params.yaml").write_text(yaml.safe_dump(values))
    histories, trained = [], train.train

    def followed(*args: Any, **options: Any) -> Any:
        model, history = trained(*args, **options)
        histories.append(history)
        return model, history

    monkeypatch.setattr(train, "train", followed)
    for stage in (fetch, preprocess, split, train):
        stage.main()
    first, second = histories
    said = json.loads(paths.TRAIN_METRICS.read_bytes())
    best = said.get("best_epoch", 40)
    assert (said["epochs"], best + (patience or 0)) == (len(first), len(first))
    assert first["val_loss"][best - 1] == min(first["val_loss"]) or patience is None
    assert second["lr"] == pytest.approx(first["lr"][:best], abs=0.001)  # not a whole schedule in fewer epochs
