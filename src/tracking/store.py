"""The store, MLflow's database or server, and the project's experiment in it."""

import contextlib
import json
import logging
import os
import re
import sqlite3
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote

from pipeline.errors import StageError
from pipeline.paths import project_root
from utils import one_line

from .address import (
    ARTIFACTS,
    DATABASE_ERROR,
    ENVIRONMENT,
    NO_ANSWER,
    PEN_DIGITS,
    database_path,
    experiment_name,
    own_database,
    sqlite_uri,
    store_shown,
    store_uri,
    without_password,
)
from .locations import are_relative, follow_root
from .messages import now

if TYPE_CHECKING:
    from mlflow import MlflowClient

COLUMNS = {  # of the table of runs, with their widths in pixels, so that a screen of usual width has room for all
    "metrics.`final_val_accuracy`": 130,
    "metrics.`test_accuracy`": 105,
    "metrics.`test_log_loss`": 90,
    "params.`hidden_layers`": 105,
    "params.`activation`": 80,
    "params.`lr`": 65,
    "params.`epochs`": 65,
    "params.`seed`": 50,
    "duration": 75,
}
NOTE = """\
One row is one run of the pipeline, by `dvc repro` or `dvc exp run`.

| column | meaning |
|---|---|
| test_accuracy, test_log_loss | on the test rows; their writers, or groups, are in neither training nor validation |
| test_accuracy_low, ..._high | its 95 % interval for other digits by the same people; with `people`: for other people |
| test_macro_f1, test_ece | mean F1 score over the classes; expected calibration error, 0 at best |
| final_val_accuracy, val_log_loss | on the rows held out for validation, before `refit` trains on them too |
| val_balanced_accuracy | the same for a table of your own, whose runs it ranks |
| val_rmse, test_rmse, ..._mae, ..._r2 | of a regression, in the label's unit; val_rmse ranks its runs |
| test_log_loss, val_log_loss | the plain cross-entropy of the probabilities, after calibration (temperature) |
| train_loss, val_loss, loss_floor | the training's objective, label smoothing and no calibration; its lowest value |
| n_train, n_refit | the rows of the training; the rows of the second training with `refit`, whose network is tested |
| train_loss, train_accuracy, val_loss, val_accuracy, lr | the curves, one point per epoch; lr is the learning rate |
| n_parameters, weight_norm_... | the size of the network; the Euclidean norm of each weight matrix |
| dvc.exp_name | the DVC experiment, as in `dvc exp show` and `dvc exp apply`; empty for runs in the workspace |
| grid | of the experiments `large-1`, `large-2`, ... of a grid: `large`. Group by this tag to see means over seeds |
| parent_of | of the run that lists those of a grid; it has no results of its own |
| model.sha256, data.sha256, git.commit | the network, and the data and code that made it; checksums of the arrays |

The charts show the curves; clear their search field to see all metrics. To compare two runs, tick both and press
Compare: the page shows the parameters that differ and, under Artifacts, the pictures of both. weights.png has the
histograms of the weights.
"""


def view(name: str) -> dict[str, Any]:
    """How the page shows the runs of an experiment: the columns of its table, and which charts."""
    widths = COLUMNS
    if name != PEN_DIGITS:
        figures = ("val_balanced_accuracy", "val_log_loss", "test_balanced_accuracy", "val_rmse", "test_rmse")
        kept = {column: width for column, width in COLUMNS.items() if not column.startswith("metrics.")}
        widths = {f"metrics.`{figure}`": 120 for figure in figures} | kept
    return {
        "selectedColumns": [column for column in widths if column != "duration"],  # which is always there
        "columnOrder": list(widths),
        "columnWidths": widths,
        "chartsSearchFilter": "^(train|val)_(loss|accuracy)$",  # the curves; a chart a metric would hide them
    }


