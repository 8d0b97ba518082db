"""Restore params.yaml after an experiment whose values were rejected, or whose training failed.

DVC writes the value of `dvc exp run -S lr=-1` into params.yaml before any stage runs, and leaves it there if the
experiment fails. This module puts the old values back. After another failure, such as a full disk, the new values
stay, so that the same experiment can be run again.
"""

import os
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from pipeline.errors import StageError
from pipeline.params import PARAMS_FILE, read_values

from . import UNDO_PARAMS
from .files import write_bytes
from .git import git, git_text


def undo_params() -> str:
    """Undo the change that `dvc exp run -S` made to params.yaml; if that is not safe, return a line for the user.

    Before an experiment DVC stashes the workspace, in a commit that no branch names, if a tracked file has changed.
    That stash holds the user's own edits. If no file has changed, params.yaml was as in HEAD. So the old params.yaml
    is taken from the stash or from HEAD, and is written only if

    - git looks for changes of params.yaml: after `git update-index --skip-worktree` or `--assume-unchanged` it does
      not, and no stash holds the user's edits,
    - all commits that look like a stash of HEAD, made since this DVC started, hold the same params.yaml (with
      GIT_COMMITTER_DATE they do not say when they were made), and
    - it differs from the present one only in keys that `-S` names on DVC's command line.
    """
    if not os.environ.get("DVC_EXP_NAME") or Path(os.environ.get("DVC_ROOT", "")).resolve() != Path.cwd():
        return ""  # not an experiment, or one in a temporary folder, which DVC deletes
    try:
        begun, command = _dvc_process()
        if not git_text("ls-files", "-v", "--", PARAMS_FILE.as_posix()).startswith("H "):
            return UNDO_PARAMS
        found = {git("cat-file", "--filters", f"{commit}:./{PARAMS_FILE}") for commit in _stashes_since(begun)}
        (before,) = found or {git("cat-file", "--filters", f"HEAD:./{PARAMS_FILE}")}
        overridden = _overridden_keys(command)
        if all(any(_is_within(key, named) for named in overridden) for key in _changed_keys(before)):
            write_bytes(PARAMS_FILE, before)
            return ""
    except (StageError, OSError, ValueError):
        pass
    return UNDO_PARAMS


def start_of_dvc() -> float | None:
    """When the DVC that runs this stage was started, in seconds since 1970; None if no DVC runs it."""
    try:
        return _dvc_process()[0]
    except StageError:
        return None


def _dvc_process() -> tuple[float, list[str]]:
    """When the DVC that runs this stage was started, and its command line; StageError if there is none."""
    import psutil  # here: most scripts never ask

    try:
        for process in psutil.Process().parents():
            command = process.cmdline()
            if any(Path(word).stem == "dvc" for word in command):
                return process.create_time(), command
    except psutil.Error as error:
        raise StageError(str(error)) from None
    raise StageError("no DVC runs this stage")


def _stashes_since(begun: float) -> list[str]:
    """The unreachable commits since then that look like a stash: their parents are HEAD and an index over HEAD."""
    if "GIT_COMMITTER_DATE" in os.environ:
        raise StageError("a stash has that date, too")
    head = git_text("rev-parse", "HEAD")
    lines = git_text("fsck", "--connectivity-only", "--unreachable", "--no-reflogs", "--no-progress").splitlines()
    commits = [words[2] for words in map(str.split, lines) if words[:2] == ["unreachable", "commit"]]
    if not commits:
        return []
    known = {}
    for line in git_text("rev-list", "--no-walk", "--timestamp", "--parents", *commits).splitlines():
        when, commit, *parents = line.split()
        known[commit] = int(when), parents
    return [
        commit
        for commit, (when, parents) in known.items()
        if when >= int(begun)
        and len(parents) >= 2
        and parents[0] == head
        and known.get(parents[1], (0, []))[1] == [head]
    ]


def _changed_keys(before: bytes) -> set[str]:
    """The parameters, as `-S` names them, whose present values differ from those in an earlier params.yaml."""
    import yaml

    then, now = dict(_flat(yaml.safe_load(before))), dict(_flat(read_values(PARAMS_FILE)))
    return {key for key in then.keys() | now.keys() if then.get(key) != now.get(key)}


def _flat(values: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if not isinstance(values, dict):
        yield prefix, values
        return
    for key, value in values.items():
        yield from _flat(value, f"{prefix}.{key}" if prefix else str(key))


def _is_within(key: str, named: str) -> bool:
    """Whether an option for ``named`` also sets ``key``: lr sets lr, optimizer sets all keys below it."""
    return f"{key}.".startswith(f"{named.partition('[')[0]}.")


def _overridden_keys(command: list[str]) -> set[str]:
    """The keys that `-S key=value` and `--set-param` name on a command line."""
    options = ("-S", "--set-param")
    given = [word for option, word in pairwise(command) if option in options]
    given += [
        word.removeprefix(start) for word in command for start in ("-S", "--set-param=") if word.startswith(start)
    ]
    names = [word.partition("=")[0].lstrip("+~").removeprefix(f"{PARAMS_FILE}:") for word in given]
    return {name for name in names if name}
