"""The one place that calls git."""

import os
import subprocess
from pathlib import Path

from pipeline.errors import StageError


class GitError(StageError):
    """A git command failed; the message is the reason that git printed."""


class NoGitError(GitError):
    """Git is not installed, or the folder is in no repository."""


def git(*arguments: str, folder: Path | str = ".") -> bytes:
    """Run a git command on the repository of ``folder`` and return its output, in English.

    Inside a hook git sets GIT_DIR, GIT_INDEX_FILE and GIT_WORK_TREE. They name another repository and have priority
    over the working directory. So they are removed here, with all other variables that git ties to one repository.

    Raises:
        NoGitError: if git is not installed, or ``folder`` is in no repository.
        GitError: if the command fails, as it does in a checkout that belongs to another user.
    """
    environment = {name: value for name, value in os.environ.items() if name not in _OF_ONE_REPOSITORY}
    try:
        done = subprocess.run(  # noqa: S603 (no shell)
            ["git", *arguments],  # noqa: S607 (the git on PATH)
            cwd=folder,
            env=environment | {"LC_ALL": "C", "LANGUAGE": "C"},
            capture_output=True,
            check=False,
        )
    except FileNotFoundError:
        raise NoGitError("git is not installed") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or [f"git {arguments[0]} failed"]
        reasons = [line for line in said if line.startswith(("fatal:", "error:"))]  # hints may follow
        reason = (reasons or said)[-1]
        raise (NoGitError if "not a git repository" in reason else GitError)(reason)
    return done.stdout


def git_text(*arguments: str, folder: Path | str = ".") -> str:
    """The output of a git command as text, without the last line end; errors as in ``git``."""
    return git(*arguments, folder=folder).decode(errors="replace").strip()


# `git rev-parse --local-env-vars`
_OF_ONE_REPOSITORY = {
    *("GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_CONFIG", "GIT_CONFIG_PARAMETERS", "GIT_CONFIG_COUNT"),
    *("GIT_OBJECT_DIRECTORY", "GIT_DIR", "GIT_WORK_TREE", "GIT_IMPLICIT_WORK_TREE", "GIT_GRAFT_FILE"),
    *("GIT_INDEX_FILE", "GIT_NO_REPLACE_OBJECTS", "GIT_REPLACE_REF_BASE", "GIT_PREFIX", "GIT_SHALLOW_FILE"),
    *("GIT_COMMON_DIR", "GIT_NAMESPACE"),
}
