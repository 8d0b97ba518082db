"""The trained network as MLflow serves it: `mlflow models serve` runs this file.

Each logged model contains a copy of it, the modules that it imports, and the two files of the network, npz and json.
There is no pickle.
"""

from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import PythonModel, PythonModelContext
from numpy.typing import NDArray

from pen.recognizer import load_recognizer
from utils import one_line

COLUMNS = [f"{axis}{point}" for point in range(1, 9) for axis in "xy"]  # the pen's eight points: x1, y1, ..., x8, y8


class PenDigits(PythonModel):
    """Digits from raw pen coordinates, 0 to 100."""

    def load_context(self, context: PythonModelContext) -> None:
        self._model = load_recognizer(Path(context.artifacts["network.npz"]).parent)

    def predict(self, model_input: pd.DataFrame) -> pd.DataFrame:
        """Recognize digits.

        Args:
            model_input: any form that ``coordinates`` accepts; for a network trained on ink, any form that ``ink``
                accepts. (The type hint is a DataFrame because MLflow would check any other hint itself.)

        Returns:
            One row per digit: ``digit``, the likeliest, and ``p0`` to ``p9``, the probability of each.
        """
        try:
            rows = ink(model_input) if self._model.features == "ink" else coordinates(model_input)
            probabilities = self._model.predict_proba(rows)
        except (TypeError, ValueError, OverflowError) as error:  # the server answers 400 and says why
            raise MlflowException.invalid_parameter_value(one_line(error)) from None
        answer = pd.DataFrame(probabilities.astype(np.float64), columns=[f"p{digit}" for digit in range(10)])
        answer.insert(0, "digit", probabilities.argmax(axis=1))
        return answer


def coordinates(rows: Any) -> NDArray[np.float64]:
    """Convert any form of request into an array of rows (n, 16).

    Columns with names may have any order; rows without names must have the order x1, y1, ..., x8, y8.

    Args:
        rows: a list of rows, or a single row; a dict of columns, or of one row's values; a list of such dicts;
            an array; a DataFrame.

    Raises:
        TypeError or ValueError: if it is none of these, or a named column is missing.
    """
    if isinstance(rows, dict):
        rows = pd.DataFrame({name: np.atleast_1d(column) for name, column in rows.items()})
    elif isinstance(rows, list) and rows and isinstance(rows[0], dict):
        rows = pd.DataFrame(rows)
    if isinstance(rows, pd.DataFrame) and not set(COLUMNS).isdisjoint(rows.columns):
        if missing := [column for column in COLUMNS if column not in rows.columns]:
            raise ValueError(f"expected the columns x1, y1, ..., x8, y8; missing are {', '.join(missing)}")
        rows = rows[COLUMNS]
    return np.atleast_2d(np.asarray(rows, dtype=np.float64))


def ink(digits: Any) -> list[Any]:
    """Convert a table with a column ``ink``, or a list of digits, into a list of digits, each a list of strokes.

    Raises:
        ValueError: for a table without such a column.
    """
    if isinstance(digits, pd.DataFrame):
        if "ink" not in digits.columns:
            raise ValueError("expected a column ink, which holds the strokes of a digit: lists of points x, y")
        digits = digits["ink"]
    return list(digits)


mlflow.models.set_model(PenDigits())
