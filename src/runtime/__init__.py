"""How a script runs. Each script imports this before any package, since it gives what packages then need.

- DVC runs `python src/train.py` with the first python on PATH. One that lacks a package is named in a line.
- A uid without a name, as in a container, may have no home either. DVC and MLflow work with neither of them.
"""

import getpass
import os
import sys
from pathlib import Path
from types import TracebackType

ROOT = Path(os.environ.get("DVC_ROOT") or Path(__file__).parents[2])
WANTED = ROOT / ".venv"


def _name_interpreter(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if isinstance(error, ModuleNotFoundError) and Path(sys.prefix).resolve() != WANTED.resolve():
        sys.stderr.write(
            f"{error}: this is {sys.executable or sys.prefix}, and the project's Python is {WANTED}/bin/python; "
            "`make run` uses it, and after `source .venv/bin/activate` all commands do\n"
        )
    else:
        sys.__excepthook__(kind, error, trace)


sys.excepthook = _name_interpreter
try:
    Path.home()
except RuntimeError:
    os.environ["HOME"] = str(ROOT / ".dvc/tmp")
try:
    getpass.getuser()
except (KeyError, OSError, ImportError):  # which of them depends on Python and the system
    os.environ["USER"] = "unknown"
