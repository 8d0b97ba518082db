"""Run a command or a study by its name: ``python src NAME ...`` calls ``main`` of commands/NAME.py or studies/NAME.py.

`make NAME` does this in the project's environment. Without make, use the python of the environment.
"""

import importlib
import os
import sys
from pathlib import Path

from runtime import script

ROOMS = ("commands", "studies")


def main() -> None:
    """Find the module, hide its name from the arguments, and run it as a script."""
    modules = {
        path.stem: f"{room}.{path.stem}"
        for room in ROOMS
        for path in Path(__file__).parent.glob(f"{room}/*.py")
        if "def main(" in path.read_text(encoding="utf-8")
    }
    name = sys.argv.pop(1) if len(sys.argv) > 1 else ""
    if name not in modules:
        sys.exit(f"usage: python src NAME ...; NAME is one of {', '.join(sorted(modules))}")
    sys.argv[0] = f"python src {name}"
    os.environ.pop("DVC_ROOT", None)  # it is of another project, one of whose stages has called this command
    script.run(lambda: importlib.import_module(modules[name]).main())  # an import takes seconds, and Ctrl-C may come


if __name__ == "__main__":
    main()
