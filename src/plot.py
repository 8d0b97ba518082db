"""Stage plot: what training and evaluation wrote -> metrics/plots/*.png."""

import json
from dataclasses import dataclass
from typing import Any

from runtime import script

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from figures import diagnostics, mistakes, tables, weights
from figures.confidence import confidence
from figures.curves import curves
from figures.pen_paths import samples
from figures.sheet import style, to_png
from pen.features import FEATURE_SETS
from pipeline import paths
from pipeline.errors import StageError
from pipeline.model import read_model
from pipeline.params import load_params
from pipeline.rows import Rows, read_rows
from pipeline.tables import read_table, records_of
from pipeline.tabular.model import TableModel, probability_names
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
    paths: NDArray[Any]  # (rows, points, 2), the same as pen paths; NaN where the pen is up; empty of a table
    writer: NDArray[Any]  # (rows,), or the group
    digit: NDArray[Any]  # (rows,), or the class's number; the number of a regression
    predicted: NDArray[Any]  # (rows,), the same
    probability: NDArray[Any]  # (rows, classes); none of a regression
    training: tuple[NDArray[Any], NDArray[Any], NDArray[Any]]  # paths, digits and writers of the training rows
    layers: list[tuple[str, NDArray[Any]]]  # a layer's name and weights, from the input on
    diagnostics: list[dict[str, Any]]  # empty unless params.yaml asked for them
    histograms: list[dict[str, Any]]
    row: NDArray[Any]  # (rows,), their numbers in the file of origin
    names: tuple[str, ...]  # of the classes; none of a regression
    label: str  # what is predicted


def draw(results: Results, mistakes_shown: int, ece_bins: int) -> dict[str, Figure]:
    """All pictures of a run, by file name."""
    pictures = (draw_digits if len(results.paths) else draw_table)(results, mistakes_shown, ece_bins)
    if results.diagnostics:
        name = results.test["dataset"]
        pictures["diagnostics.png"] = diagnostics.quantities(results.diagnostics, name)
        pictures["histograms.png"] = diagnostics.histograms(results.histograms, name)
    return pictures


def draw_digits(results: Results, mistakes_shown: int, ece_bins: int) -> dict[str, Figure]:
    """The pictures of a network over pen digits."""
    name, digit, predicted = results.test["dataset"], results.digit, results.predicted
    sure = results.probability.max(axis=1)
    parts = {"training": results.training, "test": (results.paths, digit, results.writer)}
    pictures = {
        "curves.png": curves(curves_of(results), results.train, results.test, name),
        "confusion.png": mistakes.confusion(digit, predicted, results.probability.shape[1], name),
        "weights.png": weights.weights(results.layers, name),
        "first_layer.png": weights.first_layer(results.layers[0][1], results.X, digit, name),
        "mistakes.png": mistakes.mistakes(results.paths, digit, predicted, sure, results.writer, mistakes_shown, name),
        "confidence.png": confidence(sure, digit == predicted, ece_bins, results.test, name),
        "samples.png": samples(parts, name),
    }
    if results.writer.any():  # 0: unknown
        pictures["writers.png"] = mistakes.writers(results.writer, digit == predicted, name)
    return pictures


def draw_table(results: Results, shown: int, ece_bins: int) -> dict[str, Figure]:
    """The pictures of a network over the columns of a table."""
    name, y, predicted, row = results.test["dataset"], results.digit, results.predicted, results.row
    group = results.writer if (results.writer != "").any() else None
    pictures = {
        "curves.png": curves(curves_of(results), results.train, results.test, name, "row"),
        "weights.png": weights.weights(results.layers, name),
    }
    if not results.names:
        rmse, r2 = results.test["test_rmse"], results.test["test_r2"]
        pictures["predictions.png"] = tables.predictions(y, predicted, results.label, rmse, r2, name)
        pictures["errors.png"] = tables.largest_errors(row, group, y, predicted, shown, results.label, name)
        return pictures
    names, sure = np.array(results.names), results.probability.max(axis=1)
    pictures["confusion.png"] = mistakes.confusion(y, predicted, len(names), name, results.names, "label")
    pictures["mistakes.png"] = tables.mistakes(row, group, names[y], names[predicted], sure, shown, name)
    pictures["confidence.png"] = confidence(sure, y == predicted, ece_bins, results.test, name, "row")
    if group is not None:
        pictures["groups.png"] = mistakes.writers(group, y == predicted, name, "group")
    return pictures


def curves_of(results: Results) -> dict[str, NDArray[Any]]:
    """The columns of the history."""
    return {str(column): values.to_numpy() for column, values in results.history.items()}


def main() -> None:
    """Draw the pictures of the run, and remove those of an earlier run that drew more."""
    params = load_params()
    with reporter.results():
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
    size, n_classes = model.network.shape_in[0], len(model.classes)
    rows, training = (read_rows(name, size, n_classes=n_classes) for name in ("test", "train"))
    accuracies = ("train_accuracy", "val_accuracy") if model.classes else ()
    of_table = isinstance(model, TableModel)
    predictions = _table_predictions(model.classes) if of_table else _digit_predictions(rows)
    if not np.array_equal(predictions["row"], rows.row):
        raise StageError(f"{paths.PREDICTIONS} does not hold the rows of the test; `dvc repro` makes both again")
    drawn = (lambda X: np.empty(0)) if of_table else FEATURE_SETS[model.features].drawn
    return Results(
        train=json.loads(paths.TRAIN_METRICS.read_bytes()),
        test=json.loads(paths.EVALUATE_METRICS.read_bytes()),
        history=read_table(paths.HISTORY, ("epoch", "train_loss", *accuracies[:1], "val_loss", *accuracies[1:])),
        X=rows.X,
        training=(drawn(training.X), training.y, training.writer),
        writer=rows.writer,
        digit=rows.y if model.classes else predictions["label"],
        predicted=predictions["predicted"],
        probability=predictions["probability"],
        layers=[(layer.name, getattr(layer, name)) for layer, name, made in model.network.parameters() if made.decay],
        diagnostics=records_of(read_table(paths.DIAGNOSTICS, ())),
        histograms=records_of(read_table(paths.HISTOGRAMS, ())),
        row=rows.row,
        names=tuple(map(str, model.classes)),
        label=model.label,
        paths=drawn(rows.X),
    )


def _digit_predictions(rows: Rows) -> dict[str, NDArray[Any]]:
    table = read_table(paths.PREDICTIONS, ("row", "writer", "digit", "predicted", "p0"))
    if not np.array_equal(table["digit"], rows.y):
        raise StageError(f"{paths.PREDICTIONS} does not hold the rows of the test; `dvc repro` makes both again")
    probability = table.filter(regex=r"^p\d+$").to_numpy()
    return {"row": table["row"].to_numpy(), "predicted": table["predicted"].to_numpy(), "probability": probability}


def _table_predictions(classes: tuple[object, ...]) -> dict[str, NDArray[Any]]:
    """Rows, predictions as classes' numbers, and probabilities; of a regression, numbers and the true ones."""
    names = probability_names(classes)
    table = read_table(paths.PREDICTIONS, ("row", *names) if names else ("row", "label", "predicted"))
    found = {name: table[name].to_numpy() for name in ("row", "label", "predicted")}
    probability = table[names].to_numpy() if names else np.empty((len(table), 0))
    return found | {"probability": probability} | ({"predicted": probability.argmax(axis=1)} if names else {})


if __name__ == "__main__":
    script.run(main)
