"""Run a command or a study by its name: ``python src NAME ...`` calls ``main`` of commands/NAME.py or studies/NAME.py.

`make NAME` does this in the project's environment; without make, call the environment's python.
"""

import importlib
import sys
from pathlib import Path

ROOMS = ("commands", "studies")


def main() -> None:
    """Find the module, hide its name from the arguments, and run it as a script."""
    from runtime import script

    found = {path.stem: room for room in ROOMS for path in Path(__file__).parent.glob(f"{room}/*.py")}
    runnable = sorted(name for name, room in found.items() if "def main(" in _text(room, name))
    if len(sys.argv) < 2 or sys.argv[1] not in runnable:
        sys.exit(f"usage: python src NAME ...; NAME is one of {', '.join(runnable)}")
    name = sys.argv.pop(1)
    sys.argv[0] = f"python src {name}"
    script.run(importlib.import_module(f"{found[name]}.{name}").main)


def _text(room: str, name: str) -> str:
    return (Path(__file__).parent / room / f"{name}.py").read_text(encoding="utf-8")


if __name__ == "__main__":
    main()
