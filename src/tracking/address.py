"""The address of the store, and the environment variables for MLflow. Imports no mlflow."""

import os
import re
from pathlib import Path
from urllib.parse import unquote

from pipeline.errors import StageError
from pipeline.params import load_params
from pipeline.paths import PARAMS_FILE, project_root

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


PEN_DIGITS = "pendigits"
ARTIFACTS = "mlartifacts"  # in the main checkout
SQLITE = re.compile(r"sqlite(?:\+pysqlite)?:///(?!file:|:memory:)([^?]*)(.*)", re.DOTALL)
NO_ANSWER = re.compile(r"API request to \S+ failed with (timeout )?exception|HTTPS?Connection|\('Conn")  # of a server
DATABASE_ERROR = re.compile(r"\([\w.]+\.\w*Error\) .+")  # what SQLAlchemy puts between its own sentences


def experiment_name() -> str:
    """The project's experiment: it is called like the user's table, or ``pendigits`` for all pen digits."""
    path = PARAMS_FILE if PARAMS_FILE.exists() else project_root() / PARAMS_FILE
    try:
        params = load_params(path)
    except StageError:
        return PEN_DIGITS
    return params.name if params.dataset == "own" else PEN_DIGITS


def store_uri() -> str:
    """The store's address: MLFLOW_TRACKING_URI, or else a database in the main checkout.

    A relative path of a database or folder counts from the main checkout: DVC deletes a temporary experiment's folder.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI", "").strip()
    if not uri:
        return sqlite_uri(project_root() / "mlflow.db")
    if parts := SQLITE.fullmatch(uri):
        return sqlite_uri(project_root() / unquote(parts[1])) + parts[2]
    if "://" not in uri and not re.match(r"\w{2,}:|databricks", uri):
        return str(project_root() / uri)
    return uri


def sqlite_uri(path: Path) -> str:
    """A database's address. With the driver in it MLflow does not make the folder that the escaped path would name."""
    escaped = str(path).replace("%", "%25").replace("?", "%3F")
    return f"sqlite{'+pysqlite' * ('%' in escaped)}:///{escaped}"


def database_path() -> Path | None:
    """The store's file, if it is a database of SQLite's."""
    parts = SQLITE.fullmatch(store_uri())
    return Path(unquote(parts[1])) if parts else None


def own_database() -> Path | None:
    """The store's file, if it is a database in the main checkout, which moves with the checkout."""
    path = database_path()
    return path if path and Path(os.path.normpath(path)).is_relative_to(project_root()) else None


def store_shown() -> str:
    """The store's address without a password, to be printed."""
    return without_password(store_uri())


def without_password(text: str) -> str:
    return re.sub(r"//[^/@\s]*@", "//", text)
