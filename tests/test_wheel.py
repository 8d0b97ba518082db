"""The library as a wheel, in environments that hold nothing else."""

import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import joblib
import numpy as np
import pytest

from estimator import NeuralNetClassifier

ROOT = Path(__file__).parents[1]
USE_THE_NETWORK = """
import importlib.util, sys
import numpy as np
import neural_net
from neural_net import Network, dense_layers, fit, load, save, to_onnx
assert not importlib.util.find_spec("sklearn") and "site-packages" in neural_net.__file__ and neural_net.__version__
rng = np.random.default_rng(0)
X = rng.normal(size=(200, 4))
network = Network(dense_layers([16], 2), n_in=4, rng=rng)
fit(network, X, (X[:, 0] > 0).astype(int), rng=rng, epochs=30, optimizer={"adam": {"lr": 0.02}})
save(network, "saved")
assert (load("saved")[0].predict(X) == (X[:, 0] > 0)).mean() > 0.95
try:
    to_onnx(network)
except ImportError as error:
    print(error)
"""
USE_THE_ESTIMATOR = """
import joblib, numpy as np, sys
X, probabilities, classifier = np.load("X.npy"), np.load("probabilities.npy"), joblib.load("classifier.joblib")
assert abs(classifier.predict_proba(X) - probabilities).max() < 1e-6
joblib.dump(classifier.fit(X, X[:, 0] > 0), "back.joblib")
"""


def run(*command: object, cwd: Path) -> str:
    return subprocess.run(list(map(str, command)), cwd=cwd, check=True, capture_output=True, text=True).stdout


@pytest.mark.slow
def test_the_wheel_works_alone_and_its_estimators_load_here_and_there(tmp_path: Path) -> None:
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", tmp_path, ROOT, cwd=tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    assert {"neural_net/py.typed", "estimator/py.typed"} <= set(ZipFile(wheel).namelist())
    run(sys.executable, "-m", "venv", tmp_path / "env", cwd=tmp_path)
    python = tmp_path / "env/bin/python"
    run(python, "-m", "pip", "install", "-q", wheel, cwd=tmp_path)
    assert run(python, "-c", USE_THE_NETWORK, cwd=tmp_path) == "to_onnx needs the package onnx: pip install onnx\n"
    run(python, "-m", "pip", "install", "-q", f"{wheel}[estimators]", cwd=tmp_path)
    X = np.random.default_rng(0).normal(size=(50, 3))
    classifier = NeuralNetClassifier(epochs=3, random_state=0).fit(X, X[:, 0] > 0)
    joblib.dump(classifier, tmp_path / "classifier.joblib")
    np.save(tmp_path / "X.npy", X)
    np.save(tmp_path / "probabilities.npy", classifier.predict_proba(X))
    run(python, "-c", USE_THE_ESTIMATOR, cwd=tmp_path)
    assert joblib.load(tmp_path / "back.joblib").score(X, X[:, 0] > 0) > 0.5
