"""Saved networks: ``network.npz`` holds the arrays, ``network.json`` how the network is made. Neither can run code.

The json file has the format's version, dtype, the shape of a sample, the classes, the layers as ``make_layer`` takes
them, and whatever else the caller wants to travel along. The npz file has one array a parameter and a state, named
``layer.name``: ``linear1.W``, ``batchnorm1.mean``. Equal networks give equal bytes.
"""

import io
import json
import math
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .base import Array, RefusalError, Shape
from .layers import layer_spec
from .network import Network

FORMAT = 1


class StorageError(RefusalError):
    """A saved network cannot be read; the message names the file and what is wrong with it."""


def save(network: Network, folder: Path | str, extra: Mapping[str, Any] | None = None) -> None:
    """Write a network into ``folder``, as network.npz and network.json.

    Args:
        extra: whatever json can hold, to travel with the network; ``load`` hands it back.

    Raises:
        ValueError: if a layer is not registered under a name, or the network was not built yet.
    """
    if not network.built:
        raise ValueError("a network without sizes cannot be saved; build it, or show it data first")
    description = {
        "format": FORMAT,
        "dtype": str(network.dtype),
        "shape_in": list(network.shape_in),
        "classes": None if network.classes is None else network.classes.tolist(),
        "layers": [layer_spec(layer) for layer in network.layers],
        "extra": dict(extra or {}),
    }
    text = json.dumps(description, indent=2, allow_nan=False, default=_plain) + "\n"
    content, folder = io.BytesIO(), Path(folder)
    np.savez(content, **dict(_arrays(network)))  # type: ignore[arg-type]
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in (("network.npz", content.getvalue()), ("network.json", text.encode())):
        partial = folder / f".{name}.part"
        partial.write_bytes(data)
        partial.replace(folder / name)


def _plain(value: Any) -> Any:
    """NumPy's numbers as Python's, which json knows."""
    if isinstance(value, np.generic):
        return value.item()
    raise ValueError(f"json cannot hold {value!r} of type {type(value).__name__}")


def load(folder: Path | str) -> tuple[Network, dict[str, Any]]:
    """Read what ``save`` wrote; returns the network, which predicts exactly as before, and ``extra``.

    Raises:
        StorageError: for a file that is damaged or of a newer format, and for an array that is missing, not expected,
            or of another shape or dtype, or a variance less than 0, each by name.
        FileNotFoundError: if a file is not there.
    """
    folder = Path(folder)
    description = _description(folder / "network.json")
    path = folder / "network.npz"
    try:
        network = Network(description["layers"], dtype=description["dtype"], rng=np.random.default_rng(0))
        network.chain.build(tuple(description["shape_in"]))
        classes = _classes(description["classes"], network.n_outputs)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise StorageError(f"{folder / 'network.json'}: {error}") from None
    expected = {f"{layer.name}.{name}": parameter.shape for layer, name, parameter in network.parameters()}
    with _opened(path) as archive:
        headers = _headers(archive, path)  # before anything is as large as the files say
        for name in expected:
            if name not in headers:
                raise StorageError(f"{path}: the array {name} is missing")
        for name, shape in expected.items():
            _check_header(path, name, headers[name], shape, network.dtype)
        network.build(tuple(description["shape_in"]))
        places = dict(_arrays(network))
        for name in headers:
            if name not in places:
                raise StorageError(f"{path}: the array {name} belongs to no layer of this network")
        for name, place in places.items():
            if name not in headers:
                raise StorageError(f"{path}: the array {name} is missing")
            _check_header(path, name, headers[name], place.shape, network.dtype)
            np.copyto(place, _read(archive, path, name))
            if not np.isfinite(place).all():
                raise StorageError(f"{path}: the array {name} holds NaN or infinity")
    for layer in network.walk():
        if "variance" in layer.state and (layer.state["variance"] < 0).any():
            raise StorageError(f"{path}: the array {layer.name}.variance holds numbers less than 0")
    network.classes = classes
    return network, description["extra"]


