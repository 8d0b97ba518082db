"""`make doctor`: check the set-up, and print for each problem the command that fixes it.

`make doctor CLOSE=1` (`python src doctor close`) closes the runs in MLflow whose process is gone. Without it, doctor
changes no run.
"""

import re
import shutil
import sqlite3
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import psutil

from pipeline import paths
from pipeline.configure import load_and_configure
from pipeline.errors import ParamsError, StageError
from runtime.git import GitError, git_text, has_git, lacks_history
from runtime.script import say
from tracking.address import database_path, experiment_name, own_database, store_shown
from tracking.locations import moved_from
from tracking.mlflow_run import abandoned_runs
from tracking.store import Store, check_address, check_artifacts, connect, one_line_faults, open_store
from utils import one_line

from . import ui
from .experiments import experiments_of, lacking_and_older, name_remote, remedy

FIRST_COMMIT = 'git add . && git commit -m "Begin"'
REMAKE = "rm -rf .venv && make setup"
NAME_YOURSELF = "git config user.email you@example.com && git config user.name You"


class Finding(NamedTuple):
    """The result of a check, and the command that fixes the problem; no command if there is no problem."""

    what: str
    command: str = ""


def main() -> None:
    if sys.argv[1:] == ["close"]:
        with one_line_faults():
            close_abandoned(open_store(follow=False))  # a run that says RUNNING keeps the store at its former place
            open_store()
        return
    root = paths.project_root()
    findings = [finding for check in CHECKS for finding in findings_of(check, root)]
    for what, command in findings:
        say(f"{'problem:' if command else 'ok:'} {what}" + (f"\n      {command}" if command else ""))
    if any(finding.command for finding in findings):
        sys.exit(1)


def findings_of(check: Callable[[Path], list[Finding]], root: Path) -> list[Finding]:
    """The findings of one check. If the check itself fails, that is a finding, too, and the other checks go on."""
    try:
        return check(root)
    except Exception as error:  # noqa: BLE001 (whatever it is, it is printed)
        name = check.__name__.removeprefix("check_")
        return [
            Finding(f"{name} could not be checked: {type(error).__name__}: {one_line(error, 300)}", "see the message")
        ]


def check_git(root: Path) -> list[Finding]:
    """Experiments need git and a commit to start from."""
    if not shutil.which("git"):
        return [Finding("git is not installed; experiments need it", "apt-get install git")]
    try:
        if not has_git(root):
            return [Finding("this is not a git repository; experiments need one", f"git init && {FIRST_COMMIT}")]
    except GitError as error:
        return [Finding(f"git refuses: {error.reason}", error.remedy or "git status")]
    try:
        found = [Finding(f"git: on commit {git_text('rev-parse', '--short', 'HEAD', folder=root)}")]
    except GitError:
        return [Finding("there is no commit yet; experiments start from one", FIRST_COMMIT)]
    try:
        git_text("config", "user.email", folder=root)
    except GitError:
        found += [Finding("git does not know your name; DVC needs it to commit experiments", NAME_YOURSELF)]
    if lacking := lacks_history(root):
        kind, command = lacking
        found += [Finding(f"this clone is {kind}, and DVC loses queued and temporary experiments", command)]
    return found


def check_environment(root: Path) -> list[Finding]:
    """The installed packages must have the versions of requirements.lock, and their scripts must find them."""
    if place := moved_environment(Path(sys.executable).with_name("dvc")):
        return [Finding(f"environment: moved from {place}, where its commands such as `dvc` look for it", REMAKE)]
    pinned = locked_versions((root / "requirements.lock").read_text(encoding="utf-8"))
    wrong = []
    for name, wanted in pinned.items():
        try:
            installed = version(name)
        except PackageNotFoundError:
            continue  # for another system, or only for `make lint`; the imports at the top have worked
        if installed != wanted:
            wrong.append(f"{name} {installed} (lock: {wanted})")
    if wrong:
        shown = ", ".join(wrong[:5]) + " ..." * (len(wrong) > 5)
        return [Finding(f"environment: differs from requirements.lock: {shown}", REMAKE)]
    return [Finding(f"environment: as in requirements.lock, Python {sys.version.split()[0]}")]


def moved_environment(script: Path) -> str:
    """Where the environment of a script was when pip wrote the script, if it is elsewhere now; else empty."""
    start = script.read_text(encoding="utf-8", errors="replace").split("\n")[:2] if script.exists() else []
    found = re.search("(/.*)/bin/python", "\n".join(start))  # in the first line, or after #!/bin/sh
    return found[1] if found and Path(found[1]).resolve() != script.parents[1].resolve() else ""


def locked_versions(text: str) -> dict[str, str]:
    """The pinned versions in a requirements.lock that apply to this Python and system."""
    from packaging.requirements import Requirement

    pinned = {}
    for line in re.findall(r"(?m)^([A-Za-z0-9].*?)\s*\\?$", text):
        requirement = Requirement(line)
        if not requirement.marker or requirement.marker.evaluate():
            pinned[requirement.name] = next(iter(requirement.specifier)).version
    return pinned


def check_params(root: Path) -> list[Finding]:
    """params.yaml must be valid; a rejected experiment may have changed it."""
    try:
        load_and_configure(root / "params.yaml")
    except ParamsError as error:
        return [Finding(str(error).replace("\n", "\n      "), "git checkout params.yaml")]
    return [Finding("params.yaml: valid")]


