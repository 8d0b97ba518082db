"""Repair files that a killed DVC leaves behind and that block the next run.

DVC writes two files in place: ``dvc.lock``, the record of the stages' results, and ``.dvc/tmp/rwlock``, the list of
running processes. A kill at that moment leaves half a file. A kill while DVC stashes the workspace for an experiment
leaves git's index locked. (DVC itself removes ended processes from its rwlock.)
"""

import contextlib
import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import yaml

from pipeline.errors import StageError
from pipeline.paths import LOCK_FILE

from .files import write_bytes
from .git import GitError, git, git_text
from .script import say

RUNNING = Path(".dvc/tmp/rwlock")
CUT_OFF = Path(".dvc/tmp/dvc.lock.cut-off")  # what it held, in case it was not a kill that broke it
CONFLICT = re.compile(rb"(?m)^(<{7}|={7}|>{7})[ \r\n]")
PATIENCE = 1.0  # seconds after which a file that is being written is whole


def repair() -> None:
    """Restore or remove each broken file, and print a line for it.

    Raises:
        StageError: if git has written the conflicts of a merge into ``dvc.lock``; it stays as it is.
    """
    with contextlib.suppress(GitError):
        index_lock = Path(git_text("rev-parse", "--git-path", "index.lock"))
        if index_lock.exists() and not _git_or_dvc_at_work():
            index_lock.unlink(missing_ok=True)
            say(f"{index_lock} was left by a process that was killed; it is removed")
    if _is_broken(RUNNING, _is_json):
        RUNNING.unlink()
        say(f"{RUNNING} was cut off when a run was killed; it is removed")
    if _is_broken(LOCK_FILE, _is_lock_file):
        if CONFLICT.search(LOCK_FILE.read_bytes()):
            raise StageError(
                f"{LOCK_FILE} has the conflict markers of a merge; take one side, with "
                f"`git checkout --ours {LOCK_FILE}` or --theirs, and run again: the stages complete it"
            )
        LOCK_FILE.replace(CUT_OFF)
        with contextlib.suppress(GitError):
            write_bytes(LOCK_FILE, git("cat-file", "--filters", f"HEAD:./{LOCK_FILE}"))
        say(
            f"{LOCK_FILE} was cut off when a run was killed; the committed file is restored; the stages complete it "
            f"(before: {CUT_OFF})"
        )


def _git_or_dvc_at_work() -> bool:
    """Whether a git or DVC runs in this folder, so that git's index.lock may be in use."""
    here = Path.cwd()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if not {Path(word).stem for word in process.cmdline()[:4]} & {"git", "dvc"}:
                continue
            try:
                place = Path(process.cwd())
            except psutil.AccessDenied:  # it is another user's, and may be at work here
                return True
            if here.is_relative_to(place) or place.is_relative_to(here):
                return True
    return False


def _is_broken(path: Path, is_whole: Callable[[bytes], bool]) -> bool:
    """Whether the file exists and is incomplete, also a second later: it may just be written."""
    for wait in (PATIENCE, 0):
        if not path.exists() or is_whole(path.read_bytes()):
            return False
        time.sleep(wait)
    return True


def _is_json(content: bytes) -> bool:
    try:
        json.loads(content)
    except (ValueError, RecursionError):
        return False
    return True


def _is_lock_file(content: bytes) -> bool:
    """Whether it is a complete dvc.lock: YAML with a checksum for each file, and a line end at the end."""
    try:
        stages = yaml.safe_load(content)["stages"].values()
        files = [file for stage in stages for file in (*stage.get("deps", ()), *stage.get("outs", ()))]
        return content.endswith(b"\n") and all(isinstance(file["md5"], str) for file in files)
    except (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return False
