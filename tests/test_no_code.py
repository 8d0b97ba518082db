"""Nothing that the project reads can run code: no reader of ours knows how."""

import ast
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.runtime.test_checkpoint import signed
from tests.test_end_to_end import ROOT

import train
from neural_net import serialization
from pen.strokes import read_strokes
from pipeline.errors import StageError
from pipeline.params import ParamsError, load_params
from runtime.checkpoint import Checkpoint, CheckpointError, unpack
from tracking import messages
from tracking.run import read_params

SOURCES = sorted(path for folder in ("src", "benchmarks", ".ci") for path in (ROOT / folder).rglob("*.py"))
MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "jsonpickle", "torch"}
CALLS = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "yaml.unsafe_load", "yaml.full_load"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_no_module_can_run_what_it_reads(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            allowed = {"torch"} if path.parent.name == "benchmarks" else set()
            assert not {name.partition(".")[0] for name in names} & MODULES - allowed
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            options = {option.arg: ast.unparse(option.value) for option in node.keywords}
            assert called not in CALLS
            assert options.get("shell", "False") == "False"
            assert options.get("allow_pickle", "False") == "False"
            if called == "np.load":
                assert options["allow_pickle"] == "False"
            if called in ("np.savez", "np.save", "np.savez_compressed", "pickle.dump"):
                assert called == "np.savez"  # of arrays that are numbers: an array of objects would be pickled
            if called == "yaml.load":
                assert options["Loader"] == "_Loader"  # params.py's, which is a SafeLoader


class Planted:
    """Runs code of its own when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("it ran"),)  # type: ignore[return-value]


def test_a_planted_pickle_is_refused_and_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pickle.loads(pickle.dumps(Planted()))  # noqa: S301 (to see that it would)
    assert Path("it ran").exists()
    Path("it ran").unlink()
    layers = [{"linear": {"n_out": 1}}]
    told = {"format": 1, "dtype": "float32", "shape_in": [2], "classes": None, "layers": layers, "extra": {}}
    Path("network.json").write_text(json.dumps(told))
    weights = np.array([[Planted()], [Planted()]], dtype=object)
    np.savez("network.npz", **{"linear1.W": weights, "linear1.b": np.zeros(1, "f4")})
    np.savez("state.npz", json=np.array([Planted()], dtype=object))
    with pytest.raises(serialization.StorageError):
        serialization.load(Path())
    with pytest.raises(CheckpointError):
        unpack(signed(Path("state.npz").read_bytes()))
    Path("network.npz").write_bytes(pickle.dumps(Planted()))
    with pytest.raises(serialization.StorageError):
        serialization.load(Path())
    with pytest.raises(CheckpointError):
        unpack(signed(pickle.dumps(Planted())))
    assert not Path("it ran").exists()


def planted_files() -> dict[str, bytes]:
    """Files that run code when they are unpickled: a bare pickle, a npy file, and npz files of one name or another."""
    objects = np.array([Planted()], dtype=object)
    np.save("planted.npy", objects, allow_pickle=True)
    np.savez("planted.npz", X=objects, y=objects, points=objects, stroke=objects)
    np.savez_compressed("small.npz", X=objects, y=objects, points=objects, stroke=objects)
    return {
        "a pickle": pickle.dumps(Planted()),
        "a npy file": Path("planted.npy").read_bytes(),
        "a npz file": Path("planted.npz").read_bytes(),
        "a small npz file": Path("small.npz").read_bytes(),
    }


READERS: dict[str, tuple[Callable[[Path], object], type[Exception]]] = {
    "rows": (lambda path: train.load_rows(path, 16, ("X", "y")), StageError),
    "ink": (read_strokes, StageError),
    "params.yaml": (load_params, ParamsError),
    "a run's params.yaml": (lambda path: read_params(path.parent), ParamsError),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("planted", ["a pickle", "a npy file", "a npz file", "a small npz file"])
def test_what_stages_hand_on_runs_nothing(
    reader: str, planted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_bytes(planted_files()[planted])
    read, refusal = READERS[reader]
    with pytest.raises(refusal) as refused:
        read(tmp_path / "params.yaml")
    assert str(refused.value).isprintable()
    assert not Path("it ran").exists()


def test_a_checkpoint_of_pickles_is_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for content in planted_files().values():
        for written in (content, signed(content, "kept")):
            Path("kept").write_bytes(written)
            assert Checkpoint(Path("kept")).load() is None
    assert not Path("it ran").exists()


MLMODEL = """
flavors:
  python_function:
    cloudpickle_version: 3.1.1
    loader_module: mlflow.pyfunc.model
    python_model: python_model.pkl
    python_version: 3.11.0
model_uuid: 0123456789abcdef0123456789abcdef
"""
LOAD = """
import os, sys, warnings
import mlflow
from mlflow.exceptions import MlflowException

warnings.simplefilter("ignore")
try:
    mlflow.pyfunc.load_model("model")
except MlflowException as error:
    print("pickle is disallowed" in str(error), os.path.exists("it ran"))
os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] = "true"
try:
    mlflow.pyfunc.load_model("model")
except Exception:
    print(os.path.exists("it ran"))
"""


def test_mlflow_is_told_to_unpickle_no_model(tmp_path: Path) -> None:
    """A model's folder whose MLmodel asks for a pickle; loaded as the project's own processes would load it."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "MLmodel").write_text(MLMODEL)
    (tmp_path / "model" / "python_model.pkl").write_bytes(pickle.dumps(Planted()))
    environment = os.environ | messages.ENVIRONMENT
    done = subprocess.run(
        [sys.executable, "-c", LOAD], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["True", "False", "True"]  # refused; it did not run; where it is allowed, it does
