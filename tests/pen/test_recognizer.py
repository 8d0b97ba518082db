"""The recognizer: a network over raw coordinates or ink, saved and loaded."""

import json
from pathlib import Path

import numpy as np
import pytest

from neural_net import Network, dense_layers
from pen.features import FEATURE_SETS
from pen.recognizer import Recognizer, RecognizerError, load_recognizer, recognizer_files
from pipeline.errors import StageError
from pipeline.model import read_model

RAW = np.random.default_rng(0).integers(0, 101, (20, 16))
INK = [[[(0, 0), (0, 300)], [(-50, 100), (50, 100)]], [[(3, 4)]], [[(0.5, 0.5), (0.25, 0.1), (0.7, 0.3)]]]


def make(features: str) -> Recognizer:
    layers = dense_layers([12], 10, "gelu", normalization="batch_norm")
    network = Network(layers, FEATURE_SETS[features].size, rng=np.random.default_rng(0))
    return Recognizer(network, "synthetic", 0.5, features)


def save(model: Recognizer, folder: Path) -> Path:
    for name, content in recognizer_files(model).items():
        (folder / name).write_bytes(content)
    return folder / "network.json"


def test_probabilities_of_raw_coordinates_are_those_of_scaled_ones() -> None:
    model = make("table")
    p = model.predict_proba(RAW)
    assert p.shape == (20, 10)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(p, model.probabilities((RAW.astype(np.float32) - 50) / 50))
    assert model.predict(RAW.tolist()).tolist() == p.argmax(axis=1).tolist()
    logits = model.network.outputs((RAW.astype(np.float32) - 50) / 50).astype(np.float64) / 0.5
    np.testing.assert_allclose(np.log(p), logits - np.logaddexp.reduce(logits, axis=1)[:, None], atol=1e-5)


def test_a_network_over_ink_takes_strokes_of_any_scale_and_place() -> None:
    model = make("ink")
    p = model.predict_proba(INK)
    assert p.shape == (3, 10)
    assert model.predict(INK).tolist() == p.argmax(axis=1).tolist()
    moved = [[[(1000 + 7 * x, 7 * y - 9) for x, y in stroke] for stroke in digit] for digit in INK]
    np.testing.assert_allclose(model.predict_proba(moved), p, atol=1e-3)
    joined = [[[*INK[0][0], *INK[0][1]]]]
    assert np.abs(model.predict_proba(joined)[0] - p[0]).max() > 1e-3  # the pen lift counts


NO_INK = [[], 5, "ink", None, RAW, [[]], [[[]]], [[[1, 2]]], [[[(1, 2, 3)]]], [[[(1, "a")]]], [[[(1, 2)], []]]]


@pytest.mark.parametrize(("features", "X", "message"), [
    ("table", [[1] * 15], "16 coordinates"),
    ("table", [1] * 16, "16 coordinates"),
    *(("table", [[number] * 16], "from 0 to 100") for number in (101, -1, np.nan)),
    *(("ink", X, "expected ink: a list of digits, each a list of strokes") for X in NO_INK),
    *(("ink", [[[(1, number)]]], "from -1000000 to 1000000") for number in (np.nan, np.inf, -1e7)),
])  # fmt: skip
def test_what_is_no_digit_is_refused(features: str, X: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(features).predict_proba(X)


@pytest.mark.parametrize(("features", "digits"), [("table", RAW), ("ink", INK)])
def test_loaded_it_predicts_the_same_and_saves_the_same_bytes(features: str, digits: object, tmp_path: Path) -> None:
    model = make(features)
    save(model, tmp_path)
    loaded = load_recognizer(tmp_path)
    assert (loaded.dataset, loaded.temperature, loaded.features) == ("synthetic", 0.5, features)
    assert loaded.predict_proba(digits).tobytes() == model.predict_proba(digits).tobytes()
    assert recognizer_files(loaded) == recognizer_files(model)


@pytest.mark.parametrize(("extra", "fault"), [
    ({"features": "table"}, "does not read the 16 numbers of a digit"),
    ({"features": "picture"}, "features that are not known: picture"),
    ({"features": []}, r"features that are not known: \[\]"),
    ({"dataset": None}, "does not read the 48 numbers of a digit"),
    ({"temperature": 0}, "temperature is no number from 0.001 to 1000: 0"),
    ({"temperature": "hot"}, "temperature is no number"),
])  # fmt: skip
def test_a_foreign_network_is_refused(extra: dict[str, object], fault: str, tmp_path: Path) -> None:
    path = save(make("ink"), tmp_path)
    description = json.loads(path.read_text())
    path.write_text(json.dumps(description | {"extra": description["extra"] | extra}))
    with pytest.raises(RecognizerError, match=fault):
        load_recognizer(tmp_path)


def test_missing_and_damaged_files_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"network\.json"):
        load_recognizer(tmp_path)
    save(make("table"), tmp_path)
    (tmp_path / "network.npz").write_bytes(b"PK")
    for read, error in ((load_recognizer, RecognizerError), (read_model, StageError)):
        with pytest.raises(error, match=r"network\.npz"):
            read(tmp_path)
