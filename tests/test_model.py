"""The model: a network over raw coordinates, saved and loaded."""

import json
from pathlib import Path

import numpy as np
import pytest

from model import PenDigitsModel, load_model, save_model
from neural_net import Network, dense_layers
from stage import StageError

RAW = np.random.default_rng(0).integers(0, 101, (20, 16))


@pytest.fixture
def model() -> PenDigitsModel:
    network = Network(dense_layers([12], 10, "gelu", normalization="batch_norm"), 16, rng=np.random.default_rng(0))
    return PenDigitsModel(network, "synthetic")


def test_probabilities_of_raw_coordinates_are_those_of_scaled_ones(model: PenDigitsModel) -> None:
    p = model.predict_proba(RAW)
    assert p.shape == (20, 10)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(p, model.probabilities((RAW.astype(np.float32) - 50) / 50))
    assert model.predict(RAW.tolist()).tolist() == p.argmax(axis=1).tolist()


@pytest.mark.parametrize(
    ("X", "message"),
    [
        ([[1] * 15], "16 coordinates"),
        ([1] * 16, "16 coordinates"),
        ([[101] * 16], "from 0 to 100"),
        ([[-1] * 16], "from 0 to 100"),
        ([[float("nan")] * 16], "from 0 to 100"),
    ],
)
def test_what_is_no_pen_path_is_refused(model: PenDigitsModel, X: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        model.predict_proba(X)


def test_loaded_model_predicts_the_same_and_saves_the_same_bytes(model: PenDigitsModel, tmp_path: Path) -> None:
    save_model(model, tmp_path / "a")
    loaded = load_model(tmp_path / "a")
    save_model(loaded, tmp_path / "b")
    assert loaded.dataset == "synthetic"
    assert loaded.predict_proba(RAW).tobytes() == model.predict_proba(RAW).tobytes()
    for name in ("network.npz", "network.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_missing_damaged_and_foreign_models_are_refused_by_name(model: PenDigitsModel, tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"network\.json does not exist; `dvc repro train` makes it"):
        load_model(tmp_path)
    save_model(model, tmp_path)
    description = json.loads((tmp_path / "network.json").read_text())
    (tmp_path / "network.json").write_text(json.dumps(description | {"extra": {}}))
    with pytest.raises(StageError, match="not one over the 16 coordinates"):
        load_model(tmp_path)
    (tmp_path / "network.npz").write_bytes(b"PK")
    with pytest.raises(StageError, match=r"network\.npz"):
        load_model(tmp_path)
