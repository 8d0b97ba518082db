"""The evaluate stage: models/, data/split/test.npz -> metrics/evaluate.json, metrics/predictions.csv.

The only stage that measures with the labels of the test rows, which people wrote whom training and validation never
saw; nothing is chosen by them.
"""

import starting  # noqa: F401 (a Ctrl-C from here on is said in a line)

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

import stage
import tracking
from arrays import load_rows
from calibration import rejection
from checkpoint import CHECKPOINTS, release
from model import CLASSES, load_model
from params import load_params
from utils import accuracy

TEST, MODELS, METRICS = Path("data/split/test.npz"), Path("models"), Path("metrics")


def evaluate(p: NDArray, y: NDArray, ece_bins: int) -> dict[str, Any]:
    """Measure probabilities p (rows, 10) against digits y (rows,).

    Returns:
        n_test; test_loss, the mean of ``-log p[y]``; test_accuracy; test_macro_f1; test_ece; test_left_to_a_person,
        the smallest share of the digits, the least sure ones, without which 99.9 % of the rest are read right.
    """
    p = p.astype(np.float64)
    predicted = p.argmax(axis=1)
    true_p = np.maximum(p[np.arange(len(y)), y], np.finfo(np.float64).tiny)
    return {
        "n_test": len(y),
        "test_loss": round(float(-np.log(true_p).mean()), 6),
        "test_accuracy": round(accuracy(y, predicted), 6),
        "test_macro_f1": round(macro_f1(y, predicted), 6),
        "test_ece": round(expected_calibration_error(p, y, ece_bins), 6),
        "test_left_to_a_person": round(rejection(p.max(axis=1), predicted == y, 0.999).share, 6),
    }


def macro_f1(y: NDArray, predicted: NDArray) -> float:
    """The mean over the digits of ``F1 = 2 TP / (2 TP + FP + FN)``; a digit that occurs nowhere is left out."""
    scores = []
    for digit in CLASSES:
        right = np.sum((y == digit) & (predicted == digit))
        named = np.sum(y == digit) + np.sum(predicted == digit)
        if named:
            scores.append(2 * right / named)
    return float(np.mean(scores))


def expected_calibration_error(p: NDArray, y: NDArray, bins: int) -> float:
    """How far confidence is from accuracy: ``sum over bins of |accuracy - mean confidence| * share of the rows``.

    The confidence is the largest probability of a row; bins are of equal width, closed above (Guo et al. 2017, eq. 5).
    """
    confidence, right = p.max(axis=1), p.argmax(axis=1) == y
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gap = np.bincount(place, weights=right - confidence, minlength=bins)
    return float(np.abs(gap).sum() / len(y))


def predictions_csv(row: NDArray, writer: NDArray, y: NDArray, p: NDArray) -> bytes:
    """The table of predictions, a test row a line."""
    text = io.StringIO()
    text.write("row,writer,digit,predicted," + ",".join(f"p{digit}" for digit in CLASSES) + "\n")
    for i, best in enumerate(p.argmax(axis=1)):
        probabilities = ",".join(f"{value:.6f}" for value in p[i])
        text.write(f"{row[i]},{writer[i]},{y[i]},{best},{probabilities}\n")
    return text.getvalue().encode()


def main() -> None:
    params = load_params()
    with tracking.evaluation(), threadpool_limits(1):
        model = load_model(MODELS)
        X, y, row, writer = load_rows(TEST, model.network.shape_in[0], ("X", "y", "row", "writer"))
        p = model.probabilities(X)
        metrics = {"dataset": model.dataset, **evaluate(p, y, params.ece_bins)}
        stage.write_json(METRICS / "evaluate.json", metrics)
        stage.write_bytes(METRICS / "predictions.csv", predictions_csv(row, writer, y, p))
    if tracking.project_root() == Path.cwd():  # else DVC drops what is in this folder if it is killed before the end
        if stage.LOCK_FILE.exists():  # DVC writes it in place, and a kill can cut it off
            stage.write_bytes(stage.KEPT_LOCK_FILE, stage.LOCK_FILE.read_bytes())
        release(CHECKPOINTS, map(Path, tracking.MODEL_FILES))
    stage.say(f"tested on {metrics['dataset']}: accuracy {metrics['test_accuracy']:.2%} on {metrics['n_test']} digits")


if __name__ == "__main__":
    stage.run(main)
