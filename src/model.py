"""The trained network with all that it needs to read raw coordinates: what is saved, evaluated and served."""

import math
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

import custom  # noqa: F401 (so that params.yaml and saved networks may name the parts in it)
from neural_net import Network, storage
from neural_net.activations import softmax
from neural_net.base import one_line
from stage import StageError, locked
from utils import scale_features

CLASSES = tuple(range(10))
N_COORDINATES = 16  # x1, y1, ..., x8, y8


class PenDigitsModel:
    """A network over scaled pen paths.

    Attributes:
        network: takes coordinates scaled to [-1, 1], (rows, 16), and gives logits, (rows, 10).
        dataset: what it was trained on.
        temperature: what the logits are divided by before they become probabilities.
    """

    def __init__(self, network: Network, dataset: str, temperature: float = 1.0) -> None:
        self.network, self.dataset, self.temperature = network, dataset, temperature

    @property
    def classes(self) -> tuple[int, ...]:
        return CLASSES

    def scale(self, X: ArrayLike) -> NDArray[np.float32]:
        """Check raw coordinates and scale them: (rows, 16) from 0..100 to -1..1.

        Raises:
            ValueError: if a row has not 16 numbers, or a number lies outside 0..100.
        """
        X = np.asarray(X, dtype=np.float64)
        if X.ndim != 2 or X.shape[1] != N_COORDINATES:
            raise ValueError(f"expected rows of {N_COORDINATES} coordinates x1, y1, ..., x8, y8, got shape {X.shape}")
        if not ((X >= 0) & (X <= 100)).all():
            raise ValueError("expected coordinates from 0 to 100")
        return scale_features(X).astype(np.float32)

    def probabilities(self, X: NDArray) -> NDArray[np.float32]:
        """The probability of each digit, (rows, 10), from scaled coordinates."""
        logits = self.network.outputs(X)
        logits /= self.temperature
        return softmax(logits, out=logits) if len(logits) else logits

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float32]:
        """The probability of each digit, (rows, 10), from raw coordinates 0..100."""
        return self.probabilities(self.scale(X))

    def predict(self, X: ArrayLike) -> NDArray[np.int64]:
        """The most probable digit of each row, from raw coordinates 0..100."""
        return self.predict_proba(X).argmax(axis=1)


def save_model(model: PenDigitsModel, folder: Path) -> None:
    """Write network.npz and network.json; the scaler's bounds and the data set travel in the latter."""
    extra = {"dataset": model.dataset, "scaler": {"low": 0, "high": 100}, "temperature": model.temperature}
    with locked(folder):  # a process whose DVC was killed may be writing the same
        storage.save(model.network, folder, extra)


def load_model(folder: Path) -> PenDigitsModel:
    """Read what ``save_model`` wrote.

    Raises:
        StageError: if the files are not there, damaged, or hold no network over pen paths; it names the file.
    """
    try:
        network, extra = storage.load(folder)
    except FileNotFoundError as error:
        raise StageError(f"{error.filename} does not exist; `dvc repro train` makes it") from None
    except storage.StorageError as error:
        raise StageError(str(error)) from None
    dataset, temperature = extra.get("dataset"), extra.get("temperature", 1.0)
    if network.shape_in != (N_COORDINATES,) or network.n_outputs != len(CLASSES) or not isinstance(dataset, str):
        raise StageError(
            f"{folder} holds a network, but not one over the {N_COORDINATES} coordinates of pen-written digits"
        )
    if not isinstance(temperature, int | float) or not 0 < temperature < math.inf:
        raise StageError(
            f"{folder} holds a network with a temperature that is no positive number: {one_line(temperature, 60)}"
        )
    return PenDigitsModel(network, dataset, temperature)
