"""Nothing that the project reads can run code: no reader of ours knows how."""

import ast
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from test_checkpoint import signed
from test_end_to_end import ROOT

from checkpoint import CheckpointError, unpack
from neural_net import storage

SOURCES = sorted((ROOT / "src").rglob("*.py"))
MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "jsonpickle", "torch"}
CALLS = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "yaml.unsafe_load", "yaml.full_load"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_no_module_can_run_what_it_reads(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            assert not {name.partition(".")[0] for name in names} & MODULES
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            options = {option.arg: ast.unparse(option.value) for option in node.keywords}
            assert called not in CALLS
            assert options.get("shell", "False") == "False"
            assert options.get("allow_pickle", "False") == "False"
            if called == "np.load":
                assert options["allow_pickle"] == "False"
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
    with pytest.raises(storage.StorageError):
        storage.load(Path())
    with pytest.raises(CheckpointError):
        unpack(signed(Path("state.npz").read_bytes()))
    Path("network.npz").write_bytes(pickle.dumps(Planted()))
    with pytest.raises(storage.StorageError):
        storage.load(Path())
    with pytest.raises(CheckpointError):
        unpack(signed(pickle.dumps(Planted())))
    assert not Path("it ran").exists()
