"""Stage plot: what training and evaluation wrote -> metrics/plots/*.png."""

import json
from dataclasses import dataclass
from typing import Any

from runtime import script

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from figures import diagnostics, mistakes, weights
from figures.confidence import confidence
from figures.curves import curves
from figures.pen_paths import samples
from figures.sheet import style, to_png
from pen.features import FEATURE_SETS
from pipeline import paths
from pipeline.errors import StageError
from pipeline.model import read_model
from pipeline.params import load_params
from pipeline.rows import read_rows
from pipeline.tables import read_table, records_of
from runtime.checkpoint import release
from runtime.files import remove_other_files, write_bytes
from tracking import reporter


@dataclass(frozen=True)
class Results:
    """What the pictures show. Rows are those of the test file."""

    train: dict[str, Any]  # metrics/train.json
    test: dict[str, Any]  # metrics/evaluate.json
    history: pd.DataFrame  # a row an epoch
    X: NDArray[Any]  # (rows, size of the features), what the network reads
    paths: NDArray[Any]  # (rows, points, 2), the same as pen paths; NaN where the pen is up
    writer: NDArray[Any]  # (rows,)
    digit: NDArray[Any]  # (rows,)
    predicted: NDArray[Any]  # (rows,)
    probability: NDArray[Any]  # (rows, classes)
    training: tuple[NDArray[Any], NDArray[Any], NDArray[Any]]  # paths, digits and writers of the training rows
    layers: list[tuple[str, NDArray[Any]]]  # a layer's name and weights, from the input on
    diagnostics: list[dict[str, Any]]  # empty unless params.yaml asked for them
    histograms: list[dict[str, Any]]


def draw(results: Results, mistakes_shown: int, ece_bins: int) -> dict[str, Figure]:
    """All pictures of a run, by file name."""
    name, digit, predicted = results.test["dataset"], results.digit, results.predicted
    sure = results.probability.max(axis=1)
    parts = {"training": results.training, "test": (results.paths, digit, results.writer)}
    history = {str(column): values.to_numpy() for column, values in results.history.items()}
    pictures = {
        "curves.png": curves(history, results.train, results.test, name),
        "confusion.png": mistakes.confusion(digit, predicted, results.probability.shape[1], name),
        "writers.png": mistakes.writers(results.writer, digit == predicted, name),
        "weights.png": weights.weights(results.layers, name),
        "first_layer.png": weights.first_layer(results.layers[0][1], results.X, digit, name),
        "mistakes.png": mistakes.mistakes(results.paths, digit, predicted, sure, results.writer, mistakes_shown, name),
        "confidence.png": confidence(sure, digit == predicted, ece_bins, results.test, name),
        "samples.png": samples(parts, name),
    }
    if results.diagnostics:
        pictures["diagnostics.png"] = diagnostics.quantities(results.diagnostics, name)
        pictures["histograms.png"] = diagnostics.histograms(results.histograms, name)
    return pictures


def main() -> None:
    """Draw the pictures of the run, and remove those of an earlier run that drew more."""
    params = load_params()
    with reporter.figures():
        results = read_results()
        with style():
            pictures = {
                name: to_png(figure) for name, figure in draw(results, params.mistakes_shown, params.ece_bins).items()
            }
        for name, picture in pictures.items():
            write_bytes(paths.FIGURES / name, picture)
        remove_other_files(paths.FIGURES, pictures)
    release()
    script.say(f"drew {len(pictures)} pictures of {results.test['dataset']} in {paths.FIGURES}")


def read_results() -> Results:
    """What the stages before wrote, put together.

    Raises:
        StageError: if a file lacks what it should hold, or the predictions are not those of the test rows.
    """
    model = read_model()
    rows, training = (read_rows(name, model.network.shape_in[0]) for name in ("test", "train"))
    predictions = read_table(paths.PREDICTIONS, ("row", "writer", "digit", "predicted", "p0"))
    if not (np.array_equal(predictions["row"], rows.row) and np.array_equal(predictions["digit"], rows.y)):
        raise StageError(f"{paths.PREDICTIONS} does not hold the rows of the test; `dvc repro` makes both again")
    return Results(
        train=json.loads(paths.TRAIN_METRICS.read_bytes()),
        test=json.loads(paths.EVALUATE_METRICS.read_bytes()),
        history=read_table(paths.HISTORY, ("epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy")),
        X=rows.X,
        paths=FEATURE_SETS[model.features].drawn(rows.X),
        training=(FEATURE_SETS[model.features].drawn(training.X), training.y, training.writer),
        writer=rows.writer,
        digit=rows.y,
        predicted=predictions["predicted"].to_numpy(),
        probability=predictions.filter(regex=r"^p\d+$").to_numpy(),
        layers=[(layer.name, getattr(layer, name)) for layer, name, made in model.network.parameters() if made.decay],
        diagnostics=records_of(read_table(paths.DIAGNOSTICS, ())),
        histograms=records_of(read_table(paths.HISTOGRAMS, ())),
    )


if __name__ == "__main__":
    script.run(main)
