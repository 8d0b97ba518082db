"""What a stage and its recorder say to each other: lines of JSON, one a message, on the recorder's stdin.

The first message is ``{"stage": name, ...}``, then come ``{"epoch": row, "time": ms}``, and the last is
``{"end": status}``, with MLflow's FINISHED, FAILED or KILLED. A stage that is stopped while it waits for the recorder
adds ``{"end": "KILLED"}``. The recorder answers with the lines that the stage prints.
"""

import json
import time
from collections.abc import Mapping
from typing import Any, NamedTuple


class Epoch(NamedTuple):
    """A row of metrics/history.csv, and when it came, in ms since 1970."""

    row: Mapping[str, float]
    time: int


def line(message: Mapping[str, Any]) -> bytes:
    """A message as it is sent."""
    return json.dumps(message, default=float).encode() + b"\n"


def now() -> int:
    """Milliseconds since 1970, as MLflow counts time."""
    return time.time_ns() // 1_000_000
