"""Parameters, numbers and checksums from the files of a checkout, in the form in which MLflow shows them.

The checksum of data or of a model depends only on its content: names, dtypes, shapes and values of the arrays. The
bytes of an npz file would also depend on the Python version that wrote it.
"""

import hashlib
import json
import re
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_sets.pendigits import ARCHIVE_URL
from neural_net.npz import NpzError, content_sha256, read_npz
from pipeline import paths
from pipeline.errors import ParamsError, StageError
from pipeline.params import load_params, read_values
from utils import one_line

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput

DIGEST = 16  # digits of a checksum that MLflow shows of rows; it takes 36 at most


def read_params(folder: Path) -> dict[str, Any]:
    """A run's parameters as checked values; unchecked, if they belong to another version of the code."""
    from pipeline.configure import with_own_names

    try:
        params = load_params(folder / paths.PARAMS_FILE)
    except ParamsError:
        return read_values(folder / paths.PARAMS_FILE)
    return with_own_names(params).model_dump(mode="json")


def dataset_of(params: Mapping[str, Any]) -> str:
    """What the data set of a run is called: like the user's table, or as params.yaml has it."""
    own = params.get("own") if params.get("dataset") == "own" else None
    return str(own.get("name") if isinstance(own, Mapping) else params.get("dataset"))


def flat(params: Mapping[str, Any]) -> dict[str, str]:
    """Parameters as MLflow stores them: strings of at most 6000 characters; nested names are joined by dots."""
    strings: dict[str, str] = {}
    for key, value in params.items():
        if isinstance(value, Mapping):
            strings |= {f"{key}.{inner}": text for inner, text in flat(value).items()}
        else:
            strings[key] = (value if isinstance(value, str) else json.dumps(value))[:6000]
    return strings


def dvc_option(key: str, text: str) -> str:
    """The option of `dvc exp run` that sets a parameter, from its text as ``flat`` gives it, quoted for a shell."""
    return f"-S {shlex.quote(f'{key}={_override(text)}')}"


def _override(text: str) -> str:
    """Turn a value as MLflow stores it into the syntax of DVC's options: JSON, but keys of mappings have no quotes."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return _in_grammar(value) if isinstance(value, list | dict) else text


def _in_grammar(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_in_grammar, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_in_grammar(inner)}" for key, inner in value.items()) + "}"
    return json.dumps(value)


def model_checksum(folder: Path) -> str:
    """The checksum that identifies a model, from the content of its two files; empty if one is missing."""
    arrays, description = (folder / path for path in paths.MODEL_FILES)
    if not (arrays.exists() and description.exists()):
        return ""
    return _joined([_content_checksum(arrays), _sha256(description.read_bytes())])


def model_file_checksum(folder: Path) -> str:
    """A model's checksum as version 0.1 computed it, from the bytes of its two files."""
    return files_checksum(folder, paths.MODEL_FILES)


def data_checksum(folder: Path) -> str:
    """The checksum that identifies a run's rows, from the content of data/split; empty if a file is missing."""
    files = [folder / path for path in paths.SPLIT_FILES]
    if not all(file.exists() for file in files):
        return ""
    return _joined(map(_content_checksum, files))


def files_checksum(folder: Path, files: Iterable[Path]) -> str:
    """The SHA-256 of the files' bytes, one after the other; empty if one is missing."""
    found = [folder / file for file in files]
    return _sha256(b"".join(file.read_bytes() for file in found)) if all(file.exists() for file in found) else ""


def numbers_in(path: Path) -> dict[str, float]:
    """The numbers in a metrics file."""
    values = json.loads(path.read_text(encoding="utf-8"))
    return {key: value for key, value in values.items() if isinstance(value, int | float)}


def description(folder: Path) -> str:
    """An evaluated run in a few sentences, for its page in MLflow."""
    said = {"dataset": "", **numbers_in(folder / paths.TRAIN_METRICS), **numbers_in(folder / paths.EVALUATE_METRICS)}
    sentences = (
        "{n_parameters:,} parameters, trained for {epochs} epochs on {n_train:,} rows.",
        "Early stopping kept the weights of epoch {best_epoch}.",
        "Validation: accuracy {val_accuracy:.2%}, log-loss {val_log_loss:.4f} on {n_validation:,} rows held out.",
        "Validation: balanced accuracy {val_balanced_accuracy:.2%}.",
        "Validation: RMSE {val_rmse:.6g}, R2 {val_r2:.4f} on {n_validation} rows held out.",
        "Then it was trained anew on all {n_refit:,} rows (`refit`). That network is tested and saved.",
        "Test: accuracy {test_accuracy:.2%}, log-loss {test_log_loss:.4f} on {n_test:,} rows.",
        "Test: balanced accuracy {test_balanced_accuracy:.2%}.",
        "Test: RMSE {test_rmse:.6g}, R2 {test_r2:.4f} on {n_test} rows.",
        "95 % interval for other people: {test_accuracy_people_low:.2%} to {test_accuracy_people_high:.2%}.",
    )
    known = [each for each in sentences if set(re.findall(r"{(\w+)", each)) <= said.keys()]
    told = "\n\n".join(each.format(**said) for each in known if said.get("n_refit") or "n_refit" not in each)
    return told.replace("other people", "other groups") if "test_balanced_accuracy" in said else told


def data_inputs(folder: Path, dataset: str) -> "list[DatasetInput]":
    """The rows that a run trained, validated and tested on, each with its checksum and source, as MLflow's inputs."""
    import mlflow.data
    from mlflow.entities import Dataset, DatasetInput, InputTag

    sources = {"pendigits": ARCHIVE_URL, "synthetic": str(paths.RAW / "synthetic")}
    source = sources.get(dataset, str(paths.RAW / "own"))
    found = []
    for name, context in (("train", "training"), ("validation", "validation"), ("test", "testing")):
        file = folder / paths.SPLIT / f"{name}.npz"
        if file.exists():
            rows, digest = read_npz(file.read_bytes()), _content_checksum(file)[:DIGEST]
            made = mlflow.data.from_numpy(rows["X"], source, targets=rows["y"], name=dataset, digest=digest)
            found.append(
                DatasetInput(Dataset.from_dictionary(made.to_dict()), [InputTag("mlflow.data.context", context)])
            )
    return found


def weight_norms(folder: Path) -> dict[str, float]:
    """The Euclidean norm of each weight matrix of a model, that is, of each parameter that weight decay applies to."""
    import numpy as np

    from pipeline.model import read_model

    return {
        f"weight_norm_{layer.name}_{name}": float(np.linalg.norm(getattr(layer, name)))
        for layer, name, declared in read_model(folder / paths.MODELS).network.parameters()
        if declared.decay
    }


def _content_checksum(file: Path) -> str:
    try:
        return content_sha256(read_npz(file.read_bytes()))
    except NpzError as error:
        raise StageError(f"{file} is damaged ({one_line(error, 200)}); `dvc repro` makes it again") from None


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _joined(checksums: Iterable[str]) -> str:
    return _sha256("".join(checksums).encode())
