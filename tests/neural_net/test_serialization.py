"""Storage: what is saved comes back to the bit, and what was tampered with is refused by name, without running it."""

import io
import json
import os
import pickle
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neural_net import ACTIVATIONS, Linear, Network, StorageError, Tanh, fit, load, save

LAYERS = [
    {"reshape": {"shape": [8, 2]}},
    {"conv1d": {"filters": 3, "kernel_size": 2, "stride": 2, "padding": "valid"}},
    "batch_norm",
    {"leaky_relu": {"slope": 0.3}},
    {"residual": {"layers": [{"residual": {"layers": [{"conv1d": {"filters": 3}}, "batch_norm"]}}, "layer_norm"]}},
    "max_pool1d",
    "flatten",
    {"dropout": {"rate": 0.2}},
    {"linear": {"n_out": 3, "bias_init": "ones"}},
]


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
def test_a_loaded_network_is_the_same(dtype: Any, classes: Any, tmp_path: Path, rng: np.random.Generator) -> None:
    network = trained(dtype, classes)
    save(network, tmp_path / "new" / "folder", {"scaler": [0, 100], "name": "é"})
    loaded, extra = load(tmp_path / "new" / "folder")
    X = rng.normal(size=(1500, 16))
    assert loaded.outputs(X).tobytes() == network.outputs(X).tobytes()
    assert loaded.params.tobytes() == network.params.tobytes()
    assert np.array_equal(loaded.predict(X), network.predict(X))
    assert loaded.summary() == network.summary()
    assert extra == {"scaler": [0, 100], "name": "é"}


def test_a_loaded_network_trains_on_like_the_original(tmp_path: Path, rng: np.random.Generator) -> None:
    network = trained()
    save(network, tmp_path)
    loaded, _ = load(tmp_path)
    X, weights = rng.normal(size=(30, 16)), []
    for either in (network, loaded):
        fit(either, X, np.arange(30) % 3, rng=np.random.default_rng(5), epochs=2)
        weights.append(either.params.tobytes())
    assert weights[0] == weights[1]


