"""Make checkout_f63052e.tar.xz again: a small checkout with results and runs, all made by the code of commit f63052e.

tests/test_upgrading.py upgrades it. The archive holds a git repository with the old code, its results and two DVC
experiments; DVC's cache; mlflow.db with three runs, one of them deleted; mlartifacts; and a champion. To make it, have
a clone that has the commit, and the packages of that commit's requirements.lock. It takes two minutes:

    python tests/upgrading/make_checkout.py
"""

import contextlib
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

COMMIT = "f63052e"
ARCHIVE = Path(__file__).with_name(f"checkout_{COMMIT}.tar.xz")
PLACE = "/checkout"  # stands in the archive for the checkout's folder; see `relocate`
FILES = ["src", "params.yaml", "dvc.yaml", ".dvcignore", ".gitignore", ".dvc", "data/.gitignore", "metrics/.gitignore"]
SMALL = {
    "dataset": "synthetic",
    "synthetic_rows_per_writer": 10,
    "hidden_layers": [16],
    "lr": 0.01,
    "epochs": 3,
    "batch_size": 8,
    "weight_average": 0.9,
    "mistakes_shown": 1,
}
DPI = 20  # of the pictures, which would be half of the archive
DELETE_RUN = """
import sys, tracking
store = tracking.open_store()
(run,) = store.client.search_runs([store.experiment_id], f"tags.`dvc.exp_name` = '{sys.argv[1]}'")
store.client.delete_run(run.info.run_id)
"""
LEFT_OUT = {".git/hooks", ".git/info", ".git/logs", ".git/index", ".git/description"}


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary).resolve() / "checkout"
        folder.mkdir()
        fill(folder)
        relocate(folder, str(folder), PLACE)
        forget_machine(folder)
        with tarfile.open(ARCHIVE, "w:xz", preset=9) as archive:
            archive.add(folder, ".", filter=member)
    sys.stdout.write(f"{ARCHIVE.name}: {ARCHIVE.stat().st_size:,} bytes\n")


def fill(folder: Path) -> None:
    """Work in ``folder`` as a user of the old code does."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("DVC_", "MLFLOW_", "GIT_"))}
    environment |= {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "TZ": "UTC"}
    environment |= {"USER": "person", "PYTHONPATH": "src", "PYTHONDONTWRITEBYTECODE": "1"}

    def run(*command: str) -> None:
        subprocess.run(command, cwd=folder, env=environment, check=True)

    clone = Path(__file__).parents[2]
    code = subprocess.run(["git", "archive", COMMIT, *FILES], cwd=clone, check=True, capture_output=True)
    subprocess.run(["tar", "x"], cwd=folder, input=code.stdout, check=True)
    params, figures = folder / "params.yaml", folder / "src/figures.py"
    text = params.read_text()
    for key, value in SMALL.items():
        text = re.sub(rf"(?m)^{key}:.*(\n[ -].*)*", f"{key}: {json.dumps(value)}", text)
    params.write_text(text)
    figures.write_text(re.sub(r"(?m)^DPI = \d+", f"DPI = {DPI}", figures.read_text()))

    run("git", "init", "-q", "-b", "main")
    for key, value in ("user.name", "A Person"), ("user.email", "person@example.com"), ("core.compression", "0"):
        run("git", "config", key, value)  # xz compresses better if git does not
    run("git", "add", ".")
    run("git", "commit", "-q", "-m", f"The pipeline of {COMMIT}, made small")
    run(sys.executable, "src/run.py")
    run("git", "add", ".")
    run("git", "commit", "-q", "-m", "Commit the first results")
    for name, change in ("quick", "lr=0.02"), ("bent", "augment_bend=0.2"):
        run(sys.executable, "-m", "dvc", "exp", "run", "-n", name, "-S", change)
        run("git", "checkout", "-q", ".")
        run(sys.executable, "-m", "dvc", "checkout", "-q")
    run(sys.executable, "-c", DELETE_RUN, "bent")
    run(sys.executable, "src/champion.py")
    run("git", "reflog", "expire", "--expire=now", "--all")
    run("git", "repack", "-adfq", "--window=0")
    run("git", "prune", "--expire=now")


def relocate(folder: Path, old: str, new: str) -> None:
    """Replace the absolute path of the checkout in what MLflow keeps of it in ``folder``: f63052e logs such paths."""
    with contextlib.closing(sqlite3.connect(folder / "mlflow.db")) as database, database:
        for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            for _, column, *_ in database.execute(f"PRAGMA table_info({table})").fetchall():
                change = f"UPDATE {table} SET {column} = replace({column}, ?, ?) WHERE instr({column}, ?)"  # noqa: S608
                database.execute(change, (old, new, old))
    for path in folder.glob("mlartifacts/**/MLmodel"):
        path.write_text(path.read_text().replace(old, new))


def forget_machine(folder: Path) -> None:
    """Remove this machine's name from the database, and exit with an error if one of its paths is left in a file."""
    with contextlib.closing(sqlite3.connect(folder / "mlflow.db")) as database:
        database.execute("UPDATE tags SET value = 'machine:1' WHERE key = 'mlflow.process'")
        database.commit()
        database.execute("VACUUM")
    shutil.rmtree(folder / ".dvc/tmp")
    for path in filter(Path.is_file, folder.rglob("*")):
        for private in folder.parent, Path.home(), sys.prefix:
            if f"{private}/".encode() in path.read_bytes():
                raise SystemExit(f"{path} names {private}")


def member(info: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """A file as it goes into the archive: without its owner."""
    if info.name.removeprefix("./") in LEFT_OUT:
        return None
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    return info


if __name__ == "__main__":
    main()
