"""`make tidy`: free the disk of results that no experiment, branch, tag or person needs, after a question.

It says how much each part would free: files in DVC's cache, runs that were deleted in MLflow, and old checkpoints.
`make tidy YES=1` (`python src tidy yes`) does not ask. What is needed stays: a model that is registered, though its run
was deleted; the cache of experiments that run or wait; a cache or a store that is shared with others.
"""

import contextlib
import logging
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from pipeline import paths
from runtime.checkpoint import CHECKPOINTS
from runtime.git import git_text, has_git
from runtime.script import say
from tracking.address import own_database, store_shown, store_uri
from tracking.store import one_line_faults, open_store

DAY = 86_400  # seconds; a checkpoint that is older is of a training that nobody resumed


class Part(NamedTuple):
    """What can be freed: how many things of how many bytes, and how; or why nothing is freed."""

    name: str
    size: int = 0
    free: Callable[[], Any] | None = None


def main() -> None:
    root = paths.project_root()
    with one_line_faults():
        parts = [dvc_cache(root), deleted_runs(root), old_checkpoints(root)]
        for part in parts:
            say(f"{part.size / 1e6:10.1f} MB  {part.name}")
        if not any(part.free for part in parts):
            say("Nothing to free.")
        elif sys.argv[1:] == ["yes"] or _agreed(sum(part.size for part in parts)):
            for part in parts:
                if part.free:
                    part.free()
            say("Freed.")
        else:
            say("Nothing was freed; `make tidy YES=1` does not ask.")


def _agreed(size: int) -> bool:
    if not sys.stdin.isatty():
        return False
    return input(f"Free {size / 1e6:.1f} MB? They cannot be brought back. [y/N] ").strip().lower() in ("y", "yes")


def dvc_cache(root: Path) -> Part:
    """The files in DVC's cache that neither the workspace nor an experiment nor the tip of a branch or tag has.

    Other worktrees of the repository that use the same cache count, too.
    """
    from dvc.repo import Repo

    name = "DVC's cache: {} that neither the workspace nor an experiment, branch or tag has"
    logging.getLogger("dvc").setLevel(logging.CRITICAL)
    config = {} if has_git(root) else {"core": {"no_scm": True}}
    with Repo(str(root), config=config) as repo:
        place = Path(repo.cache.local_cache_dir)
        if not place.is_relative_to(root):
            return Part(f"DVC's cache: {place} may be shared with other projects, so nothing is removed")
        kept: dict[str, Any] = {"workspace": True, "force": True}
        if has_git(root):
            queues = repo.experiments.tempdir_queue, repo.experiments.celery_queue
            if any([*queue.iter_active(), *queue.iter_queued()] for queue in queues):
                return Part("DVC's cache: experiments run or wait in the queue; nothing is removed before they end")
            kept |= {"all_branches": True, "all_tags": True, "all_experiments": True, "rev": "HEAD"}
            kept["repos"] = _worktrees_with_cache(root, place)
        unused = _unused(repo, kept)
    if not unused:
        return Part(name.format("no file"))

    def free() -> None:
        with Repo(str(root), config=config) as again:
            again.gc(**kept)

    return Part(name.format(f"{len(unused)} files"), _size(unused), free)


def _worktrees_with_cache(root: Path, cache: Path) -> list[str]:
    """The other worktrees of the repository that use this cache."""
    from dvc.repo import Repo

    inside, found = git_text("rev-parse", "--show-prefix", folder=root), []
    for line in git_text("worktree", "list", "--porcelain", folder=root).splitlines():
        project = Path(line.removeprefix("worktree "), inside)
        if line.startswith("worktree ") and (project / ".dvc").is_dir() and project.resolve() != root.resolve():
            with Repo(str(project)) as repo:
                if Path(repo.cache.local_cache_dir) == cache:
                    found.append(str(project))
    return found


def _unused(repo: Any, kept: dict[str, Any]) -> list[Path]:
    """The files that `dvc gc` would remove."""
    from dvc.repo import Repo

    which = {key: value for key, value in kept.items() if key.startswith("all_") or key == "force"}
    which |= {"revs": [kept["rev"]] if "rev" in kept else None}
    used = set()
    for each in [repo, *map(Repo, kept.get("repos", []))]:
        used |= {found.value for objects in each.used_objs(**which).values() for found in objects}
    stores = {id(store): store for _, store in repo.cache.by_scheme() if store}.values()
    return [Path(store.oid_to_path(oid)) for store in stores for oid in store.all() if oid not in used]


def deleted_runs(root: Path) -> Part:
    """The runs, and their models, that were deleted in MLflow, unless a model of theirs is registered."""
    from mlflow.entities import ViewType
    from mlflow.exceptions import MlflowException

    if not own_database():
        return Part(f"MLflow: {store_shown()} may be shared with others, so nothing is removed")
    client = open_store().client
    experiments = [found.experiment_id for found in client.search_experiments(view_type=ViewType.ALL)]
    runs = client.search_runs(experiments, run_view_type=ViewType.DELETED_ONLY, max_results=50_000)
    gone = {found.experiment_id for found in client.search_experiments(view_type=ViewType.DELETED_ONLY)}
    registered = {version.run_id for version in client.search_model_versions()}
    unneeded = [run for run in runs if run.info.run_id not in registered]
    if gone & {run.info.experiment_id for run in runs if run not in unneeded}:
        return Part("MLflow: a model is registered from an experiment that was deleted, so nothing is removed")
    if not unneeded:
        return Part("MLflow: no deleted run")
    folders, models = [Path(run.info.artifact_uri) for run in unneeded], list[str]()
    for model in (output.model_id for run in unneeded if run.outputs for output in run.outputs.model_outputs):
        with contextlib.suppress(MlflowException):  # of a model that was deleted by itself
            folders.append(Path(client.get_logged_model(model).artifact_location))
            models.append(model)

    def free() -> None:
        for model in models:
            client.delete_logged_model(model)
        uri = store_uri()
        command = [sys.executable, "-m", "mlflow", "gc", "--backend-store-uri", uri, "--tracking-uri", uri]
        command += ["--run-ids", ",".join(run.info.run_id for run in unneeded)]
        command += ["--logged-model-ids", ",".join(models)] if models else []
        subprocess.run(command, cwd=root, check=True, capture_output=True)  # noqa: S603 (python, with words of ours)

    return Part(f"MLflow: {len(unneeded)} deleted runs", _size(folders), free)


def old_checkpoints(root: Path) -> Part:
    """The checkpoints of trainings that were stopped more than a day ago; such a training begins anew."""
    files = [path for path in (root / CHECKPOINTS).glob("*") if time.time() - path.stat().st_mtime > DAY]

    def free() -> None:
        for file in files:
            file.unlink(missing_ok=True)

    name = f"checkpoints: {len(files)} of trainings stopped more than a day ago"
    return Part(name, _size(files), free if files else None)


def _size(places: Iterable[Path]) -> int:
    """The bytes of files, and of folders with all that is in them."""
    files = (file for place in places for file in ([place] if place.is_file() else place.rglob("*")))
    return sum(file.stat().st_size for file in files if file.is_file())
