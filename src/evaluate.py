"""Stage evaluate: models/, data/split/test.npz -> metrics/evaluate.json, metrics/predictions.csv.

The only stage that measures with the labels of the test rows. Their writers are in neither training nor validation, and
nothing is chosen by them.
"""

from typing import Any

from runtime import script

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from pen.calibration import expected_calibration_error, rejection
from pen.recognizer import CLASSES
from pipeline import paths
from pipeline.model import read_model
from pipeline.params import load_params
from pipeline.rows import Rows, read_rows
from pipeline.tables import metrics_json, table_csv
from runtime.files import write_bytes
from tracking import reporter
from utils import accuracy, log_loss


def evaluate(p: NDArray, y: NDArray, ece_bins: int) -> dict[str, Any]:
    """Measure probabilities p (rows, 10) against digits y (rows,).

    Returns:
        n_test; test_log_loss, the mean of ``-log p[y]``; test_accuracy; test_macro_f1, the mean of the F1 scores of the
        digits; test_ece; test_left_to_a_person, the smallest share of the digits, the least sure ones, without which
        99.9 % of the rest are read right.
    """
    from sklearn.metrics import f1_score  # here: it takes a second or two, and only this function needs it

    p = p.astype(np.float64)
    predicted = p.argmax(axis=1)
    return {
        "n_test": len(y),
        "test_log_loss": round(log_loss(p, y), 6),
        "test_accuracy": round(accuracy(y, predicted), 6),
        "test_macro_f1": round(float(f1_score(y, predicted, average="macro")), 6),
        "test_ece": round(expected_calibration_error(p, y, ece_bins), 6),
        "test_left_to_a_person": round(rejection(p.max(axis=1), predicted == y, 0.999).share, 6),
    }


def predictions_csv(rows: Rows, p: NDArray) -> bytes:
    """The table of predictions: a test row a line, with the probability of each digit."""
    import pandas as pd

    columns = {"row": rows.row, "writer": rows.writer, "digit": rows.y, "predicted": p.argmax(axis=1)}
    return table_csv(pd.DataFrame(columns | {f"p{digit}": p[:, digit] for digit in CLASSES}), "%.6f")


def main() -> None:
    """Measure the model on the test rows."""
    params = load_params()
    with reporter.evaluation(), threadpool_limits(1):
        model = read_model()
        rows = read_rows("test", model.network.shape_in[0])
        p = model.probabilities(rows.X)
        metrics = {"dataset": model.dataset, **evaluate(p, rows.y, params.ece_bins)}
        write_bytes(paths.EVALUATE_METRICS, metrics_json(metrics))
        write_bytes(paths.PREDICTIONS, predictions_csv(rows, p))
    script.say(f"tested on {metrics['dataset']}: accuracy {metrics['test_accuracy']:.2%} on {metrics['n_test']} digits")


if __name__ == "__main__":
    script.run(main)
