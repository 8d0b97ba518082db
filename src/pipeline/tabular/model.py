"""The trained network over a table's columns, with all that it needs to read raw rows: what is saved and served."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

import custom  # noqa: F401 (so that params.yaml and saved networks may name the parts in it)
from neural_net import Network, serialization
from neural_net.activations import softmax
from utils import one_line, temperature_fault

from .encoder import Encoder, Scaling


class TableModelError(ValueError):
    """A saved model cannot be read; the message names the folder and what is wrong with it."""


class TableModel:
    """A network over the columns of a table.

    Attributes:
        network: takes encoded rows and gives logits, (rows, classes), or, of a regression, the scaled label, (rows, 1).
        dataset: what it was trained on.
        label: the name of the column that it predicts.
        encoder: from raw columns to what the network reads.
        classes: the classes' names, in the order of the logits; none for a regression.
        target: the scaling of a regression's label.
        temperature: what the logits are divided by before they become probabilities.
    """

    features = "table"

    def __init__(
        self,
        network: Network,
        dataset: str,
        label: str,
        encoder: Encoder,
        classes: tuple[str, ...] = (),
        target: Scaling | None = None,
        temperature: float = 1.0,
    ) -> None:
        self.network, self.dataset, self.label, self.encoder = network, dataset, label, encoder
        self.classes, self.target, self.temperature = classes, target, temperature

    def rows(self, table: Any) -> NDArray[np.float32]:
        """Encode raw rows, as ``Encoder.read`` takes them: (rows, encoder.size); ValueError for anything else."""
        return self.encoder.encode(self.encoder.read(table))

    def probabilities(self, X: NDArray) -> NDArray[np.float32]:
        """The probability of each class, (rows, classes), from encoded rows."""
        logits = self.network.outputs(X)
        logits /= self.temperature
        return softmax(logits, out=logits) if len(logits) else logits

    def numbers(self, X: NDArray) -> NDArray[np.float64]:
        """The label of each row, (rows,), in its own unit, from encoded rows of a regression."""
        return self.in_units(self.network.outputs(X)[:, 0])

    def in_units(self, y: NDArray) -> NDArray[np.float64]:
        """Scaled labels of a regression in their own unit."""
        if self.target is None:
            raise ValueError("a classifier predicts no numbers")
        return y.astype(np.float64) * self.target.scale + self.target.mean

    def predict_proba(self, table: Any) -> NDArray[np.float32]:
        """The probability of each class, (rows, classes), from raw rows."""
        return self.probabilities(self.rows(table))

    def predict(self, table: Any) -> NDArray[Any]:
        """The most probable class's name, or the number, of each raw row: (rows,)."""
        if self.target is not None:
            return self.numbers(self.rows(table))
        return np.array(self.classes)[self.predict_proba(table).argmax(axis=1)]

    def answers(self, table: Any) -> "list[dict[str, Any]]":
        """For each raw row the prediction, under the label's name, and a classifier's probability of each class."""
        if self.target is not None:
            return [{self.label: number} for number in self.predict(table).tolist()]
        p = self.predict_proba(table).astype(np.float64).tolist()
        likeliest = [self.classes[max(range(len(row)), key=row.__getitem__)] for row in p]
        names = probability_names(self.classes)
        return [{self.label: best} | dict(zip(names, row, strict=True)) for best, row in zip(likeliest, p, strict=True)]


def probability_names(classes: tuple[object, ...]) -> list[str]:
    """The columns of the probabilities of named classes."""
    return [f"p_{name}" for name in classes]


def table_model_files(model: TableModel) -> dict[str, bytes]:
    """The content of network.npz and network.json; the latter has the encoder, the classes and the target's scaling."""
    extra: dict[str, Any] = {"dataset": model.dataset, "label": model.label, "classes": list(model.classes)}
    extra |= {"target": model.target and model.target.model_dump(), "encoder": model.encoder.model_dump()}
    return serialization.network_files(model.network, {**extra, "temperature": model.temperature})


def load_table_model(folder: Path) -> TableModel:
    """Read a folder with the files of ``table_model_files``; TableModelError if it holds something else."""
    try:
        network, extra = serialization.load(folder)
    except serialization.StorageError as error:
        raise TableModelError(one_line(error)) from None
    return table_model(network, extra, folder)


def table_model(network: Network, extra: Mapping[str, Any], folder: Path) -> TableModel:
    """The model of a saved network and its ``extra``; TableModelError, naming the folder, if they do not fit."""
    try:
        encoder, target = Encoder.model_validate(extra.get("encoder")), extra.get("target")
        scaling = None if target is None else Scaling.model_validate(target)
    except ValidationError as error:
        first = error.errors()[0]
        raise TableModelError(one_line(f"{folder}: {'.'.join(map(str, first['loc']))}: {first['msg']}")) from None
    classes, temperature = extra.get("classes"), extra.get("temperature")
    named = isinstance(classes, list) and all(isinstance(name, str) for name in classes)
    dataset, label = extra.get("dataset"), extra.get("label")
    if not named or not isinstance(dataset, str) or not isinstance(label, str):
        raise TableModelError(f"{folder} holds a network over a table without names of its classes, label and data set")
    n_out = 1 if scaling else len(classes or [])
    if network.shape_in != (encoder.size,) or network.shape_out != (n_out,):
        raise TableModelError(f"{folder} holds a network that does not have {encoder.size} inputs and {n_out} outputs")
    if fault := temperature_fault(temperature):
        raise TableModelError(f"{folder} holds a network whose {fault}")
    return TableModel(network, dataset, label, encoder, tuple(classes or ()), scaling, extra["temperature"])
