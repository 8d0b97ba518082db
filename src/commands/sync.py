"""`make sync`: log each DVC experiment, and the workspace, if its MLflow run is missing or incomplete.

An experiment is a commit under refs/exps. Git holds its parameters, metrics and pictures; DVC's cache holds its model,
predictions and data. Both are written into a temporary clone. Tracking then makes the run from the clone, as it does
after a training. Complete runs are left alone, so a second `make sync` changes nothing.
"""

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from filelock import FileLock

from pipeline import paths
from pipeline.errors import StageError
from pipeline.tables import read_table
from runtime.git import NoGitError, git, git_text, lacks_history
from runtime.script import say
from tracking.contents import files_checksum, flat, model_checksum, model_file_checksum, read_params
from tracking.mlflow_run import ensure_run, find_runs, is_under_another_name
from tracking.store import Store, check_artifacts, one_line_faults, open_store

from .experiments import Experiment, checkout, complete, experiments_of

if TYPE_CHECKING:
    from mlflow import entities


TRACKED = ("train", "evaluate")  # the stages whose parameters a run shows as its own


def main() -> None:
    root = paths.project_root()
    with FileLock(root / ".dvc/tmp/sync.lock"), one_line_faults():
        failures = sync(open_store(), root)
    if failures:
        kind, command = lacks_history(root) or ("", "")
        raise StageError(f"{failures} could not be logged" + f"; this clone is {kind}: {command}" * bool(kind))


def sync(store: Store, root: Path) -> int:
    """Log the missing runs and print the result; returns how many could not be logged."""
    check_artifacts(store)  # before complete runs are taken for incomplete
    experiments = experiments_of(root)
    logged, failures = 0, 0
    with clone_of(root) as clone:
        for experiment in experiments:
            try:
                lay_out(clone, root, experiment)
                origin = origin_of(experiment)
                if not is_under_another_name(store, clone, origin, map(origin_of, experiments)):
                    ran_at = 1000 * int(
                        git_text("rev-list", "-1", "--timestamp", experiment.commit, folder=root).split()[0]
                    )
                    logged += log(store, clone, origin, ran_at)
            except (StageError, OSError, ValueError, KeyError) as error:
                say(f"{experiment.name}: not logged: {error}")
                failures += 1
    n = len(experiments)
    say(f"{n} experiment{'s' * (n != 1)}: {logged} logged, {n - logged - failures} already there")
    say(f"workspace: {sync_workspace(store, root)}")
    return failures


def sync_workspace(store: Store, root: Path) -> str:
    """Log the results in the workspace, unless they are those of a logged experiment; returns the outcome in words."""
    needed: tuple[Path | str, ...] = (*paths.MODEL_FILES, *paths.SPLIT_FILES, *paths.EVALUATE_FILES, "dvc.lock")
    missing = [file for file in needed if not (root / file).exists()]
    if missing:
        return f"nothing to log, {missing[0]} does not exist; `make run` makes it"
    try:
        check_lock(root)
    except StageError as error:
        return f"nothing to log, {error}; run `dvc repro`"
    if run := shown(store, root):
        return f"already there, as {run.info.run_name}"
    ran_at = int((root / paths.EVALUATE_METRICS).stat().st_mtime * 1000)
    return "logged" if log(store, root, {}, ran_at) else "already there"


def log(store: Store, folder: Path, origin: Mapping[str, str], ran_at: int) -> bool:
    """Log the results in ``folder``, and replace a run that has lost files; returns False if nothing was missing.

    Args:
        ran_at: when the results were made, in ms since 1970: git knows when DVC committed an experiment.
    """
    incomplete = []
    for run in find_runs(store, origin, folder):
        if lost := lost_from(store, run, folder):
            say(f"MLflow: {run.info.run_name} has lost {lost}; it is logged again")
            incomplete.append(run.info.run_id)
    return ensure_run(store, folder, origin, replaced=incomplete, ran_at=ran_at) is not None


