"""The network over a table's columns as MLflow serves it: `mlflow models serve` runs this file.

Each logged model contains a copy of it, the modules that it imports, and the two files of the network, npz and json.
There is no pickle.
"""

from pathlib import Path

import mlflow
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import PythonModel, PythonModelContext

from pipeline.tabular.model import load_table_model
from utils import one_line


class Table(PythonModel):
    """Labels from raw rows of a table."""

    def load_context(self, context: PythonModelContext) -> None:
        self._model = load_table_model(Path(context.artifacts["network.npz"]).parent)

    def predict(self, model_input: pd.DataFrame) -> pd.DataFrame:
        """Predict the label of each row.

        Args:
            model_input: named columns in any order, or all of them without names in the order of the training file.
                (The type hint is a DataFrame because MLflow would check any other hint itself.)

        Returns:
            One row per row: the label under its own name and, of a classifier, ``p_CLASS``, each class's probability.
        """
        try:
            return pd.DataFrame(self._model.answers(model_input))
        except (TypeError, ValueError, OverflowError) as error:  # the server answers 400 and says why
            raise MlflowException.invalid_parameter_value(one_line(error)) from None


mlflow.models.set_model(Table())
