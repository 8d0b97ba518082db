"""MLflow's store in tests. A new database takes seconds, so one is made for all tests and copied."""

import contextlib
import shutil
import sqlite3
from pathlib import Path

import pytest

MLFLOW_WARNS = pytest.mark.filterwarnings(  # of itself and of what it uses, on import too
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"
)


def copy_store(empty_store: Path, folder: Path) -> None:
    """Give the checkout in ``folder`` a store that is ready for use, with the project's experiment and no runs."""
    shutil.copy(empty_store / "mlflow.db", folder / "mlflow.db")
    with contextlib.closing(sqlite3.connect(folder / "mlflow.db")) as database, database:
        database.execute(
            "UPDATE experiments SET artifact_location = ? WHERE name = 'pendigits'", (str(folder / "mlartifacts"),)
        )