def test_the_same_network_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save(trained(), tmp_path / name)
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["network.json", "network.npz"]
    for name in ("network.json", "network.npz"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_the_folder_may_be_text(tmp_path: Path) -> None:
    network = trained()
    save(network, f"{tmp_path}/new")
    assert np.array_equal(load(f"{tmp_path}/new")[0].params, network.params)


def test_saving_replaces_what_was_there(folder: Path) -> None:
    save(Network([Linear(2)], 3, rng=np.random.default_rng(0)), folder)
    assert load(folder)[0].shape_in == (3,)
    assert len(list(folder.iterdir())) == 2


def test_numpys_numbers_may_be_options_and_extra(tmp_path: Path) -> None:
    layers = [{"leaky_relu": {"slope": np.float32(0.25)}}, Linear(np.int64(2), n_in=np.int64(3))]
    save(Network(layers, 3, rng=np.random.default_rng(0)), tmp_path, {"n": np.int64(7)})
    network, extra = load(tmp_path)
    assert network.layers[0].config() == {"slope": 0.25}
    assert extra == {"n": 7}


@pytest.mark.parametrize(
    ("network", "extra", "message"),
    [
        (lambda rng: Network([Linear(2)], rng=rng), {}, "a network without sizes cannot be saved"),
        (lambda rng: Network([type("Mine", (Tanh,), {})()], 2, rng=rng), {}, "Mine is not registered"),
        (lambda rng: Network(["tanh"], 2, rng=rng), {"x": np.nan}, "not JSON compliant"),
        (lambda rng: Network(["tanh"], 2, rng=rng), {"x": {1}}, r"json cannot hold \{1\} of type set"),
    ],
)
def test_what_cannot_be_saved_is_named_and_leaves_no_file(
    network: Callable[[Any], Network], extra: Any, message: str, tmp_path: Path, rng: np.random.Generator
) -> None:
    with pytest.raises(ValueError, match=message):
        save(network(rng), tmp_path / "folder", extra)
    assert not (tmp_path / "folder").exists()


def test_a_users_activation_can_be_saved_once_it_has_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Times:
        def __init__(self, factor: float) -> None:
            self.factor = factor

        def Forward_prop(self, Z: np.ndarray) -> np.ndarray:
            return self.factor * Z

        def Backward_prop(self, dA: np.ndarray) -> np.ndarray:
            return self.factor * dA

    network = Network([Linear(2), Times(3.0)], 2, rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match="Times is not registered"):
        save(network, tmp_path)
    monkeypatch.setitem(ACTIVATIONS, "times", Times)  # type: ignore[arg-type]
    save(network, tmp_path)
    assert np.array_equal(load(tmp_path)[0].outputs(np.eye(2)), network.outputs(np.eye(2)))


# The json file


def rewrite_json(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    path = folder / "network.json"
    description = json.loads(path.read_text())
    change(description)
    path.write_text(json.dumps(description))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "has format 2, and this version reads format 1; a newer version of this project wrote it"),
        ({"format": 0}, "has format 0, and this version reads format 1$"),
        ({"format": "1"}, "it names no format"),
        ({"format": True}, "it names no format"),
        ({"dtype": 3}, "dtype is missing or of the wrong type"),
        ({"dtype": "float16"}, "a network's dtype must be float32 or float64, got float16"),
        ({"dtype": "object"}, "a network's dtype must be float32 or float64, got object"),
        ({"dtype": "nonsense"}, "nonsense"),
        ({"shape_in": []}, "layer|shape"),
        ({"shape_in": [-16]}, r"shape_in must list numbers greater than 0, got \[-16\]"),
        ({"shape_in": ["x" * 5000]}, r"shape_in must list numbers greater than 0, got \['xxx"),
        ({"layers": [{"linear": {"n_out": "\x1b[2J\n" * 500}}]}, "n_out must be a whole number"),
        ({"layers": [{"linear": {"\ud800\x1b[2J\n": 1}}]}, "must be one of"),
        ({"shape_in": [16.0]}, "shape_in must list numbers greater than 0"),
        ({"shape_in": [20]}, r"reshape1 cannot make samples of shape \(8, 2\) out of \(20,\)"),
        ({"classes": ["a", "b"]}, "classes must be 3 labels, one for each output, got"),
        ({"classes": [[1], [2, 3], [4]]}, "classes must be 3 labels"),
        ({"classes": [None, None, None]}, "classes must be 3 labels"),
        ({"classes": "abc"}, "classes is missing or of the wrong type"),
        ({"extra": []}, "extra is missing or of the wrong type"),
        ({"layers": {}}, "layers is missing or of the wrong type"),
        ({"layers": []}, "a network needs at least one layer"),
        ({"layers": [7]}, "got 7"),
        ({"layers": [None]}, "got None"),
        ({"layers": ["os.system"]}, "layer must be one of"),
        ({"layers": [{"linear": {"n_out": "3"}}]}, "n_out must be a whole number of at least 1, got '3'"),
        ({"layers": [{"linear": {"n_out": 1e300}}]}, "n_out must be a whole number"),
        ({"layers": [{"linear": [3]}]}, "the options of layer linear must be given by name"),
        ({"layers": [{"residual": {"layers": 3}}]}, "layer residual: "),
        ({"layers": [{"reshape": {"shape": [float("inf")]}}]}, "shape must be a whole number"),
        ({"layers": ["flatten"]}, "the array conv1d1.W belongs to no layer of this network"),
    ],
)
def test_a_changed_json_is_refused(change: dict[str, Any], message: str, folder: Path) -> None:
    rewrite_json(folder, lambda description: description.update(change))
    with pytest.raises(StorageError, match=message) as error:
        load(folder)
    assert str(folder) in str(error.value)
    assert str(error.value).isprintable()
    assert len(str(error.value)) <= 600


@pytest.mark.parametrize("key", ["format", "dtype", "shape_in", "classes", "layers", "extra"])
def test_a_missing_key_is_named(key: str, folder: Path) -> None:
    rewrite_json(folder, lambda description: description.pop(key))
    with pytest.raises(StorageError, match=key):
        load(folder)


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b"PK\x03\x04", b'{"format": ' + b"9" * 5000 + b"}"]
)
def test_what_is_no_json_is_refused(text: bytes, folder: Path) -> None:
    (folder / "network.json").write_bytes(text)
    with pytest.raises(StorageError, match=r"network\.json"):
        load(folder)


@pytest.mark.parametrize("name", ["network.json", "network.npz"])
def test_a_file_that_is_not_there(name: str, folder: Path) -> None:
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=name):
        load(folder)


# The npz file