def check_store(root: Path) -> list[Finding]:
    """The database must be intact, and fit the installed MLflow."""
    path = database_path()
    try:
        check_address()
        if path and not path.exists():
            return [Finding("MLflow's store: not made yet; the first run makes it")]
        if path and (fault := database_fault(path)) is not None:
            return [Finding(f"{path.name} is damaged: {fault}", f"mv {path} {path}.damaged && make sync")]
        with one_line_faults():
            store = open_store(follow=False)
            abandoned = abandoned_runs(store)
            if not own_database():
                check_artifacts(store)
    except StageError as error:
        command = (
            "see the message" if own_database() else "unset MLFLOW_TRACKING_URI, or start the server; then make sync"
        )
        return [Finding(str(error), command)]
    found = [Finding(f"MLflow's store: intact, {store_shown()}")]
    if path and own_database():
        with connect(path) as database:
            place = moved_from(database, experiment_name())
        if place:
            found = [
                Finding(f"the checkout was moved from {place}, where MLflow's store has its artifacts", "make sync")
            ]
    if abandoned:
        names = ", ".join(one_line(run.info.run_name, 60) for run in abandoned[:5]) + " ..." * (len(abandoned) > 5)
        found.append(
            Finding(f"{len(abandoned)} runs say RUNNING, but their process is gone: {names}", "make doctor CLOSE=1")
        )
    return found


def database_fault(path: Path) -> str | None:
    """The first fault that SQLite finds in a database; None if it is intact."""
    try:
        with connect(path) as database:
            said = database.execute("PRAGMA quick_check").fetchone()[0]
            tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        return one_line(error)
    if said != "ok":
        return one_line(said)
    lacking = {"experiments", "runs", "metrics", "params", "tags", "alembic_version"} - tables
    return f"it lacks the table {min(lacking)}" if lacking else None


def close_abandoned(store: Store) -> None:
    """Close as KILLED the runs whose process is gone."""
    for run in abandoned_runs(store):
        store.client.set_terminated(run.info.run_id, "KILLED")
        say(f"MLflow: {one_line(run.info.run_name, 60)} is closed as KILLED")


def check_queue(root: Path) -> list[Finding]:
    """No task of DVC's queue should have failed, or wait without a worker.

    Failed tasks stay in the queue until they are removed. On a very busy machine a worker may read a message that is
    only half written; it then ends after its present experiment, and other tasks wait.
    """
    tasks = queue_tasks(root) if has_git(root) else []
    failed, waiting = (sorted(name for name, status in tasks if status == wanted) for wanted in ("Failed", "Queued"))
    found = []
    if failed:
        what = f"failed in DVC's queue: {', '.join(failed)}"
        found += [Finding(what, f"dvc queue logs {failed[0]}, and `dvc queue remove --failed` when you know why")]
    if waiting and not workers(root):
        found += [Finding(f"queued, but no worker is running: {', '.join(waiting)}", "dvc queue start")]
    return found or [Finding("DVC's queue: no failed task, and none that waits without a worker")]


def check_experiments(root: Path) -> list[Finding]:
    """The files of each experiment must be here, or where `dvc exp pull` finds them."""
    from dvc.repo import Repo

    experiments = experiments_of(root)
    if not experiments:
        return [Finding("experiments: none yet")]
    lacking, older = lacking_and_older(root, experiments)
    found = []
    with Repo(root) as repo:
        for experiment in lacking:
            what = f"DVC's cache lacks files of experiment {experiment.name}"
            found.append(Finding(what, remedy(repo, experiment)))
        if older:
            names = ", ".join(experiment.name for experiment in older)
            what = f"older than DVC's remote, so that `dvc exp push` uploads no file of them: {names}"
            found.append(Finding(what, name_remote(repo)))
    return found or [Finding(f"experiments: {len(experiments)}, with all their files")]


def queue_tasks(root: Path) -> list[tuple[str, str]]:
    """Name and status of each experiment in DVC's queue. If its worker was killed, the status is Failed."""
    from dvc.repo import Repo

    with Repo(root) as repo:
        tasks = repo.experiments.celery_queue.status()
    return [(task["name"] or task["rev"][:7], task["status"]) for task in tasks]


def workers(root: Path) -> list[int]:
    """The worker processes that `dvc queue start` started and that are still running."""
    files = (root / ".dvc/tmp/exps/celery").glob("dvc-exp-worker-*.pid")
    pids = [int(text) for file in files if (text := file.read_text(encoding="utf-8").strip()).isdigit()]
    return [pid for pid in pids if psutil.pid_exists(pid)]


def check_port(root: Path) -> list[Finding]:
    """A taken port is no problem: `make ui` uses the next free one. The page itself may have taken it."""
    free = ui.is_free(ui.FIRST_PORT)
    return [Finding(f"port {ui.FIRST_PORT}: {'free' if free else 'taken; `make ui` takes the next free one'}")]


CHECKS: tuple[Callable[[Path], list[Finding]], ...] = (
    check_git,
    check_environment,
    check_params,
    check_store,
    check_queue,
    check_experiments,
    check_port,
)
