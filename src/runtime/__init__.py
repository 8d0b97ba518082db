"""How a script runs. Each script imports this before any package, since it gives what packages then need.

- DVC runs `python src/train.py` with the first python on PATH. One that is too old or lacks a package is named in a
  line. So this file must run on Python 3.7, and each stage's script must have its syntax.
- A uid without a name, as in a container, may have no home either. DVC and MLflow work with neither of them.
- Python looks for unreachable cycles after every 700 new objects. While packages load it finds none.
"""

from __future__ import annotations

import gc
import getpass
import os
import sys
from pathlib import Path
from types import TracebackType

ROOT = Path(os.environ.get("DVC_ROOT") or Path(__file__).parents[2])
WANTED = ROOT / ".venv"
UNDO_PARAMS = (
    "params.yaml still has the experiment's values; edit it, or restore the committed file by "
    "`git checkout params.yaml`, which also drops your other edits of it"
)


def _name_interpreter(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if isinstance(error, ImportError) and Path(sys.prefix).resolve() != WANTED.resolve():
        fault = " ".join(str(error).split())[:200]
        sys.stderr.write(
            f"{fault}: this is {sys.executable or sys.prefix}, and the project's Python is "
            f"{WANTED}/bin/python; `make run` uses it, and after `source .venv/bin/activate` all commands do\n"
        )
        if os.environ.get("DVC_EXP_NAME") and ROOT.resolve() == Path.cwd():  # not one in a temporary folder
            sys.stderr.write(f"{UNDO_PARAMS}\n")
    else:
        sys.__excepthook__(kind, error, trace)


sys.excepthook = _name_interpreter
gc.set_threshold(10_000)  # MLflow's imports take an eighth less time
if sys.version_info < (3, 11):  # noqa: UP036 (DVC starts any)
    raise ImportError(f"Python 3.11 or later is needed, not {sys.version.split()[0]}")
try:
    Path.home()
except RuntimeError:
    os.environ["HOME"] = str(ROOT / ".dvc/tmp")
try:
    getpass.getuser()
except (KeyError, OSError, ImportError):  # which of them depends on Python and the system
    os.environ["USER"] = "unknown"
