"""The messages from a stage to its recorder: one line of JSON each, on the recorder's stdin.

The first message is ``{"stage": name, ...}``. Then comes ``{"epoch": row, "time": ms}`` for each epoch. The last is
``{"end": status}``, with MLflow's status FINISHED, FAILED or KILLED. If the stage is stopped while it waits for the
recorder, it adds ``{"end": "KILLED"}``. The recorder answers with lines that the stage prints.
"""

import json
import time
from collections.abc import Mapping
from typing import Any, NamedTuple


class Epoch(NamedTuple):
    """A row of metrics/history.csv and its time, in ms since 1970."""

    row: Mapping[str, float]
    time: int


def line(message: Mapping[str, Any]) -> bytes:
    """The line of JSON for a message."""
    return json.dumps(message, default=float).encode() + b"\n"


def now() -> int:
    """Milliseconds since 1970, as MLflow counts time."""
    return time.time_ns() // 1_000_000
