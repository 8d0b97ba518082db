"""Imported by each script before all else: Ctrl-C while its libraries still load, a second or so, is said in a line.

Nothing has begun by then that must be ended in order. ``stage.run`` then has its own way.
"""

import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

USUAL: dict[int, Any] = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}


def _stop(number: int, frame: FrameType | None) -> None:
    os.write(2, b"stopped; the same command again makes what is missing\n")
    os._exit(128 + number)


if Path(sys.argv[0]).resolve().parent == Path(__file__).resolve().parent:  # not in a program that imports one
    for number, handler in USUAL.items():
        if signal.getsignal(number) is handler:  # not where it is ignored, as in the background
            signal.signal(number, _stop)
