"""What a DVC that was killed can leave behind so that the next one refuses to work, put right: `python src/mend.py`.

DVC writes two of its files in place. Killed in that moment it leaves half of one: of ``dvc.lock``, which says what the
stages have made, or of ``.dvc/tmp/rwlock``, which says what is at work. Killed at any other it stays named in the
latter, and would be taken for at work when its number is given to another process. Killed while it stashes the
workspace for an experiment, it leaves git's index locked.
"""

import starting  # noqa: F401 (a Ctrl-C from here on is said in a line)

import contextlib
import json
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import yaml

import stage
from stage import KEPT_LOCK_FILE, LOCK_FILE

RUNNING, INDEX_LOCK = Path(".dvc/tmp/rwlock"), Path(".git/index.lock")
PATIENCE = 1.0  # seconds after which a file that is being written is whole


def main() -> None:
    mend()


def mend() -> None:
    """Put back, or remove, what is broken; say so in a line for each file."""
    if _is_left_over(INDEX_LOCK):
        INDEX_LOCK.unlink()
        stage.say(f"{INDEX_LOCK} was left by a process that was killed; it is removed")
    if _is_broken(RUNNING, _is_json):
        RUNNING.unlink()
        stage.say(f"{RUNNING} was cut off when a run was killed; it is removed")
    if command := left_by(RUNNING):
        RUNNING.unlink()
        stage.say(f"{RUNNING} was left by `{command}`, which was killed; it is removed")
    if _is_broken(LOCK_FILE, _is_lock_file):
        kept = stage.read_bytes(KEPT_LOCK_FILE) if KEPT_LOCK_FILE.exists() else b""
        committed = subprocess.run(["git", "show", f"HEAD:./{LOCK_FILE}"], capture_output=True, check=False)  # noqa: S603, S607 (git, with words of ours)
        if whole := next(filter(_is_lock_file, (kept, committed.stdout)), None):
            stage.write_bytes(LOCK_FILE, whole)
        else:
            LOCK_FILE.unlink()
        stage.say(f"{LOCK_FILE} was cut off when a run was killed; it is made anew")


def left_by(path: Path) -> str:
    """The command that left DVC's rwlock behind, if every process that it names is gone; empty otherwise."""
    text = stage.read_bytes(path).decode(errors="replace") if path.exists() else ""
    holders = re.findall(r'"pid": (\d+), "cmd": "([^"]*)"', text)
    return str(holders[0][1]) if holders and all(_is_gone(int(pid), path) for pid, _ in holders) else ""


def _is_gone(pid: int, path: Path) -> bool:
    """Whether a process that ``path`` names has ended; one that is younger than the file may only have its number.

    As clocks jump, that alone is not enough where it is a DVC.
    """
    try:
        process = psutil.Process(pid)
        younger = process.create_time() > path.stat().st_mtime
        return process.status() == psutil.STATUS_ZOMBIE or (younger and not _is_of(process, "dvc"))
    except psutil.NoSuchProcess:
        return True
    except psutil.AccessDenied:  # another user's, of whom the system does not say what runs
        return False


def _is_of(process: psutil.Process, *programs: str) -> bool:
    """Whether a process runs one of some programs, itself or as a script or module of Python."""
    return any(Path(word).stem in programs for word in process.cmdline()[:4])


def _is_broken(path: Path, is_whole: Callable[[bytes], bool]) -> bool:
    """Whether it is there and not whole, also a little later: it may be in the middle of being written."""
    for wait in (PATIENCE, 0):
        if not path.exists() or is_whole(stage.read_bytes(path)):
            return False
        time.sleep(wait)
    return True


def _is_left_over(lock: Path) -> bool:
    """Whether it is there, also a little later, and neither git nor DVC, whose lock it could be, is at work here."""
    for wait in (PATIENCE, 0):
        if not lock.exists():
            return False
        time.sleep(wait)
    here = lock.resolve().parents[1]
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if _is_of(process, "git", "dvc") and Path(process.cwd()).is_relative_to(here):
                return False
    return True


def _is_json(content: bytes) -> bool:
    try:
        json.loads(content)
    except (ValueError, RecursionError):
        return False
    return True


def _is_lock_file(content: bytes) -> bool:
    """Whether it is YAML that DVC takes: wherever it was cut, one of these is not so."""
    try:
        found = yaml.safe_load(content)
        stages = found["stages"].values()
        files = [file for part in stages for file in (*part.get("deps", ()), *part.get("outs", ()))]
        whole = [isinstance(file["md5"], str) for file in files]
    except (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return False
    return found.get("schema") == "2.0" and all(whole) and content.endswith(b"\n")


if __name__ == "__main__":
    stage.run(main)
