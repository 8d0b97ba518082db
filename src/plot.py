"""The plot stage: draw the pictures of a run from what training and evaluation wrote."""

import starting  # noqa: F401 (a Ctrl-C from here on is said in a line)

import csv
import json
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

import diagnostics_figures
import figures
import stage
import tracking
from arrays import load_rows
from checkpoint import CHECKPOINTS, release
from model import load_model
from neural_net import Network
from params import load_params
from strokes import FEATURE_SETS

HISTORY, TRAIN = Path("metrics/history.csv"), Path("metrics/train.json")
EVALUATE, PREDICTIONS = Path("metrics/evaluate.json"), Path("metrics/predictions.csv")
DIAGNOSTICS, HISTOGRAMS = Path("metrics/diagnostics.csv"), Path("metrics/histograms.csv")
TEST, MODELS, PLOTS = Path("data/split/test.npz"), Path("models"), Path("metrics/plots")


@dataclass(frozen=True)
class Run:
    """What the pictures show. Rows are those of the test file."""

    train: dict[str, Any]  # metrics/train.json
    test: dict[str, Any]  # metrics/evaluate.json
    history: dict[str, NDArray[Any]]  # a column's name -> (epochs,)
    X: NDArray[Any]  # (rows, size of the features), what the network reads
    features: str  # by name in strokes.FEATURE_SETS
    writer: NDArray[Any]  # (rows,)
    digit: NDArray[Any]  # (rows,)
    predicted: NDArray[Any]  # (rows,)
    probability: NDArray[Any]  # (rows, classes)
    layers: list[tuple[str, NDArray[Any]]]  # a layer's name and weights, from the input on
    diagnostics: list[dict[str, Any]] = field(default_factory=list)  # empty unless params.yaml asked for them
    histograms: list[dict[str, Any]] = field(default_factory=list)


def draw(run: Run, mistakes_shown: int) -> dict[str, Figure]:
    """All pictures of a run, by file name."""
    name, digit, predicted = run.test["dataset"], run.digit, run.predicted
    confidence, paths = run.probability.max(axis=1), FEATURE_SETS[run.features].drawn(run.X)
    pictures = {
        "curves.png": figures.curves(run.history, run.train, run.test["test_accuracy"], name),
        "confusion.png": figures.confusion(digit, predicted, run.probability.shape[1], name),
        "writers.png": figures.writers(run.writer, digit == predicted, name),
        "weights.png": figures.weights(run.layers, name),
        "first_layer.png": figures.first_layer(run.layers[0][1], run.X, digit, name),
        "mistakes.png": figures.mistakes(paths, digit, predicted, confidence, run.writer, mistakes_shown, name),
    }
    if run.diagnostics:
        pictures["diagnostics.png"] = diagnostics_figures.quantities(run.diagnostics, name)
        pictures["histograms.png"] = diagnostics_figures.histograms(run.histograms, name)
    return pictures


def main() -> None:
    """Read the metrics, the test rows and the network; write metrics/plots."""
    params = load_params()
    with tracking.figures():
        run = read_run()
        with figures.style():
            pictures = {name: figures.png(figure) for name, figure in draw(run, params.mistakes_shown).items()}
        for name, picture in pictures.items():
            stage.write_bytes(PLOTS / name, picture)
        for path in PLOTS.iterdir():  # of an earlier run, which drew more
            if path.name not in pictures:
                path.unlink()
    release(tracking.project_root() / CHECKPOINTS, map(Path, tracking.MODEL_FILES))
    stage.say(f"drew {len(pictures)} pictures of {run.test['dataset']} in {PLOTS}")


def read_run() -> Run:
    """What earlier stages wrote, put together.

    Raises:
        StageError: if a file lacks what it should hold, or the predictions are not those of the test rows.
    """
    table = read_table(PREDICTIONS, ("row", "writer", "digit", "predicted", "p0"))
    row, writer, digit, predicted = (table[name].astype(np.int64) for name in ("row", "writer", "digit", "predicted"))
    model = load_model(MODELS)
    X, y, tested = load_rows(TEST, model.network.shape_in[0], ("X", "y", "row"))
    if not (np.array_equal(tested, row) and np.array_equal(y, digit)):
        raise stage.StageError(f"{PREDICTIONS} does not hold the rows of {TEST}; `dvc repro` makes both anew")
    return Run(
        train=json.loads(TRAIN.read_bytes()),
        test=json.loads(EVALUATE.read_bytes()),
        history=read_table(HISTORY, ("epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy")),
        X=X,
        features=model.features,
        writer=writer,
        digit=digit,
        predicted=predicted,
        probability=np.column_stack([table[f"p{k}"] for k in range(len(table)) if f"p{k}" in table]),
        layers=weights_of(model.network),
        diagnostics=read_records(DIAGNOSTICS),
        histograms=read_records(HISTOGRAMS),
    )


def read_table(path: Path, columns: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    """A CSV file of numbers as columns by name; importing pandas would take longer than reading all tables.

    Raises:
        StageError: if one of ``columns`` is missing, there is no row, or something is not a number.
    """
    with path.open(encoding="utf-8") as stream, warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # what loadtxt makes of a table without rows
        names = stream.readline().strip().split(",")
        if missing := [name for name in columns if name not in names]:
            raise stage.StageError(f"{path} has no column {missing[0]}; `dvc repro` makes it anew")
        try:
            values = np.loadtxt(stream, delimiter=",", ndmin=2)
            return dict(zip(names, values.T, strict=True))
        except (ValueError, UserWarning) as error:
            raise stage.StageError(f"{path} is not a table of numbers ({error}); `dvc repro` makes it anew") from None


def read_records(path: Path) -> list[dict[str, Any]]:
    """A CSV file of numbers and names as dictionaries, one a row; none if there is no file."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    names = {"layer", "quantity", "of"}
    return [{key: value if key in names else float(value) for key, value in row.items()} for row in rows]


def weights_of(network: Network) -> list[tuple[str, NDArray[Any]]]:
    """Layer and values of each parameter that is a weight, from the input on; no biases, no normalisation."""
    return [(layer.name, getattr(layer, name)) for layer, name, declared in network.parameters() if declared.decay]


if __name__ == "__main__":
    stage.run(main)
