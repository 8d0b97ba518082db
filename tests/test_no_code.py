"""MLflow reads no model that could run code. (Of our readers, tests/tools/lies.py and ruff's S rules see to that.)"""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from tracking.address import ENVIRONMENT


class Planted:
    """Runs code of its own when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("it ran"),)  # type: ignore[return-value]


MLMODEL = """
flavors:
  python_function: {cloudpickle_version: 3.1.1, loader_module: mlflow.pyfunc.model, python_model: python_model.pkl}
model_uuid: 0123456789abcdef0123456789abcdef
"""
LOAD = """
import contextlib, os, mlflow, warnings
warnings.simplefilter("ignore")
for allowed in ({}, {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "true"}):
    os.environ |= allowed
    with contextlib.suppress(mlflow.MlflowException, AttributeError):
        mlflow.pyfunc.load_model("model")
    print(os.path.exists("it ran"))
"""


def test_mlflow_unpickles_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model's folder whose MLmodel asks for a pickle; loaded as the project's own processes would load it."""
    monkeypatch.chdir(tmp_path)
    Path("model").mkdir()
    Path("model/MLmodel").write_text(MLMODEL)
    Path("model/python_model.pkl").write_bytes(pickle.dumps(Planted()))
    command = [sys.executable, "-c", LOAD]
    done = subprocess.run(command, env=os.environ | ENVIRONMENT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]  # it does not run; where a user allows it, it does
