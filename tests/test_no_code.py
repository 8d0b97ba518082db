"""Nothing that the project reads can run code: no reader of ours knows how. (ruff's S rules look at the sources.)"""

import hashlib
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from neural_net import serialization
from pipeline.errors import StageError
from pipeline.model import read_model
from pipeline.params import ParamsError, load_params
from pipeline.rows import read_rows, read_strokes
from pipeline.tables import read_table
from runtime.checkpoint import MAGIC, CheckpointError, unpack
from tracking.address import ENVIRONMENT
from tracking.contents import read_params


class Planted:
    """Runs code of its own when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("it ran"),)  # type: ignore[return-value]


@pytest.fixture(autouse=True)
def nothing_ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test has an empty folder, in which a planted pickle would leave a file."""
    monkeypatch.chdir(tmp_path)
    pickle.loads(pickle.dumps(Planted()))  # noqa: S301 (to see that it would)
    Path("it ran").unlink()


def planted_files() -> list[bytes]:
    """Files that run code when they are unpickled: a bare pickle, a npy file, and npz files of all names."""
    objects = np.array([[Planted()]], dtype=object)
    names = ["X", "y", "writer", "row", "points", "stroke", "json", "linear1.W", "linear1.b"]
    np.save("planted.npy", objects, allow_pickle=True)
    np.savez("planted.npz", **dict.fromkeys(names, objects))
    np.savez_compressed("small.npz", **dict.fromkeys(names, objects))
    written = [Path(name).read_bytes() for name in ("planted.npy", "planted.npz", "small.npz")]
    sums = [hashlib.sha256(b"file" + content).hexdigest().encode() for content in written]  # right, as of a checkpoint
    signed = [MAGIC + checksum + b"\n" + content for checksum, content in zip(sums, written, strict=True)]
    return [pickle.dumps(Planted()), *written, *signed]


def read_network(path: Path) -> object:
    layers = [{"linear": {"n_out": 1}}]
    told = {"format": 1, "dtype": "float32", "shape_in": [1], "classes": None, "layers": layers, "extra": {}}
    path.with_name("network.json").write_text(json.dumps(told))
    return serialization.load(path.parent)


READERS: dict[str, tuple[str, Callable[[Path], object], type[Exception]]] = {
    "rows": ("data/split/train.npz", lambda _: read_rows("train", 16), StageError),
    "ink": ("data/split/train_ink.npz", lambda path: read_strokes(path, 1), StageError),
    "a table": ("file.csv", lambda path: read_table(path, ["digit"]), StageError),
    "params.yaml": ("params.yaml", load_params, ParamsError),
    "a run's params.yaml": ("params.yaml", lambda path: read_params(path.parent), ParamsError),
    "a network": ("network.npz", read_network, serialization.StorageError),
    "a network's json": ("models/network.json", lambda _: read_model(), StageError),
    "a checkpoint": ("file", lambda path: unpack(path.read_bytes(), path.name), CheckpointError),
}


@pytest.mark.parametrize("reader", READERS)
def test_a_planted_pickle_is_refused_and_does_not_run(reader: str) -> None:
    name, read, refusal = READERS[reader]
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    (path.parent / "network.npz").touch()
    for content in planted_files():
        path.write_bytes(content)
        with pytest.raises(refusal) as refused:
            read(path)
        assert str(refused.value).isprintable()
    assert not Path("it ran").exists()


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


def test_mlflow_unpickles_no_model() -> None:
    """A model's folder whose MLmodel asks for a pickle; loaded as the project's own processes would load it."""
    Path("model").mkdir()
    Path("model/MLmodel").write_text(MLMODEL)
    Path("model/python_model.pkl").write_bytes(pickle.dumps(Planted()))
    command = [sys.executable, "-c", LOAD]
    done = subprocess.run(command, env=os.environ | ENVIRONMENT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]  # it does not run; where a user allows it, it does
