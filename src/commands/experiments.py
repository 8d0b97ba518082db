"""DVC's experiments: which there are, where their files are, and which command brings missing ones.

DVC reads the name of the remote from the experiment's own commit, and from the configuration that is in no commit. So
`dvc exp push` and `dvc exp pull` move no file of an experiment that is older than the remote, without a word.
"""

import contextlib
import logging
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pipeline.errors import StageError
from runtime.git import GitError, NoGitError, git, git_text
from utils import one_line

if TYPE_CHECKING:
    from dvc.output import Output
    from dvc.repo import Repo


NEEDED = ("models", "metrics/predictions.csv", "data/split")  # of what DVC's cache holds


class Experiment(NamedTuple):
    """A DVC experiment: its name, the commit it started from, and the commit that holds its results."""

    name: str
    baseline: str
    commit: str


def experiments_of(root: Path) -> list[Experiment]:
    """The project's experiments, oldest first; DVC keeps them as refs/exps/<baseline, 2 + 38 digits>/<name>.

    In a repository with several projects, those of the others are left out.
    """
    try:
        lines = git_text(
            "for-each-ref", "--sort=creatordate", "--format=%(objectname) %(refname)", "refs/exps", folder=root
        )
    except NoGitError:
        return []
    place = git_text("rev-parse", "--show-prefix", folder=root)
    found = re.findall(r"(?m)^(\w+) refs/exps/([0-9a-f]{2})/([0-9a-f]{38})/(.+)$", lines)
    experiments = [Experiment(name, first + rest, commit) for commit, first, rest, name in found]
    return [experiment for experiment in experiments if not _is_of_another_project(experiment, root, place)]


def _is_of_another_project(experiment: Experiment, root: Path, place: str) -> bool:
    """Whether an experiment changed files of another project, and not the dvc.lock of the project at ``place``."""
    try:
        changes = git_text("diff-tree", "-r", "-z", "--name-only", experiment.baseline, experiment.commit, folder=root)
    except GitError:  # the baseline is not here, as in a shallow clone
        return False
    changed = changes.split("\0")[:-1]
    foreign = [file for file in changed if not file.startswith(place) or file.endswith("/dvc.lock")]
    return bool(foreign) and f"{place}dvc.lock" not in changed


def checkout(clone: Path, root: Path, experiment: Experiment) -> None:
    """Bring what the experiment needs from the checkout's DVC cache.

    Raises:
        StageError: if the cache lacks something; the message says how to get it.
    """
    from dvc.exceptions import CheckoutError, DvcException
    from dvc.repo import Repo

    _silence_dvc()
    try:
        with Repo(root) as main_repo:
            cache = main_repo.cache.local_cache_dir
        with Repo(clone, config={"cache": {"dir": cache}}) as repo:
            repo.checkout(targets=[str(clone / target) for target in NEEDED], force=True)
    except CheckoutError as error:
        lacking = ", ".join(sorted(os.path.relpath(path, clone) for path in error.target_infos))
        with Repo(root) as main_repo:
            raise StageError(f"DVC's cache lacks {lacking}; {remedy(main_repo, experiment)}") from None
    except DvcException as error:
        raise StageError(str(error)) from None


def remedy(repo: "Repo", experiment: Experiment) -> str:
    """What to type for the files of an experiment that DVC's cache lacks; it depends on what the remote answers."""
    from dvc.config import NoRemoteError
    from dvc.exceptions import DvcException

    name = shlex.quote(experiment.name)
    again = f"run it again: `dvc exp apply {name}; dvc exp run` (the first complains, and sets the parameters)"
    git_remote = (git_text("remote", folder=repo.root_dir).splitlines() or ["origin"])[0]
    pull, push = f"dvc exp pull {git_remote} {name}", f"dvc exp push {git_remote} {name}"
    root = Path(repo.root_dir)
    try:
        with _at(repo, experiment) as outputs:
            if cache := _cache_of_another_worktree(root, [out.hash_info.value for out in outputs]):
                return f"another worktree has them; to use its cache: `dvc cache dir --local {shlex.quote(str(cache))}`"
            remote = repo.cloud.get_remote_odb()
            is_there = all(remote.exists(out.hash_info.value) for out in outputs)  # DVC uploads a folder's list last
    except NoRemoteError:
        if add := name_remote(repo):
            return (
                f"it is older than the remote, so type `{add}` before `{pull}`, here and where it was made (`{push}`)"
            )
        return f"there is no remote; {again}"
    except (DvcException, StageError, OSError, ValueError) as error:
        return f"the remote could not be asked ({one_line(error, 200)}); when it answers: `{pull}`"
    if is_there:
        return f"the remote has them: `{pull}`"
    return f"the remote lacks them too; where it was made, `{push}` uploads them; or {again}"


def _cache_of_another_worktree(root: Path, checksums: list[str]) -> Path | None:
    """The DVC cache of a worktree that has all these files: git shares experiments among worktrees, but not files."""
    place = git_text("rev-parse", "--show-prefix", folder=root)
    files = [f".dvc/cache/files/md5/{checksum[:2]}/{checksum[2:]}" for checksum in checksums]
    for line in git_text("worktree", "list", "--porcelain", folder=root).splitlines():
        project = Path(line.removeprefix("worktree "), place)
        if line.startswith("worktree ") and all((project / file).exists() for file in files):
            return project / ".dvc/cache"
    return None


def name_remote(repo: "Repo") -> str:
    """The command that tells DVC of the workspace's remote for experiments of all ages; empty if there is no remote."""
    name = repo.config["core"].get("remote")
    url = name and repo.config["remote"].get(name, {}).get("url")
    return f"dvc remote add --local -d {shlex.quote(name)} {shlex.quote(url)}" if url else ""


def lacking_and_older(root: Path, experiments: list[Experiment]) -> tuple[list[Experiment], list[Experiment]]:
    """The experiments whose files DVC's cache lacks, and those whose files `dvc exp push` would not upload."""
    from dvc.config import NoRemoteError
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    lacking, older = [], []
    with Repo(root) as repo:
        has_remote = bool(name_remote(repo))
        for experiment in experiments:
            try:
                with _at(repo, experiment) as outputs:
                    if any(out.changed_cache() for out in outputs):
                        lacking.append(experiment)
                    elif has_remote:
                        repo.cloud.get_remote()
            except NoRemoteError:
                older.append(experiment)
            except (DvcException, StageError):  # ``remedy`` reports it
                lacking.append(experiment)
    return lacking, older


@contextlib.contextmanager
def _at(repo: "Repo", experiment: Experiment) -> Iterator[list["Output"]]:
    """The needed outputs, in DVC's view of the experiment's commit and its configuration."""
    _silence_dvc()
    complete(Path(repo.root_dir), experiment)
    with contextlib.closing(repo.brancher(revs=[experiment.commit], workspace=False)) as commits:
        for _ in commits:
            yield [out for out in repo.index.outs if out.use_cache and str(out.def_path) in NEEDED]
            return
    raise StageError(f"the commit of {experiment.name} holds no DVC project")


def complete(root: Path, experiment: Experiment) -> None:
    """Let git read the experiment's files: a partial clone gets them then, and DVC would wait for them for ever."""
    top = git_text("rev-parse", "--show-toplevel", folder=root)
    git("archive", "--format=tar", f"--output={os.devnull}", experiment.commit, folder=top)


def _silence_dvc() -> None:
    logging.getLogger("dvc").setLevel(logging.CRITICAL)  # what it would log is in our messages
