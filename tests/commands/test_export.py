"""`make export` writes the whole recognizer: raw coordinates in, calibrated probabilities out."""

import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from tests.tracking.finished_pipeline import write_model

from commands import export
from neural_net import Network, dense_layers
from pen.features import FEATURE_SETS
from pen.recognizer import Recognizer


@pytest.mark.parametrize("features", ["table", "ink"])
def test_the_exported_model_gives_the_recognizers_probabilities(features, tmp_path: Path, monkeypatch, capsys):
    rng = np.random.default_rng(0)
    size = FEATURE_SETS[features].size
    recognizer = Recognizer(Network(dense_layers([20], 10, "gelu"), size, rng=rng), "synthetic", 0.5, features)
    write_model(tmp_path, recognizer)
    monkeypatch.setattr(sys, "argv", ["export", str(tmp_path / "models"), str(tmp_path / "out/model.onnx")])
    export.main()
    assert "model.onnx: X (rows of " in capsys.readouterr().out
    rows = rng.uniform(0, 100, (7, size)).astype(np.float32)
    session = onnxruntime.InferenceSession(tmp_path / "out/model.onnx", providers=["CPUExecutionProvider"])
    expected = recognizer.predict_proba(rows) if features == "table" else recognizer.probabilities(rows)
    assert session.run(None, {"X": rows})[0] == pytest.approx(expected, abs=1e-5)
