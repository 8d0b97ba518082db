"""Read the trained model, which the train stage writes and later stages use."""

from pathlib import Path

from neural_net import Network, serialization
from pen.recognizer import Recognizer, RecognizerError, recognizer, recognizer_files
from utils import one_line

from .errors import StageError
from .paths import MODELS
from .schema import Schema
from .tabular.model import TableModel, TableModelError, table_model, table_model_files

Model = Recognizer | TableModel


def make_model(network: Network, schema: Schema, features: str) -> Model:
    """The model of a network that was trained on rows of the data set."""
    if schema.encoder is None:
        return Recognizer(network, schema.dataset, features=features)
    return TableModel(network, schema.dataset, schema.label, schema.encoder, schema.classes, schema.target)


def model_files(model: Model) -> dict[str, bytes]:
    """The content of network.npz and network.json."""
    return table_model_files(model) if isinstance(model, TableModel) else recognizer_files(model)


def read_model(folder: Path = MODELS) -> Model:
    """Read the model that the train stage wrote.

    Raises:
        StageError: if its files are missing or damaged, naming the file.
    """
    try:
        network, extra = serialization.load(folder)
        return (table_model if "encoder" in extra else recognizer)(network, extra, folder)
    except FileNotFoundError as error:
        raise StageError(f"{error.filename} does not exist; `dvc repro train` makes it") from None
    except serialization.StorageError as error:
        raise StageError(one_line(error)) from None
    except (RecognizerError, TableModelError) as error:
        raise StageError(str(error)) from None