def npy(array: np.ndarray, **header: Any) -> bytes:
    """An array as it is in an npz file, with another header if one is given."""
    stream = io.BytesIO()
    if header:
        np.lib.format.write_array_header_1_0(stream, np.lib.format.header_data_from_array_1_0(array) | header)
        stream.write(array.tobytes())
    else:
        np.lib.format.write_array(stream, array, allow_pickle=True)
    return stream.getvalue()


def npy_of(header: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode()


def rewrite_npz(folder: Path, change: Callable[[dict[str, bytes]], Any], compression: int = zipfile.ZIP_STORED) -> None:
    path = folder / "network.npz"
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def refused_without_memory(folder: Path, says: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(StorageError, match=says):
            load(folder)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


W = np.zeros((3, 6), np.float32)  # linear1.W is (6, 3)
FULL = np.zeros((6, 3), np.float32)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("linear1.W.npy", None, "the array linear1.W is missing"),
        ("batchnorm2.mean.npy", None, "the array batchnorm2.mean is missing"),
        ("linear2.W.npy", npy(FULL), "the array linear2.W belongs to no layer of this network"),
        ("linear1.W.npy", npy(W), r"the array linear1.W must have shape \(6, 3\), got \(3, 6\)"),
        ("batchnorm2.mean.npy", npy(np.zeros(4, "f4")), r"batchnorm2.mean must have shape \(3,\), got \(4,\)"),
        ("linear1.W.npy", npy(FULL.astype("f8")), "the array linear1.W must have dtype float32, got float64"),
        ("batchnorm1.variance.npy", npy(np.zeros(3, int)), "batchnorm1.variance must have dtype float32, got int64"),
        ("linear1.W.npy", npy(FULL + np.float32(np.inf)), "the array linear1.W holds NaN or infinity"),
        ("batchnorm1.variance.npy", npy(np.full(3, -1, "f4")), "batchnorm1.variance holds numbers less than 0"),
        ("linear1.W.npy", npy(FULL)[:-1], "the array linear1.W "),
        ("linear1.W.npy", npy(FULL)[:20], "the array linear1.W cannot be read"),
        ("linear1.W.npy", b"", "the array linear1.W cannot be read"),
        ("linear1.W.npy", npy(FULL).replace(b"}", b"("), "the array linear1.W cannot be read"),
        ("linear1.W.npy", b"\x93NUMPY\x09\x00" + npy(FULL)[8:], "the array linear1.W cannot be read"),
        ("linear1.W.npy", npy(FULL, shape=(10**12, 10**6)), "the array linear1.W cannot be read: cannot reshape"),
        ("linear1.W.npy", npy(FULL, shape=(-6, -3)), "the array linear1.W "),
        ("linear1.W.npy", npy(FULL, descr="|O"), "the array linear1.W "),
        ("linear1.W.npy", npy(FULL, descr="__import__('os')"), "the array linear1.W cannot be read"),
        ("linear1.W.npy", npy_of("-" * 9000 + "1"), "its header has 9001 letters"),
        ("linear1.W.npy", npy_of("{'descr': '|a4', 'fortran_order': False, 'shape': (1,)}"), "alias 'a' was"),
        ("linear1.W.npy", npy_of("-" * 900 + "1"), "the array linear1.W cannot be read"),
        ("linear1.W.npy", npy_of("{'descr': '<f4', 'fortran_order': False, 'shape': (1L,)}"), "additional header pars"),
        ("other", npy(FULL), "the array other cannot be read"),  # without .npy
        ("../outside.npy", npy(FULL), "outside belongs to no layer"),
        ("\x1b[2J\n" + "x" * 5000 + ".npy", npy(FULL), r"the array \?\[2J xxx"),
    ],
)
def test_a_changed_array_is_refused(name: str, data: bytes | None, message: str, folder: Path) -> None:
    rewrite_npz(folder, lambda members: members.pop(name) if data is None else members.update({name: data}))
    with pytest.raises(StorageError, match=message) as error:
        load(folder)
    assert str(folder / "network.npz") in str(error.value)
    assert str(error.value).isprintable()
    assert len(str(error.value)) <= 600


