"""All pictures of a run: what they show, and the functions that draw each."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from . import diagnostics, mistakes, tables, weights
from .confidence import confidence
from .curves import curves
from .pen_paths import samples


@dataclass(frozen=True)
class Results:
    """What the pictures show. Rows are those of the test file."""

    train: dict[str, Any]  # metrics/train.json
    test: dict[str, Any]  # metrics/evaluate.json
    history: dict[str, NDArray[Any]]  # each (epochs,)
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
        "curves.png": curves(results.history, results.train, results.test, name),
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
        "curves.png": curves(results.history, results.train, results.test, name, "row"),
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
