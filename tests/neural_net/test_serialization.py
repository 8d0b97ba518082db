"""Saved networks come back to the bit, and files that do not fit are rejected with the reason.

How damaged npz files are read is tested in test_npz.py.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neural_net import Linear, Network, StorageError, Tanh, fit, load, save
from neural_net.npz import npz_bytes, read_npz

LAYERS = [
    {"reshape": {"shape": [8, 2]}}, {"conv1d": {"filters": 3, "kernel_size": 2, "stride": 2, "padding": "valid"}},
    "batch_norm", {"leaky_relu": {"slope": 0.3}},
    {"residual": {"layers": [{"residual": {"layers": [{"conv1d": {"filters": 3}}, "batch_norm"]}}, "layer_norm"]}},
    {"max_pool1d": {"stride": 1}}, {"linear": {"n_out": 2, "use_bias": False}}, {"gelu": {"approximate": False}},
    "flatten", {"dropout": {"rate": 0.2}}, {"linear": {"n_out": 3, "bias_init": "ones"}},
]  # fmt: skip


def trained(dtype: Any = np.float32, classes: Any = None) -> Network:
    """A network of everything, whose running statistics have moved."""
    network = Network(LAYERS, 16, rng=np.random.default_rng(0), dtype=dtype, classes=classes)
    X = np.random.default_rng(1).normal(size=(30, 16))
    fit(network, X, np.arange(30) % 3, rng=np.random.default_rng(0), epochs=3, batch_size=10)
    return network


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save(trained(), tmp_path, {"note": "a note"})
    return tmp_path


# There and back
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("classes", [None, [0, 1, 2], ["one", "two", "three"], np.array([5, 7, 9]), [0.5, 1.5, 2.5]])
def test_a_loaded_network_is_the_same_and_equal_networks_have_equal_bytes(
    dtype: Any, classes: Any, tmp_path: Path, rng: np.random.Generator
) -> None:
    network, X, extra = trained(dtype, classes), rng.normal(size=(1500, 16)), {"scaler": [0, 100], "name": "é"}
    folders = [tmp_path / "new" / name for name in "abc"]
    save(network, folders[0], extra)
    loaded, found = load(folders[0])
    assert found == extra
    assert loaded.outputs(X).tobytes() == network.outputs(X).tobytes()
    assert np.array_equal(loaded.predict(X), network.predict(X))
    save(loaded, folders[1], extra)  # each option too
    save(trained(dtype, classes), folders[2], extra)
    first, *others = ({path.name: path.read_bytes() for path in folder.iterdir()} for folder in folders)
    assert others == [first, first]
    assert sorted(first) == ["network.json", "network.npz"]


def test_options_that_came_later_are_left_out_at_their_defaults() -> None:
    """Files of networks without them stay the same bytes, and earlier versions read them."""
    layers = [{"conv1d": {"filters": 2}}, "gelu", "max_pool1d", "flatten", {"linear": {"n_out": 2}}]
    names = [key for layer in Network(layers, (4, 1), rng=np.random.default_rng(0)).layers for key in layer.config()]
    conv = ["filters", "kernel_size", "stride", "padding", "init", "bias_init"]
    assert names == [*conv, "size", "n_out", "n_in", "init", "bias_init"]


def test_saving_replaces_the_files_and_takes_text_and_numpys_numbers(folder: Path, tmp_path: Path) -> None:
    save(Network([Linear(2)], 3, rng=np.random.default_rng(0)), str(folder))
    assert load(str(folder))[0].shape_in == (3,)
    assert len(list(folder.iterdir())) == 2
    layers = [{"leaky_relu": {"slope": np.float32(0.25)}}, Linear(np.int64(2), n_in=np.int64(3))]
    save(Network(layers, 3, rng=np.random.default_rng(0)), tmp_path, {"n": np.int64(7)})
    network, extra = load(tmp_path)
    assert (network.layers[0].config(), extra) == ({"slope": 0.25}, {"n": 7})


@pytest.mark.parametrize(("network", "extra", "message"), [
    (lambda rng: Network([Linear(2)], rng=rng), {}, "a network without sizes cannot be saved"),
    (lambda rng: Network([type("Mine", (Tanh,), {})()], 2, rng=rng), {}, "Mine is not registered"),
    (lambda rng: Network(["tanh"], 2, rng=rng), {"x": np.nan}, "not JSON compliant"),
    (lambda rng: Network(["tanh"], 2, rng=rng), {"x": {1}}, r"json cannot hold \{1\} of type set"),
])  # fmt: skip
def test_what_cannot_be_saved_is_named(network: Any, extra: Any, message: str, tmp_path: Path, rng: Any) -> None:
    with pytest.raises(ValueError, match=message):
        save(network(rng), tmp_path / "folder", extra)
    assert not (tmp_path / "folder").exists()


# The json file
def rewrite_json(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    path = folder / "network.json"
    description = json.loads(path.read_text())
    change(description)
    path.write_text(json.dumps(description))


@pytest.mark.parametrize(("change", "message"), [
    ({"format": 2}, "has format 2, and this version reads format 1; a newer version of this project wrote it"),
    ({"format": 0}, "has format 0, and this version reads format 1$"),
    ({"dtype": "float16"}, "a network's dtype must be float32 or float64, got float16"),
    ({"shape_in": []}, "layer|shape"),
    ({"shape_in": [-16]}, r"shape_in must list numbers greater than 0, got \[-16\]"),
    ({"shape_in": [20]}, r"reshape1 cannot make samples of shape \(8, 2\) out of \(20,\)"),
    ({"classes": ["a", "b"]}, "classes must be 3 labels, one for each output, got"),
    ({"classes": [[1], [2, 3], [4]]}, "classes must be 3 labels"),
    ({"layers": [None]}, "got None"),
    ({"frozen": ["linear9"]}, "frozen must list layers of this network, got 'linear9'"),
    ({"layers": [{"reshape": {"shape": [float("inf")]}}]}, "shape must be a whole number"),
    ({"layers": ["flatten"]}, "the array conv1d1.W belongs to no layer of this network"),
])  # fmt: skip
def test_a_changed_json_is_rejected(change: dict[str, Any], message: str, folder: Path) -> None:
    rewrite_json(folder, lambda description: description.update(change))
    with pytest.raises(StorageError, match=message) as error:
        load(folder)
    assert str(folder) in str(error.value)


@pytest.mark.parametrize("key", ["format", "dtype", "shape_in", "classes", "layers", "extra"])
def test_a_missing_key_is_named(key: str, folder: Path) -> None:
    rewrite_json(folder, lambda description: description.pop(key))
    with pytest.raises(StorageError, match=key):
        load(folder)


@pytest.mark.parametrize("text", [b"{", b"\xff\xfe", b"[" * 100_000, b"[]"])
def test_what_is_no_json_is_rejected(text: bytes, folder: Path) -> None:
    (folder / "network.json").write_bytes(text)
    with pytest.raises(StorageError, match=r"network\.json"):
        load(folder)


# The npz file


FULL = np.zeros((6, 3), np.float32)  # the shape of linear2.W


@pytest.mark.parametrize(("name", "array", "message"), [
    ("linear2.W", None, "the array linear2.W is missing"),
    ("batchnorm2.mean", None, "the array batchnorm2.mean is missing"),
    ("linear3.W", FULL, "the array linear3.W belongs to no layer of this network"),
    ("linear2.W", FULL.T, r"the array linear2.W must have shape \(6, 3\), got \(3, 6\)"),
    ("batchnorm2.mean", np.zeros(4, "f4"), r"batchnorm2.mean must have shape \(3,\), got \(4,\)"),
    ("linear2.W", FULL.astype("f8"), "the array linear2.W must have dtype float32, got float64"),
    ("linear2.W", FULL + np.float32(np.inf), "the array linear2.W holds NaN or infinity"),
    ("batchnorm1.variance", np.full(3, -1, "f4"), "batchnorm1.variance holds numbers less than 0"),
])  # fmt: skip
def test_a_changed_array_is_rejected(name: str, array: Any, message: str, folder: Path) -> None:
    path = folder / "network.npz"
    arrays = read_npz(path.read_bytes()) | {name: array}
    path.write_bytes(npz_bytes({name: array for name, array in arrays.items() if array is not None}))
    with pytest.raises(StorageError, match=message) as error:
        load(folder)
    assert str(path) in str(error.value)
