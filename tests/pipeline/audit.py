"""Run a stage's script and record what it does to files, which keys of params.yaml it reads and which modules it loads.

``python audit.py SCRIPT RECORD [WORD]`` writes the record as JSON. Two kinds of reads do not count, since they cannot
change the results: the files that the checkpoint's fingerprint reads, and the keys that tracking reads.
"""

import json
import os
import runpy
import sys
from pathlib import Path
from typing import Any

ROOMS = ("data", "models", "metrics")
COPIES = ("__copy__", "model_copy")  # which read no value


def main() -> None:
    script, record = Path(sys.argv[1]), Path(sys.argv[2])
    del sys.argv[1:3]
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
            if _is_called_by("src/runtime/checkpoint.py", "fingerprint"):
                return
            kind = "read"
        events.append([kind, *(path for path in map(shown, arguments[:2]) if path)])

    from pipeline.params import Params

    def read(self: Params, name: str) -> Any:
        read_by = sys._getframe(1).f_code.co_name
        whole = name == "__dict__" and read_by not in COPIES  # as model_dump, dict() and vars() read it
        if (whole or name in Params.model_fields) and not _is_called_by("src/tracking/"):
            keys.update(Params.model_fields if whole else [name])
        return object.__getattribute__(self, name)

    Params.__getattribute__ = read  # type: ignore[method-assign]
    sys.addaudithook(hook)
    try:
        runpy.run_path(str(script), run_name="__main__")
    finally:
        files = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
        ours = sorted({file for file in files if file and Path(file).is_relative_to(script.parent)} | {str(script)})
        record.write_text(json.dumps({"events": events, "params": sorted(keys), "modules": ours}))


def _is_called_by(file: str, function: str = "") -> bool:
    """Whether a function of a file, or of a folder, is at work; "": any function."""
    frame = sys._getframe(1)
    while frame.f_back:
        frame = frame.f_back
        inside = file in Path(frame.f_code.co_filename).as_posix()
        if inside and function in ("", frame.f_code.co_name):
            return True
    return False


if __name__ == "__main__":
    main()
