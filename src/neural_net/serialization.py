"""Saved networks: ``network.npz`` holds the arrays, ``network.json`` how to make the network. Neither can run code.

The json file has the version of the format, the dtype, the shape of a sample, the classes, the layers as ``make_layer``
takes them, the names of frozen layers if there are any, the task if it is not classification, and ``extra``, which
belongs to the caller. The npz file has an array for each parameter and each state, named ``layer.name``: ``linear1.W``,
``batchnorm1.mean``. Equal networks give equal bytes.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .answers import TASKS
from .layers import layer_spec
from .network import Network
from .npz import NpzError, npz_bytes, read_npz
from .parts import lookup
from .values import Array, Shape, of_type

FORMAT = 1


class StorageError(ValueError):
    """A saved network cannot be read; the message names the file and may repeat text from it, printable or not."""


def save(network: Network, folder: Path | str, extra: Mapping[str, Any] | None = None) -> None:
    """Write the files of ``network_files`` into ``folder``, each whole or not at all."""
    folder, files = Path(folder), network_files(network, extra)
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        partial = folder / f".{name}.part"
        partial.write_bytes(data)
        partial.replace(folder / name)


def network_files(network: Network, extra: Mapping[str, Any] | None = None) -> dict[str, bytes]:
    """The contents of network.npz and network.json.

    Args:
        extra: anything that json can hold; ``load`` returns it.

    Raises:
        ValueError: if a layer's class is not registered, or the network does not know its sizes yet.
    """
    if not of_type(Network, "what is saved", network).built:
        raise ValueError("a network without sizes cannot be saved; build it, or show it data first")
    description = {
        "format": FORMAT,
        "dtype": str(network.dtype),
        "shape_in": list(network.shape_in),
        "classes": None if network.classes is None else network.classes.tolist(),
        "layers": [layer_spec(layer) for layer in network.chain.layers],
        "extra": dict(extra or {}),
    }
    if frozen := [layer.name for layer in network.walk() if not layer.trainable]:
        description["frozen"] = frozen
    if network.task != "classification":
        description["task"] = network.task
    text = json.dumps(description, indent=2, allow_nan=False, default=_plain) + "\n"
    return {"network.npz": npz_bytes(dict(_arrays(network))), "network.json": text.encode()}


def _plain(value: Any) -> Any:
    """NumPy's numbers as Python's, which json can write."""
    if isinstance(value, np.generic):
        return value.item()
    raise ValueError(f"json cannot hold {value!r} of type {type(value).__name__}")


def load(folder: Path | str) -> tuple[Network, dict[str, Any]]:
    """Read a saved network; returns the network, whose predictions are exactly the same as before, and ``extra``.

    Raises:
        StorageError: if a file is damaged or has a newer format, or an array is missing, unexpected, of another shape
            or dtype, not finite, or a variance less than 0.
        FileNotFoundError: if a file is missing.
    """
    folder = Path(folder)
    description = _description(folder / "network.json")
    path = folder / "network.npz"
    try:
        network = Network(description["layers"], dtype=description["dtype"], rng=np.random.default_rng(0))
        network.chain.build(tuple(description["shape_in"]))
        classes = _classes(description["classes"], network.shape_out[-1])
        _freeze(network, description.get("frozen", []))
        network.task = description.get("task", "classification")
        lookup("task", TASKS, network.task)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise StorageError(f"{folder / 'network.json'}: {error}") from None
    try:
        _fill(network, tuple(description["shape_in"]), read_npz(_content(path)))
    except NpzError as error:
        raise StorageError(f"{path}: {error}") from None
    network.classes = classes
    return network, description["extra"]


def _fill(network: Network, shape_in: Shape, arrays: Mapping[str, Array]) -> None:
    """Build the network and copy a file's arrays into it; NpzError unless they are exactly those that it needs."""
    for layer, name, parameter in network.parameters():  # before allocating as much memory as the json file asks for
        _check(arrays, f"{layer.name}.{name}", parameter.shape, network.dtype)
    network.build(shape_in)
    places = dict(_arrays(network))
    for name in arrays:
        if name not in places:
            raise NpzError(f"the array {name} belongs to no layer of this network")
    for name, place in places.items():
        _check(arrays, name, place.shape, network.dtype)
        place[...] = arrays[name]
        if not np.isfinite(place).all():
            raise NpzError(f"the array {name} holds NaN or infinity")
        if name.endswith(".variance") and (place < 0).any():
            raise NpzError(f"the array {name} holds numbers less than 0")


def _freeze(network: Network, names: list[str]) -> None:
    layers = {layer.name: layer for layer in network.walk()}
    for name in names:
        if name not in layers:
            raise ValueError(f"frozen must list layers of this network, got {name!r}")
        layers[name]._trainable = False


def _classes(classes: list[Any] | None, n_outputs: int) -> Array | None:
    if classes is None:
        return None
    if len(classes) != n_outputs or not all(isinstance(label, str | int | float) for label in classes):
        raise ValueError(f"classes must be {n_outputs} labels, one for each output, got {classes}")
    return np.asarray(classes)


def _arrays(network: Network) -> Iterator[tuple[str, Array]]:
    """The name and a view of every array of the network, in the order of its layers."""
    for layer in network.walk():
        for name, array in layer.arrays().items():
            yield f"{layer.name}.{name}", array


_KEYS = {"format": int, "dtype": str, "shape_in": list, "classes": list | None, "layers": list, "extra": dict}


def _description(path: Path) -> dict[str, Any]:
    try:
        description = json.loads(_content(path).decode())
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


def _content(path: Path) -> bytes:
    if path.exists() and not (path.is_file() or path.is_dir()):  # reading from a pipe or a device may never end
        raise StorageError(f"{path} is not a file")
    return path.read_bytes()


def _check(arrays: Mapping[str, Array], name: str, shape: Shape, dtype: np.dtype[Any]) -> None:
    if name not in arrays:
        raise NpzError(f"the array {name} is missing")
    if arrays[name].shape != shape:
        raise NpzError(f"the array {name} must have shape {shape}, got {arrays[name].shape}")
    if arrays[name].dtype != dtype:
        raise NpzError(f"the array {name} must have dtype {dtype}, got {arrays[name].dtype}")
