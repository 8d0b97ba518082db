"""Stage evaluate: models/, data/split/test.npz -> metrics/evaluate.json, metrics/predictions.csv.

The only stage that measures with the labels of the test rows. Their writers are in neither training nor validation, and
nothing is chosen by them. If the network has learned from drawings of the user's, it is compared with the one without
them.
"""

import hashlib
from pathlib import Path
from typing import Any

from runtime import script

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from pen.calibration import expected_calibration_error, rejection
from pen.recognizer import CLASSES, Recognizer
from pipeline import paths
from pipeline.model import read_model
from pipeline.params import load_params
from pipeline.rows import Rows, read_drawings, read_rows
from pipeline.tables import columns_csv, metrics_json
from pipeline.tabular.measures import balanced_accuracy, prefixed, regression
from pipeline.tabular.model import TableModel, probability_names
from runtime.files import write_bytes
from tracking import reporter
from utils import accuracy, log_loss, wilson

RESAMPLES = 10_000  # of the writers


def evaluate(p: NDArray, y: NDArray, writer: NDArray, ece_bins: int) -> dict[str, Any]:
    """Measure probabilities p (rows, classes) against classes y (rows,) by writers, or groups, (rows,).

    Returns:
        n_test; test_log_loss, the mean of ``-log p[y]``; test_accuracy; test_accuracy_low and _high, its 95 % interval
        for other digits by the same people (Wilson), and test_accuracy_people_low and _high, for other people, unless
        there is one writer only; test_macro_f1, the mean of the F1 scores of the digits; test_ece;
        test_left_to_a_person, the smallest share of the digits, the least sure ones, without which 99.9 % of the rest
        are read right.
    """
    p = p.astype(np.float64)
    predicted = p.argmax(axis=1)
    right = predicted == y
    intervals = {"": wilson(right.sum(), len(y))}
    if len(np.unique(writer)) > 1:
        intervals["_people"] = over_writers(right, writer)
    return {
        "n_test": len(y),
        "test_log_loss": log_loss(p, y),
        "test_accuracy": accuracy(y, predicted),
        **{
            f"test_accuracy{of}_{end}": float(bound)
            for of, interval in intervals.items()
            for end, bound in zip(("low", "high"), interval, strict=True)
        },
        "test_macro_f1": macro_f1(predicted, y),
        "test_ece": expected_calibration_error(p, y, ece_bins),
        "test_left_to_a_person": rejection(p.max(axis=1), right, 0.999).share,
    }


def before_and_after(before: Recognizer, after: Recognizer, rows: Rows, drawings: Rows) -> dict[str, float]:
    """The accuracies on the drawings held out and on the test rows, of the network without the drawings and with them.

    Returns:
        n_drawings, of those held out; drawings_accuracy_before and _after; test_accuracy_before and _after.
    """
    return {"n_drawings": len(drawings.y)} | {
        f"{name}_accuracy_{when}": accuracy(on.y, model.probabilities(on.X).argmax(axis=1))
        for name, on in (("drawings", drawings), ("test", rows))
        for when, model in (("before", before), ("after", after))
    }


def macro_f1(predicted: NDArray, y: NDArray) -> float:
    """The mean of ``2 right / (predicted + true)`` over the classes that occur among the predicted or the true ones.

    scikit-learn has it too, and takes two seconds to import.
    """
    n = max(predicted.max(), y.max()) + 1
    right, read, true = (np.bincount(classes, minlength=n) for classes in (y[predicted == y], predicted, y))
    occurs = read + true > 0
    return float((2 * right[occurs] / (read + true)[occurs]).mean())


def over_writers(right: NDArray, writer: NDArray) -> tuple[NDArray, NDArray]:
    """The 95 % interval of the accuracy if other people had written the rows, from 0 to 1.

    The bootstrap: draw as many of the writers, with replacement, ``RESAMPLES`` times, and take the 2.5 % and 97.5 %
    quantiles of the accuracies (Davison and Hinkley 1997, sections 3.8 and 5.3). Of few writers it is somewhat too
    narrow.

    Args:
        right: (rows,) whether the prediction is true; writer: (rows,) their numbers.
    """
    names, which = np.unique(writer, return_inverse=True)
    n, good = np.bincount(which), np.bincount(which, weights=right)
    drawn = np.random.default_rng(0).integers(len(names), size=(RESAMPLES, len(names)))
    low, high = np.quantile(good[drawn].sum(axis=1) / n[drawn].sum(axis=1), [0.025, 0.975])
    return low, high


