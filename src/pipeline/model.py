"""Read the trained model, which the train stage writes and later stages use."""

from pathlib import Path

from pen.recognizer import Recognizer, RecognizerError, load_recognizer

from .errors import StageError
from .paths import MODELS


def read_model(folder: Path = MODELS) -> Recognizer:
    """Read the recognizer that the train stage wrote.

    Raises:
        StageError: if its files are missing or damaged, naming the file.
    """
    try:
        return load_recognizer(folder)
    except FileNotFoundError as error:
        raise StageError(f"{error.filename} does not exist; `dvc repro train` makes it") from None
    except RecognizerError as error:
        raise StageError(str(error)) from None