class Payload:
    """What runs when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


def test_a_planted_pickle_is_refused_and_not_run(folder: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    planted = np.empty((6, 3), object)
    planted[...] = Payload(trace)
    for data in (npy(planted), pickle.dumps(Payload(trace))):
        rewrite_npz(folder, lambda members, data=data: members.update({"linear1.W.npy": data}))
        with pytest.raises(StorageError, match=r"linear1\.W"):
            load(folder)
    (folder / "network.npz").write_bytes(pickle.dumps(Payload(trace)))
    with pytest.raises(StorageError, match="it is not a whole npz file"):
        load(folder)
    assert not trace.exists()
    pickle.loads(npy(planted)[npy(planted).index(b"\x80") :])  # noqa: S301 (the trap works)
    assert trace.exists()


@pytest.mark.parametrize("rest", [0, 1, 100, -1, -30])
def test_a_truncated_file_is_refused(rest: int, folder: Path) -> None:
    path = folder / "network.npz"
    path.write_bytes(path.read_bytes()[:rest])
    with pytest.raises(StorageError, match=r"network\.npz: it is not a whole npz file"):
        load(folder)


def test_an_array_twice_is_refused(folder: Path) -> None:
    with zipfile.ZipFile(folder / "network.npz", "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("linear1.W.npy", npy(FULL))
    with pytest.raises(StorageError, match=r"the array linear1\.W is there twice"):
        load(folder)


@pytest.mark.parametrize(
    ("compression", "says"),
    [
        (zipfile.ZIP_STORED, r"linear1\.W cannot be read: cannot reshape array of size 250 into shape \(30000,30000\)"),
        (zipfile.ZIP_DEFLATED, "its arrays are larger than the file"),
    ],
)
def test_huge_claims_cost_no_memory(compression: int, says: str, folder: Path) -> None:
    """Json and npz agree about a layer of gigabytes, of which the npz holds a few bytes."""
    n = 30_000
    rewrite_json(folder, lambda description: description.update(layers=[{"linear": {"n_out": n}}], shape_in=[n]))

    def claim(members: dict[str, bytes]) -> None:
        members.clear()
        zeros = bytes(1000)
        members["linear1.W.npy"] = npy(np.zeros(0, "f4"), shape=(n, n)) + zeros
        members["linear1.b.npy"] = npy(np.zeros(0, "f4"), shape=(n,)) + zeros

    rewrite_npz(folder, claim, compression)
    refused_without_memory(folder, says)


def test_a_header_that_unfolds_to_gigabytes_is_not_read(folder: Path) -> None:
    def claim(members: dict[str, bytes]) -> None:
        members["linear1.W.npy"] = b"\x93NUMPY\x02\x00" + struct.pack("<I", 10**8) + b" " * 10**8

    rewrite_npz(folder, claim, zipfile.ZIP_DEFLATED)
    refused_without_memory(folder, "its arrays are larger than the file")


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_file_that_lies_about_its_sizes_is_not_unfolded(method: int, folder: Path) -> None:
    """Of 50 MB in a few bytes, the zip's two lists say that it is 100 bytes long, packed or not."""
    rewrite_npz(folder, lambda members: members.update({"linear1.W.npy": bytes(50_000_000)}), method)
    content = bytearray((folder / "network.npz").read_bytes())
    at = -1
    while (at := content.find(b"PK\x01\x02", at + 1)) >= 0:
        content[at + 20 : at + 28] = (100).to_bytes(4, "little") * 2
    (folder / "network.npz").write_bytes(content)
    refused_without_memory(folder, "ours are not compressed")


@pytest.mark.parametrize("name", ["network.npz", "network.json"])
def test_a_pipe_is_not_waited_for(folder: Path, name: str) -> None:
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(StorageError, match=f"{name} is not a file"):
        load(folder)


@given(data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_damage_is_either_refused_or_harmless(data: st.DataObject, folder: Path) -> None:
    """Flipped bytes anywhere: a StorageError, or a network with the same predictions (in a date of the zip, say)."""
    originals = {path: path.read_bytes() for path in folder.iterdir()}
    path = folder / data.draw(st.sampled_from(["network.npz", "network.json"]))
    damaged = bytearray(originals[path])
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(damaged)
    X = np.ones((1, 16))
    try:
        loaded, _ = load(folder)
        if path.suffix == ".npz":  # in the json a changed option can be a valid one
            assert np.array_equal(loaded.outputs(X), trained().outputs(X))
    except StorageError as error:
        assert path.name in str(error) or "network.npz" in str(error)
    finally:
        path.write_bytes(originals[path])
