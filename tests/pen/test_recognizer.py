"""The model: a network over raw coordinates, saved and loaded."""

import json
from pathlib import Path

import numpy as np
import pytest

from neural_net import Network, dense_layers
from pen.features import FEATURE_SETS
from pen.recognizer import PenDigitsModel, load_model, save_model
from pipeline.errors import StageError

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


# --- Over ink ----------------------------------------------------------------------------------------

INK = [[[(0, 0), (0, 300)], [(-50, 100), (50, 100)]], [[(3, 4)]], [[(0.5, 0.5), (0.25, 0.1), (0.7, 0.3)]]]


@pytest.fixture
def over_ink() -> PenDigitsModel:
    network = Network(dense_layers([12], 10, "gelu"), FEATURE_SETS["ink"].size, rng=np.random.default_rng(0))
    return PenDigitsModel(network, "synthetic", 0.5, "ink")


def test_a_network_over_ink_takes_strokes_of_any_scale_and_place(over_ink: PenDigitsModel) -> None:
    p = over_ink.predict_proba(INK)
    assert p.shape == (3, 10)
    assert over_ink.predict(INK).tolist() == p.argmax(axis=1).tolist()
    moved = [[[(1000 + 7 * x, 7 * y - 9) for x, y in stroke] for stroke in digit] for digit in INK]
    np.testing.assert_allclose(over_ink.predict_proba(moved), p, atol=1e-3)
    joined = [[[*INK[0][0], *INK[0][1]]]]
    assert np.abs(over_ink.predict_proba(joined)[0] - p[0]).max() > 1e-3  # the pen lift counts


@pytest.mark.parametrize(
    "X",
    [[], 5, "ink", None, RAW, [[]], [[[]]], [[[1, 2]]], [[[(1, 2, 3)]]], [[[(1, "a")]]], [[[(1, 2)], []]]],
)
def test_what_is_no_ink_is_refused(over_ink: PenDigitsModel, X: object) -> None:
    with pytest.raises(ValueError, match="expected ink: a list of digits, each a list of strokes"):
        over_ink.predict(X)


@pytest.mark.parametrize("number", [np.nan, np.inf, -1e7])
def test_points_that_are_nowhere_are_refused(over_ink: PenDigitsModel, number: float) -> None:
    with pytest.raises(ValueError, match="expected points from -1000000 to 1000000"):
        over_ink.predict([[[(1, number)]]])


def test_what_a_network_reads_is_saved_with_it(over_ink: PenDigitsModel, model: PenDigitsModel, tmp_path: Path) -> None:
    save_model(over_ink, tmp_path)
    loaded = load_model(tmp_path)
    assert loaded.features == "ink"
    assert loaded.predict_proba(INK).tobytes() == over_ink.predict_proba(INK).tobytes()
    path = tmp_path / "network.json"
    for features, fault in (
        ("table", "not one over the 16 numbers"),
        ("picture", "features that are not known: picture"),
        ([], r"features that are not known: \[\]"),
    ):
        description = json.loads(path.read_text())
        description["extra"]["features"] = features
        path.write_text(json.dumps(description))
        with pytest.raises(StageError, match=fault):
            load_model(tmp_path)
    save_model(model, tmp_path)
    assert load_model(tmp_path).features == "table"


# --- Saved -------------------------------------------------------------------------------------------


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
    with pytest.raises(StageError, match="not one over the 16 numbers"):
        load_model(tmp_path)
    (tmp_path / "network.npz").write_bytes(b"PK")
    with pytest.raises(StageError, match=r"network\.npz"):
        load_model(tmp_path)