def _classes(classes: list[Any] | None, n_outputs: int) -> Array | None:
    if classes is None:
        return None
    if len(classes) != n_outputs or not all(isinstance(label, str | int | float) for label in classes):
        raise ValueError(f"classes must be {n_outputs} labels, one for each output, got {classes}")
    return np.asarray(classes)


def _arrays(network: Network) -> Iterator[tuple[str, Array]]:
    """Every array that makes the network what it is, as a view, with its name."""
    for layer in network.walk():
        for name in layer.parameters:
            yield f"{layer.name}.{name}", getattr(layer, name)
        for name, array in layer.state.items():
            yield f"{layer.name}.{name}", array


_KEYS = {"format": int, "dtype": str, "shape_in": list, "classes": list | None, "layers": list, "extra": dict}


def _description(path: Path) -> dict[str, Any]:
    _check_file(path)
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise StorageError(f"{path} is not valid json: {error}") from None
    if not isinstance(description, dict) or type(description.get("format")) is not int:
        raise StorageError(f"{path} is not a saved network: it names no format")
    if description["format"] != FORMAT:
        newer = "; a newer version of this project wrote it" if description["format"] > FORMAT else ""
        raise StorageError(f"{path} has format {description['format']}, and this version reads format {FORMAT}{newer}")
    for key, kind in _KEYS.items():
        if key not in description or not isinstance(description[key], kind):
            raise StorageError(f"{path}: {key} is missing or of the wrong type")
    shape_in = description["shape_in"]
    if not shape_in or not all(isinstance(n, int) and 0 < n < 10**6 for n in shape_in):
        raise StorageError(f"{path}: shape_in must list numbers greater than 0, got {shape_in}")
    return description


def _check_file(path: Path) -> None:
    if path.exists() and not (path.is_file() or path.is_dir()):  # a pipe or a device may have no end
        raise StorageError(f"{path} is not a file")


def _opened(path: Path) -> zipfile.ZipFile:
    _check_file(path)
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError) as error:
        raise StorageError(f"{path} is not a whole npz file: {error}") from None
    if sum(member.file_size for member in archive.infolist()) > path.stat().st_size:
        archive.close()
        raise StorageError(f"{path}: its arrays are larger than the file; ours are not compressed")
    return archive


_UNREADABLE = (
    *(ValueError, OSError, EOFError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error),
    *(SyntaxError, tokenize.TokenError),  # NumPy takes a damaged header apart as if an old Python had written it
)


def _headers(archive: zipfile.ZipFile, path: Path) -> dict[str, tuple[Shape, np.dtype[Any]]]:
    headers: dict[str, tuple[Shape, np.dtype[Any]]] = {}
    for member in archive.infolist():
        name = member.filename.removesuffix(".npy")
        if name in headers:
            raise StorageError(f"{path}: the array {name} is there twice")
        try:
            with archive.open(f"{name}.npy") as stream:
                version = np.lib.format.read_magic(stream)
                read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                shape, _, dtype = read(stream)
        except _UNREADABLE as error:
            raise StorageError(f"{path}: the array {name} cannot be read: {error}") from None
        if math.prod(shape) * dtype.itemsize > member.compress_size:  # ours are not compressed, so no less will do
            raise StorageError(f"{path}: the array {name} claims shape {shape}, and its data are too short for that")
        headers[name] = shape, dtype
    return headers


def _check_header(
    path: Path, name: str, header: tuple[Shape, np.dtype[Any]], shape: Shape, dtype: np.dtype[Any]
) -> None:
    if header[0] != shape:
        raise StorageError(f"{path}: the array {name} must have shape {shape}, got {header[0]}")
    if header[1] != dtype:
        raise StorageError(f"{path}: the array {name} must have dtype {dtype}, got {header[1]}")


def _read(archive: zipfile.ZipFile, path: Path, name: str) -> Array:
    try:
        with archive.open(f"{name}.npy") as stream:
            return np.lib.format.read_array(stream, allow_pickle=False)
    except _UNREADABLE as error:
        raise StorageError(f"{path}: the array {name} cannot be read: {error}") from None
