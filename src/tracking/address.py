"""The address of the store, and the environment variables for MLflow. Imports no mlflow."""

import os
import re
from pathlib import Path

from pipeline.paths import project_root

ENVIRONMENT = {  # what the user has set wins
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",  # a server that is away costs seconds, not minutes
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # a process more in the server, for GenAI alone
    "MLFLOW_SERVER_ALLOWED_HOSTS": "127.0.0.1,127.0.0.1:*,localhost,localhost:*",  # MLflow's own has the local network
}


def store_uri() -> str:
    """The store's address: MLFLOW_TRACKING_URI, or else a database in the main checkout.

    A relative path of a database or folder counts from the main checkout: DVC deletes a temporary experiment's folder.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI", "").strip()
    if not uri:
        return _sqlite(project_root() / "mlflow.db")
    if uri.startswith("sqlite:///"):
        path, question, query = uri.removeprefix("sqlite:///").partition("?")
        return _sqlite(project_root() / path) + question + query
    if "://" not in uri and not re.match(r"\w{2,}:|databricks", uri):
        return str(project_root() / uri)
    return uri


def _sqlite(path: Path) -> str:
    return f"sqlite:///{path}"


def database_path() -> Path | None:
    """The store's file, if it is a database of SQLite's."""
    uri = store_uri()
    return Path(uri.removeprefix("sqlite:///").partition("?")[0]) if uri.startswith("sqlite:///") else None


def store_shown() -> str:
    """The store's address without a password, to be printed."""
    return re.sub(r"//[^/@]*@", "//", store_uri())