def predictions_csv(rows: Rows, p: NDArray) -> bytes:
    """The table of predictions: a test row a line, with the probability of each digit."""
    columns = {"row": rows.row, "writer": rows.writer, "digit": rows.y, "predicted": p.argmax(axis=1)}
    return columns_csv(columns | {f"p{digit}": p[:, digit] for digit in CLASSES}, "%.6f")


def evaluate_table(model: TableModel, rows: Rows, ece_bins: int) -> tuple[dict[str, Any], bytes]:
    """Measure a model on the rows of a table: the figures, and the table of predictions.

    Returns:
        Of a classifier what ``evaluate`` gives, and test_balanced_accuracy; of a regression n_test, test_rmse,
        test_mae and test_r2, in the label's unit.
    """
    columns: dict[str, Any] = {"row": rows.row} | ({"group": rows.writer} if (rows.writer != "").any() else {})
    if model.target is not None:
        y, predicted = model.in_units(rows.y), model.numbers(rows.X)
        metrics = {"n_test": len(y), **prefixed(regression(predicted, y), "test")}
        return metrics, columns_csv(columns | {"label": y, "predicted": predicted}, "%.6g")
    p, names = model.probabilities(rows.X), np.array(model.classes)
    predicted = p.argmax(axis=1)
    metrics = evaluate(p, rows.y, rows.writer, ece_bins)
    metrics["test_balanced_accuracy"] = balanced_accuracy(predicted, rows.y)
    columns |= {"label": names[rows.y], "predicted": names[predicted]}
    columns |= dict(zip(probability_names(model.classes), p.T, strict=True))
    return metrics, columns_csv(columns, "%.6f")


def is_in_lock(path: Path) -> bool:
    """Whether dvc.lock knows the content of a file, as in a fresh clone."""
    lock = paths.LOCK_FILE
    checksum = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    return lock.exists() and checksum in lock.read_text(encoding="utf-8")


def main() -> None:
    """Measure the model on the test rows."""
    params = load_params()
    with threadpool_limits(1):
        model = read_model()
        rows = read_rows("test", model.network.shape_in[0], n_classes=len(model.classes))
        if isinstance(model, TableModel):
            measured, predictions = evaluate_table(model, rows, params.ece_bins)
        else:
            p = model.probabilities(rows.X)
            measured, predictions = evaluate(p, rows.y, rows.writer, params.ece_bins), predictions_csv(rows, p)
            drawings = read_drawings("drawings_test", model.network.shape_in[0])
            before = read_model(paths.WITHOUT_DRAWINGS) if drawings else None
            if drawings and isinstance(before, Recognizer):
                measured |= before_and_after(before, model, rows, drawings)
        metrics = {"dataset": model.dataset, **measured}
        write_bytes(paths.EVALUATE_METRICS, metrics_json(metrics))
        write_bytes(paths.PREDICTIONS, predictions)
    if is_in_lock(paths.EVALUATE_METRICS):  # then the plot stage, which logs new results, may have nothing to draw
        with reporter.results():
            pass
    result = f"accuracy {metrics['test_accuracy']:.2%}" if model.classes else f"RMSE {metrics['test_rmse']:g}"
    script.say(f"tested on {metrics['dataset']}: {result} on {metrics['n_test']} rows")
    if "n_drawings" in metrics:
        for on, n in (("drawings", "n_drawings"), ("test", "n_test")):
            before, after = (metrics[f"{on}_accuracy_{when}"] for when in ("before", "after"))
            script.say(f"{on}: {before:.2%} right without the drawings, {after:.2%} with them, of {metrics[n]}")


if __name__ == "__main__":
    script.run(main)