def experiment_tags(name: str) -> dict[str, str]:
    """The tags that describe an experiment in MLflow's page."""
    return {
        "mlflow.experimentKind": "custom_model_development",  # the UI opens on training runs instead of on GenAI
        f"mlflow.sharedViewState.{name}": json.dumps(view(name)),  # a page's address can name it
        "mlflow.note.content": NOTE,
    }


LOCK_SECONDS = 20  # how long a locked database is waited for


class Store(NamedTuple):
    """An open store: MLflow's client, and the id of the project's experiment."""

    client: "MlflowClient"
    experiment_id: str


def open_store(*, follow: bool = True) -> Store:
    """Open the store and the project's experiment; make them where they are not there.

    Args:
        follow: whether the locations of the artifacts are rewritten if the checkout was moved; else they are not used.
    """
    check_address()
    os.environ.update(ENVIRONMENT | os.environ)  # before the import, which looks at them
    import mlflow

    uri = store_uri()
    if path := database_path():
        _prepare_database(path)
        if own_database():
            with connect(path) as database:
                if follow:
                    follow_root(path, database, experiment_name())
                relative = are_relative(database, experiment_name())
            if relative:
                os.chdir(project_root())
    elif not uri.startswith("http"):
        _ask_once(uri)
    mlflow.set_tracking_uri(uri)
    client = mlflow.MlflowClient(uri)
    return Store(client, _experiment(client))


def check_address() -> None:
    """Raise StageError if the store cannot be where its address says."""
    root, uri = str(project_root()), store_uri()
    if unquote(root.encode(errors="ignore").decode()) != root:
        raise StageError(
            f"MLflow cannot work in {one_line(root)}: it would take a % with two digits, or a letter that is "
            "not UTF-8, for another letter; rename that folder"
        )
    if uri.startswith("sqlite") and not database_path():
        raise StageError(f"MLFLOW_TRACKING_URI={uri} keeps no run; name a file, as in sqlite:///mlflow.db, or unset it")


def _ask_once(uri: str) -> None:
    """Connect to a database. MLflow itself would try ten times, in two minutes."""
    from sqlalchemy import create_engine
    from sqlalchemy.exc import ArgumentError

    with contextlib.suppress(ArgumentError):  # no database
        create_engine(uri).connect().close()


@contextlib.contextmanager
def one_line_faults() -> Iterator[None]:
    """For people's commands: a store that is away or refuses is a StageError, said in a line."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    logging.getLogger("mlflow").setLevel(logging.CRITICAL)  # it logs what it raises
    try:
        yield
    except (MlflowException, SQLAlchemyError, sqlite3.Error, ImportError, OSError) as error:
        if isinstance(error, OSError) and error.filename:  # of a file, which has a line of its own
            raise
        said = without_password(str(error))
        found = DATABASE_ERROR.search(said) or re.search(".+", said)
        reason = found[0] if found else type(error).__name__
        reason = "no answer" if NO_ANSWER.match(reason) else one_line(reason, 200)
        raise StageError(f"MLflow at {store_shown()}: {reason}; {_remedy(error)}") from None


def _remedy(error: Exception) -> str:
    if own_database():
        return "`make doctor` tells more"
    if isinstance(error, ImportError):
        return f"install {error.name} into the environment, or unset MLFLOW_TRACKING_URI"
    return "see whether it can be reached, or unset MLFLOW_TRACKING_URI"


def _experiment(client: "MlflowClient") -> str:
    """The id of the project's experiment, which is created, restored or described first if necessary."""
    from mlflow.exceptions import MlflowException

    name = experiment_name()
    tags, found = experiment_tags(name), client.get_experiment_by_name(name)
    if not found:
        # A server has its own place for artifacts; a database would take a folder of the working directory.
        artifacts = None if store_uri().startswith("http") else str(_beside() / ARTIFACTS)
        try:
            return client.create_experiment(name, artifacts, tags=tags)
        except MlflowException:
            found = client.get_experiment_by_name(name)  # another process may have been faster
            if not found:
                raise
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    for tag, value in tags.items():
        if found.tags.get(tag) != value:
            client.set_experiment_tag(found.experiment_id, tag, value)
    return str(found.experiment_id)


