"""After a refusal, or a training that diverged: put params.yaml back to what it was before the experiment.

DVC leaves the value of `dvc exp run -S lr=-1` in params.yaml when the experiment fails. A stage that fails for another
reason, say a full disk, leaves it there too: the same experiment can be run again.
"""

import contextlib
import os
import re
import subprocess
from pathlib import Path

PARAMS_FILE = Path("params.yaml")


def after_refusal() -> None:
    """Put params.yaml back if this is an experiment in the workspace; DVC deletes the folder of a queued one."""
    if os.environ.get("DVC_EXP_NAME") and Path(os.environ["DVC_ROOT"]).resolve() == Path.cwd():
        put_back()


def put_back() -> None:
    """Restore params.yaml as it was before `dvc exp run`, of which git still has a copy.

    If anything in the workspace has changed, DVC stashes it, by a commit that nothing names any more; if not, it is as
    in the commit that the experiment starts from. So what was edited by hand remains as it was edited. Where this DVC
    cannot be found, params.yaml is left alone.
    """
    begun = start_of_dvc()
    if begun is None:
        return
    try:
        before = stashed_since(begun) or "HEAD"
        PARAMS_FILE.write_text(git("show", f"{before}:./{PARAMS_FILE}"), encoding="utf-8")
    except (OSError, subprocess.CalledProcessError):
        return


def start_of_dvc() -> float | None:
    """When the DVC that runs this stage was started, in seconds since 1970."""
    import psutil  # here: a served model imports this module, and needs NumPy alone

    for process in psutil.Process().parents():
        with contextlib.suppress(psutil.Error):
            if any(Path(word).stem == "dvc" for word in process.cmdline()):
                return process.create_time()
    return None


def stashed_since(begun: float) -> str:
    """The commit by which DVC stashed the workspace; empty if there was nothing to stash."""
    lost = re.findall(r"(?m)^unreachable commit (\w+)", git("fsck", "--unreachable", "--no-reflogs", "--no-progress"))
    if not lost:
        return ""
    lines = git("log", "--no-walk", "--format=%ct %H %s", *lost)
    stashes = re.findall(r"(?m)^(\d+) (\w+) WIP on ", lines)
    return next((commit for when, commit in stashes if int(when) >= int(begun)), "")


def git(*arguments: str) -> str:
    """What a git command prints."""
    return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout  # noqa: S603, S607 (git, with words of ours)
