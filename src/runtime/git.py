"""The one place that calls git."""

import os
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import StageError


class GitError(StageError):
    """A git command failed: git's reason, and, if git does not trust the folder, the command that lets it."""

    def __init__(self, reason: str, remedy: str = "") -> None:
        super().__init__(f"{reason}; if you trust it: {remedy}" if remedy else reason)
        self.reason, self.remedy = reason, remedy


class NoGitError(GitError):
    """Git is not installed, or the folder is in no repository."""


def git(*arguments: str, folder: Path | str = ".") -> bytes:
    """Run a git command on the repository of ``folder`` and return its output, in English.

    Raises:
        NoGitError: if git is not installed, or ``folder`` is in no repository.
        GitError: if the command fails, as it does in a checkout that belongs to another user.
    """
    done = _run(arguments, folder)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or [f"git {arguments[0]} failed"]
        reasons = [line for line in said if line.startswith(("fatal:", "error:"))]  # hints may follow
        raise _error((reasons or said)[-1], Path(folder).resolve())
    return done.stdout


def _run(arguments: Sequence[str], folder: Path | str) -> subprocess.CompletedProcess[bytes]:
    environment = {name: value for name, value in os.environ.items() if name not in _OF_ONE_REPOSITORY}
    environment |= {"LC_ALL": "C", "LANGUAGE": "C"}
    command = ["git", *arguments]
    try:
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=False)  # noqa: S603
    except FileNotFoundError:
        raise NoGitError("git is not installed") from None


def _error(reason: str, folder: Path) -> GitError:
    """The error for a command that failed. Exit codes and files tell its kind; git's words are only shown."""
    top = next((place for place in (folder, *folder.parents) if (place / ".git").exists()), None)
    if not top or _run(["rev-parse", "--resolve-git-dir", str(top / ".git")], folder).returncode:
        return NoGitError(reason)
    find = ["rev-parse", "--git-dir"]
    if _run(find, folder).returncode and not _run(["-c", "safe.directory=*", *find], folder).returncode:
        return GitError(reason, f"git config --global --add safe.directory {shlex.quote(top.as_posix())}")
    return GitError(reason)


def git_text(*arguments: str, folder: Path | str = ".") -> str:
    """The output of a git command as text, without the last line end; errors as in ``git``."""
    return git(*arguments, folder=folder).decode(errors="replace").removesuffix("\n")


def has_git(folder: Path | str = ".") -> bool:
    """Whether a folder is in a git repository, also below its top; GitError if git refuses to say."""
    try:
        return git_text("rev-parse", "--is-inside-work-tree", folder=folder) == "true"
    except NoGitError:
        return False


def lacks_history(folder: Path | str = ".") -> tuple[str, str] | None:
    """What kind of clone lacks objects, shallow or partial (`git clone --filter`), and the command that fetches them.

    In both, DVC loses experiments that run outside the workspace: only git itself fetches an object that is missing.
    """
    if git_text("rev-parse", "--is-shallow-repository", folder=folder) == "true":
        return "shallow", "git fetch --unshallow"
    try:
        key = git_text("config", "--name-only", "--get-regexp", r"^remote\..*\.partialclonefilter$", folder=folder)
    except GitError:  # there is none
        return None
    remote = key.removeprefix("remote.").removesuffix(".partialclonefilter")
    all_of_it = f"'+refs/heads/*:refs/remotes/{remote}/*' 'refs/exps/*:refs/exps/*'"
    return "partial", f"git config --unset {key} && git fetch --refetch {remote} {all_of_it}"


def leave_hook() -> None:
    """Forget, in this process, the repository whose hook called it.

    Inside a hook git sets GIT_DIR, GIT_INDEX_FILE and GIT_WORK_TREE, which win over the working directory, also in DVC.
    """
    for name in _OF_ONE_REPOSITORY:
        os.environ.pop(name, None)


# `git rev-parse --local-env-vars`, without the configuration, which a container may set, such as safe.directory
_OF_ONE_REPOSITORY = {
    *("GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_CONFIG", "GIT_OBJECT_DIRECTORY", "GIT_DIR", "GIT_WORK_TREE"),
    *("GIT_IMPLICIT_WORK_TREE", "GIT_GRAFT_FILE", "GIT_INDEX_FILE", "GIT_NO_REPLACE_OBJECTS", "GIT_PREFIX"),
    *("GIT_REPLACE_REF_BASE", "GIT_SHALLOW_FILE", "GIT_COMMON_DIR", "GIT_NAMESPACE"),
}