def _beside() -> Path:
    """The folder for a new database's artifacts: its own, if it does not move with the checkout."""
    path = database_path()
    return path.parent if path and not own_database() else project_root()


def check_artifacts(store: Store) -> None:
    """Raise StageError if a database keeps its artifacts in a folder that is gone, as after a checkout was moved.

    MLflow would make the folder again and write new artifacts there, while the old ones are elsewhere.
    """
    place = Path(store.client.get_experiment(store.experiment_id).artifact_location)
    is_local = place.is_absolute() and not store_uri().startswith("http")
    if is_local and not os.access(place.parent, os.F_OK):
        raise StageError(
            f"the artifacts of {store_shown()} were in {place}, and {place.parent} is not there; put it back, or a "
            "link to where it is now"
        )


def _prepare_database(path: Path) -> None:
    """Create the database, or upgrade an old one to the installed MLflow, in one process at a time.

    MLflow breaks a new database if several processes start to use it together. So it is created under another name and
    then renamed. SQLite's ``user_version`` records the MLflow version that it fits, so that later processes need no
    lock.
    """
    ready = _mark(version("mlflow"))
    if _mark_in(path) == ready:
        return
    from filelock import FileLock
    from mlflow import MlflowClient
    from mlflow.db import upgrade

    lock = path.with_name(f"{path.name}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.touch()  # FileLock would wait for ever for a file that cannot be made
    except OSError as error:
        raise StageError(
            f"{path} cannot be made, {error.strerror}; set MLFLOW_TRACKING_URI to another, or unset it"
        ) from None
    with FileLock(lock):
        mark = _mark_in(path)
        if mark == ready:
            return
        if mark is None:
            unfinished = path.with_name(f"{path.name}.unfinished")
            unfinished.unlink(missing_ok=True)
            upgrade.main([sqlite_uri(unfinished)], standalone_mode=False)
            with connect(unfinished) as database, database:
                # MLflow's own statement fails at quotes and colons, and names a place in the working directory.
                database.execute(
                    "INSERT INTO experiments (experiment_id, name, artifact_location, lifecycle_stage, creation_time, "
                    "last_update_time) VALUES (0, 'Default', ?1, 'active', ?2, ?2)",
                    (str(project_root() / "mlruns/0"), now()),
                )
            unfinished.replace(path)
        else:
            with connect(path) as database, connect(path.with_name(f"{path.name}.backup")) as backup:
                database.backup(backup)
            upgrade.main([sqlite_uri(path)], standalone_mode=False)
        _experiment(MlflowClient(sqlite_uri(path)))
        with connect(path) as database:
            database.execute(f"PRAGMA user_version = {ready}")


def _mark_in(path: Path) -> int | None:
    """The mark that ``_prepare_database`` has set; None if there is no database yet."""
    if not path.exists() or not path.stat().st_size:
        return None
    try:
        with connect(path) as database:
            return int(database.execute("PRAGMA user_version").fetchone()[0])
    except sqlite3.OperationalError as error:  # such as a lock that is held for longer than we wait
        raise StageError(f"{path} cannot be read now, {error}") from None
    except sqlite3.DatabaseError as error:
        raise StageError(f"{path} is damaged, {error}; move it away, and a new one is made") from None


def _mark(release: str) -> int:
    """A release's number: 3.17.2 is 3017002."""
    major, minor, patch = re.findall(r"\d+", release)[:3]
    return (int(major) * 1000 + int(minor)) * 1000 + int(patch)


def connect(path: Path) -> contextlib.closing[sqlite3.Connection]:
    return contextlib.closing(sqlite3.connect(path, timeout=LOCK_SECONDS))
