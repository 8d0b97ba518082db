"""Correct the artifact paths in the project's own database after the checkout was moved.

MLflow stores absolute paths. If the checkout is moved, copied or mounted elsewhere, they point to the old place.
"""

import contextlib
import json
import sqlite3
from pathlib import Path

from pipeline.errors import StageError
from pipeline.paths import project_root
from runtime.script import say

from .address import ARTIFACTS

ROOTS = "pendigits.roots"  # a tag of the experiment: where this checkout has been
COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


def are_relative(database: sqlite3.Connection, experiment: str) -> bool:
    """Whether the locations are relative to the main checkout."""
    return _location_of(database, experiment) == ARTIFACTS


def moved_from(database: sqlite3.Connection, experiment: str) -> Path | None:
    """The checkout's former place, if the locations lead there; None if they lead to where it is."""
    old = _location_of(database, experiment)
    if "://" in old or Path(old).name != ARTIFACTS or old == ARTIFACTS:
        return None
    root, place = project_root(), Path(old).parent
    with contextlib.suppress(OSError):  # a folder of another user
        if place.samefile(root):  # as by a link
            return None
    return place if place != root else None


def follow_root(path: Path, database: sqlite3.Connection, experiment: str) -> None:
    """Rewrite the locations if the checkout was moved, in one process at a time.

    After a first move the new paths are absolute, so that any program finds the artifacts. If the checkout returns to
    a former place, it is probably used under two paths in turn, for instance by a host and a container. Then the paths
    become relative and need no more changes, but other programs must run in the main checkout.

    Raises:
        StageError: if they must be rewritten while a run is RUNNING.
    """
    if not moved_from(database, experiment):
        return
    with database:
        database.execute("BEGIN IMMEDIATE")
        if not (place := moved_from(database, experiment)):
            return  # another process has done it
        (number,) = database.execute("SELECT experiment_id FROM experiments WHERE name = ?", (experiment,)).fetchone()
        running = database.execute(
            "SELECT name FROM runs WHERE status = 'RUNNING' AND experiment_id = ?", (number,)
        ).fetchone()
        if running:
            raise StageError(
                f"the checkout was moved from {place}, and the run {running[0]} says RUNNING; when it ended, or after "
                "`make doctor CLOSE=1`, the locations of the artifacts are rewritten"
            )
        root = project_root()
        told = database.execute(
            "SELECT value FROM experiment_tags WHERE experiment_id = ? AND key = ?", (number, ROOTS)
        ).fetchone()
        roots = [*(json.loads(told[0]) if told else []), str(place)]
        relative = str(root) in roots
        with (
            contextlib.closing(sqlite3.connect(path)) as saved,
            contextlib.closing(sqlite3.connect(f"{path}.before-move")) as backup,
        ):
            saved.backup(backup)
        old = _location_of(database, experiment).removesuffix(ARTIFACTS)
        new = "" if relative else str(root) + old[-1]
        for table, column in COLUMNS:
            database.execute(
                f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",  # noqa: S608 (names of ours)
                (new, len(old) + 1, len(old), old),
            )
        database.execute(
            "INSERT OR REPLACE INTO experiment_tags (key, value, experiment_id) VALUES (?, ?, ?)",
            (ROOTS, json.dumps(roots), number),
        )
    say(
        f"MLflow: the checkout was moved from {place}; the locations of its artifacts are "
        f"{'relative to it now' if relative else 'rewritten'} (before: {path.name}.before-move)"
    )


def _location_of(database: sqlite3.Connection, experiment: str) -> str:
    found = database.execute("SELECT artifact_location FROM experiments WHERE name = ?", (experiment,)).fetchone()
    return str(found[0]) if found else ""