def shown(store: Store, folder: Path) -> "entities.Run | None":
    """A complete run, of any origin, that shows exactly the results in ``folder``."""
    params = flat(read_params(folder))
    evaluated = files_checksum(folder, [paths.EVALUATE_METRICS])
    wanted = f"tags.`evaluate.sha256` = '{evaluated}' and status = 'FINISHED'"
    models = model_checksum(folder), model_file_checksum(folder)
    for run in store.client.search_runs([store.experiment_id], wanted):
        known = run.data.tags.get("model.sha256") in models and run.data.params == params
        if known and not lost_from(store, run, folder):
            return run
    return None


def lost_from(store: Store, run: "entities.Run", folder: Path) -> str:
    """The first thing that a finished run of the model in ``folder`` has lost; empty if it is complete."""
    evaluated, drawn = "evaluate.sha256" in run.data.tags, "figures.sha256" in run.data.tags
    tables = [file for file in paths.TRAIN_FILES + paths.EVALUATE_FILES * evaluated if (folder / file).exists()]
    files = [f"weights/{file.name}" for file in paths.MODEL_FILES]
    files += [f"metrics/{file.name}" for file in tables]
    client, run_id = store.client, run.info.run_id
    held = {file.path for place in ("", "weights", "metrics") for file in client.list_artifacts(run_id, place)}
    if missing := [file for file in files if file not in held]:
        return missing[0]
    if drawn and not any(file.endswith(".png") for file in held):
        return "its pictures"
    models = run.outputs.model_outputs if run.outputs else []
    if not models or not client.list_logged_model_artifacts(models[0].model_id):
        return "its model"
    epochs = set(read_table(folder / paths.HISTORY, ("epoch",))["epoch"])
    points = {point.step for point in client.get_metric_history(run_id, "val_loss")}
    return "" if points == epochs else "part of its curves"


def origin_of(experiment: Experiment) -> dict[str, str]:
    """Whose run it is, as tags."""
    return {"dvc.exp_name": experiment.name, "dvc.baseline_rev": experiment.baseline}


@contextlib.contextmanager
def clone_of(root: Path) -> Iterator[Path]:
    """The project in a temporary clone that uses the git objects of the checkout."""
    with tempfile.TemporaryDirectory(prefix="sync-", dir=root / ".dvc/tmp") as folder:
        place = ""
        with contextlib.suppress(NoGitError):
            top, place = (git_text("rev-parse", option, folder=root) for option in ("--show-toplevel", "--show-prefix"))
            git("clone", "--quiet", "--shared", "--no-checkout", top, folder, folder=root)
        project = Path(folder, place)
        project.mkdir(parents=True, exist_ok=True)
        yield project


def lay_out(clone: Path, root: Path, experiment: Experiment) -> None:
    """Write the experiment's files into ``clone``, on top of the commit that it started from.

    Raises:
        StageError: if DVC's cache lacks a file, or the experiment was run with other parameters.
    """
    complete(root, experiment)
    git("update-ref", "--no-deref", "HEAD", experiment.baseline, folder=clone)
    git("read-tree", "--reset", "-u", experiment.commit, folder=clone)
    check_lock(clone)
    checkout(clone, root, experiment)


def check_lock(folder: Path) -> None:
    """Raise StageError unless dvc.lock says that the results belong together.

    Every stage must have run with the parameters in params.yaml, and on the present results of the stages before it.
    For instance, evaluate must have run after the latest training.
    """
    values = yaml.safe_load((folder / "params.yaml").read_text(encoding="utf-8"))
    stages = yaml.safe_load((folder / "dvc.lock").read_text(encoding="utf-8"))["stages"]
    for name in TRACKED:
        used = stages.get(name, {}).get("params", {}).get("params.yaml")
        if used is None:
            raise StageError(f"{name} has not run")
        for key, value in used.items():
            if key not in values:
                raise StageError(f"{name} has not run with the parameters of this version yet")
            if values[key] != value:
                raise StageError(f"{name} has not run with {key} = {values.get(key)} yet")
    made = {out["path"]: out["md5"] for held in stages.values() for out in held.get("outs", [])}
    for name, held in stages.items():
        for read in held.get("deps", []):
            if made.get(read["path"], read["md5"]) != read["md5"]:
                raise StageError(f"{name} has not run on the present {read['path']} yet")
