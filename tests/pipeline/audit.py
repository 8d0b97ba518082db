"""Run a stage's script and record what it does to files, which keys of params.yaml it reads and which modules it loads.

``python audit.py SCRIPT RECORD`` writes the record as JSON. What the checkpoint's fingerprint reads does not count: it
reads what dvc.yaml declares, whether the stage needs it or not, and can change nothing in the results.
"""

import json
import os
import runpy
import sys
from pathlib import Path
from typing import Any

ROOMS = ("data", "models", "metrics")


def main() -> None:
    script, record = Path(sys.argv[1]), Path(sys.argv[2])
    sys.path[0] = str(script.parent)
    here, events, keys = Path.cwd(), list[list[str]](), set[str]()

    def shown(path: Any) -> str | None:
        """A path below data/, models/ or metrics/ as dvc.yaml writes it; None for all others."""
        if not isinstance(path, str | bytes | os.PathLike):
            return None
        place = Path(os.path.abspath(os.fsdecode(path)))  # noqa: PTH100 (links stay as they are)
        inside = place.is_relative_to(here) and place.relative_to(here).parts[:1] in [(room,) for room in ROOMS]
        return place.relative_to(here).as_posix() if inside else None

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in ("open", "os.rename", "os.remove", "os.listdir", "os.scandir") or not shown(arguments[0]):
            return
        kind = event
        if event == "open":
            kind = "write" if arguments[2] & (os.O_WRONLY | os.O_RDWR) else "read"
        if kind not in ("write", "os.rename", "os.remove"):
            if _is_called_by("fingerprint"):
                return
            kind = "read"
        events.append([kind, *(path for path in map(shown, arguments[:2]) if path)])

    from pipeline.params import Params

    def read(self: Params, name: str) -> Any:
        if name in Params.model_fields:
            keys.add(name)
        return object.__getattribute__(self, name)

    Params.__getattribute__ = read  # type: ignore[method-assign]
    sys.addaudithook(hook)
    try:
        runpy.run_path(str(script), run_name="__main__")
    finally:
        files = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
        ours = sorted({file for file in files if file and Path(file).is_relative_to(script.parent)} | {str(script)})
        record.write_text(json.dumps({"events": events, "params": sorted(keys), "modules": ours}))


def _is_called_by(name: str) -> bool:
    frame = sys._getframe(1)
    while frame.f_back:
        frame = frame.f_back
        if frame.f_code.co_name == name:
            return True
    return False


if __name__ == "__main__":
    main()
