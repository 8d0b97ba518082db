"""The trained network with all that it needs to read raw coordinates: what is saved, evaluated and served."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import custom  # noqa: F401 (so that params.yaml and saved networks may name the parts in it)
from neural_net import Network, serialization
from neural_net.activations import softmax
from utils import one_line, scale_features, temperature_fault

from .features import FEATURE_SETS
from .ink import Ink, join_strokes
from .strokes import strokes_of

CLASSES = tuple(range(10))
N_COORDINATES = 16  # x1, y1, ..., x8, y8


class RecognizerError(ValueError):
    """A saved recognizer cannot be read; the message names the file and what is wrong with it."""


class Recognizer:
    """A network over pen paths.

    Attributes:
        network: takes rows of features, of the table coordinates scaled to [-1, 1], and gives logits, (rows, 10).
        dataset: what it was trained on.
        temperature: what the logits are divided by before they become probabilities.
        features: what it reads of a digit, by name in ``features.FEATURE_SETS``.
    """

    label = "digit"  # what it predicts

    def __init__(self, network: Network, dataset: str, temperature: float = 1.0, features: str = "table") -> None:
        self.network, self.dataset, self.temperature, self.features = network, dataset, temperature, features
        network.task = "classification"  # whatever the loss: the temperature is fitted to the softmax

    @property
    def classes(self) -> tuple[int, ...]:
        return CLASSES

    def rows(self, X: Any) -> NDArray[np.float32]:
        """Check digits as they come from outside, and make of them what the network reads: (rows, features).

        Args:
            X: coordinates from 0 to 100, (rows, 16). A network over ink takes the ink itself: a list of digits, each a
                list of strokes, each a list of points x, y, with y upwards, of any scale and in any place.

        Raises:
            ValueError: for anything else.
        """
        if self.features == "ink":
            return FEATURE_SETS["ink"].of(strokes_of(_checked_ink(X)))
        X = np.asarray(X, dtype=np.float64)
        if X.ndim != 2 or X.shape[1] != N_COORDINATES:
            raise ValueError(f"expected rows of {N_COORDINATES} coordinates x1, y1, ..., x8, y8, got shape {X.shape}")
        if not ((X >= 0) & (X <= 100)).all():
            raise ValueError("expected coordinates from 0 to 100")
        return scale_features(X).astype(np.float32)

    def probabilities(self, X: NDArray) -> NDArray[np.float32]:
        """The probability of each digit, (rows, 10), from rows of features."""
        logits = self.network.outputs(X)
        logits /= self.temperature
        return softmax(logits, out=logits) if len(logits) else logits

    def predict_proba(self, X: Any) -> NDArray[np.float32]:
        """The probability of each digit, (rows, 10), from what ``rows`` takes."""
        return self.probabilities(self.rows(X))

    def predict(self, X: Any) -> NDArray[np.int64]:
        """The most probable digit of each row, from what ``rows`` takes."""
        return self.predict_proba(X).argmax(axis=1)


def _checked_ink(digits: Any) -> Ink:
    """Lists of strokes as Ink; ValueError if they are something else."""
    try:
        samples = [[np.asarray(stroke, dtype=np.float64) for stroke in digit] for digit in digits]
    except (TypeError, ValueError):
        samples = [[]]
    strokes = [stroke for digit in samples for stroke in digit]
    paths = all(stroke.ndim == 2 and stroke.shape[1] == 2 and len(stroke) for stroke in strokes)
    if not (samples and paths and all(samples)):
        raise ValueError("expected ink: a list of digits, each a list of strokes, each a list of points x, y")
    if not all((np.abs(stroke) <= 1e6).all() for stroke in strokes):
        raise ValueError("expected points from -1000000 to 1000000")
    unknown = np.zeros(len(samples), np.int64)
    return join_strokes(samples, unknown, unknown, unknown)


def recognizer_files(model: Recognizer) -> dict[str, bytes]:
    """The content of network.npz and network.json; the data set, and what the network reads, travel in the latter."""
    reads = {"scaler": {"low": 0, "high": 100}} if model.features == "table" else {"features": model.features}
    return serialization.network_files(
        model.network, {"dataset": model.dataset, **reads, "temperature": model.temperature}
    )


def load_recognizer(folder: Path) -> Recognizer:
    """Read a folder with the files of ``recognizer_files``.

    Raises:
        FileNotFoundError: if one is not there.
        RecognizerError: if one is damaged, or holds no network over pen paths.
    """
    try:
        network, extra = serialization.load(folder)
    except serialization.StorageError as error:
        raise RecognizerError(one_line(error)) from None
    return recognizer(network, extra, folder)


def recognizer(network: Network, extra: Mapping[str, Any], folder: Path) -> Recognizer:
    """The recognizer of a saved network and its ``extra``; RecognizerError, naming the folder, if they do not fit."""
    dataset, temperature, features = extra.get("dataset"), extra.get("temperature", 1.0), extra.get("features", "table")
    known = FEATURE_SETS.get(features) if isinstance(features, str) else None
    if known is None:
        raise RecognizerError(f"{folder} holds a network over features that are not known: {one_line(features, 60)}")
    if network.shape_in != (known.size,) or network.shape_out != (len(CLASSES),) or not isinstance(dataset, str):
        raise RecognizerError(f"{folder} holds a network that does not read the {known.size} numbers of a digit")
    if fault := temperature_fault(temperature):
        raise RecognizerError(f"{folder} holds a network whose {fault}")
    return Recognizer(network, dataset, temperature, features)
