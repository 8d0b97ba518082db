"""Correct the artifact paths in the project's own database after the checkout was moved.

MLflow stores absolute paths. If the checkout is moved, copied or mounted elsewhere, they point to the old place.
"""

import json
import sqlite3
from pathlib import Path

from pipeline.errors import StageError
from pipeline.paths import project_root
from runtime.script import say

ARTIFACTS = "mlartifacts"  # in the main checkout
ROOTS = "pendigits.roots"  # a tag of the experiment: where this checkout has been
COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


def follow_root(database: sqlite3.Connection, experiment: str) -> bool:
    """Rewrite the artifact paths if the checkout was moved; returns whether they are relative to the main checkout.

    After a first move the new paths are absolute, so that any program finds the artifacts. If the checkout returns to
    a former place, it is probably used under two paths in turn, for instance by a host and a container. Then the paths
    become relative and need no more changes, but other programs must run in the main checkout.

    Raises:
        StageError: if they must be rewritten while a run is RUNNING.
    """
    found = database.execute(
        "SELECT experiment_id, artifact_location FROM experiments WHERE name = ?", (experiment,)
    ).fetchone()
    if found is None:
        return False
    number, old = found
    root = project_root()
    new = str(root / ARTIFACTS)
    if old in (new, ARTIFACTS) or "://" in old or _is_same(Path(old), Path(new)):
        return bool(old == ARTIFACTS)
    running = database.execute(
        "SELECT name FROM runs WHERE status = 'RUNNING' AND experiment_id = ?", (number,)
    ).fetchall()
    if running:
        raise StageError(
            f"the checkout was moved from {Path(old).parent} while the run {running[0][0]} is RUNNING; the "
            "locations of its artifacts are rewritten when it has ended, or after `make doctor CLOSE=1`"
        )
    told = database.execute(
        "SELECT value FROM experiment_tags WHERE experiment_id = ? AND key = ?", (number, ROOTS)
    ).fetchone()
    roots = [*(json.loads(told[0]) if told else []), str(Path(old).parent)]
    if str(root) in roots:
        new = ARTIFACTS
    with sqlite3.connect(root / "mlflow.db.before-move") as backup:
        database.backup(backup)
    backup.close()
    with database:
        for table, column in COLUMNS:
            below = f"{column} = ? OR substr({column}, 1, ?) = ?"
            database.execute(
                f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE {below}",  # noqa: S608 (names of ours)
                (new, len(old) + 1, old, len(old) + 1, f"{old}/"),
            )
        database.execute(
            "INSERT OR REPLACE INTO experiment_tags (key, value, experiment_id) VALUES (?, ?, ?)",
            (ROOTS, json.dumps(roots), number),
        )
    say(
        f"MLflow: the checkout was moved from {roots[-1]}; the locations of its artifacts are "
        f"{'relative now' if new == ARTIFACTS else 'rewritten'} (before: mlflow.db.before-move)"
    )
    return new == ARTIFACTS


def _is_same(old: Path, new: Path) -> bool:
    """Whether both lead to the same folder, as by a link."""
    return old.exists() and new.exists() and old.samefile(new)
