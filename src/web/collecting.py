"""This was a 7: drawings that their writer has labelled, kept on this machine as UNIPEN ink, if the writer agrees."""

import shlex
import threading
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from data_sets.unipen import format_ink, parse_ink
from pen.ink import Ink, join_strokes
from pipeline.tabular.options import FOLDER as OWN_FILES
from runtime.files import write_bytes

from .bodies import Drawn

FOLDER = Path("drawings")
MOST_DRAWINGS, MOST_BYTES = 5_000, 20_000_000
SCALE = 500  # tablet units for a drawing's longer side, about as in the data set


class Labelled(BaseModel):
    """A drawing, the digit it was meant to be, and its writer's consent to keep it."""

    model_config = ConfigDict(extra="forbid")

    strokes: Drawn
    digit: Annotated[int, Field(strict=True, ge=0, le=9)]
    consent: Literal[True]


class FullError(RuntimeError):
    """No more drawings are kept."""


class Album:
    """The file of kept drawings."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self.path = folder / "drawings.unipen"
        self._lock = threading.Lock()

    def read(self) -> bytes:
        """The file's content; empty without drawings."""
        return self.path.read_bytes() if self.path.exists() else b""

    def ink(self) -> Ink:
        """The drawings."""
        content = self.read()
        return parse_ink(content, self.path.name) if content else join_strokes([], [], [], [])

    def add(self, drawing: Labelled) -> int:
        """Keep a drawing; returns the number of those that are kept.

        Raises:
            FullError: if there are too many.
        """
        with self._lock:
            ink = self.ink()
            n = len(ink) + 1
            samples: list[Any] = [*(ink[i] for i in range(len(ink))), in_tablet_units(drawing.strokes)]
            content = format_ink(join_strokes(samples, [*ink.digit, drawing.digit], [1] * n, range(1, n + 1)))
            if n > MOST_DRAWINGS or len(content) > MOST_BYTES:
                raise FullError(f"{len(ink):,} drawings are kept already; export and delete them to keep new ones")
            write_bytes(self.path, content)
            return n

    def delete(self) -> None:
        """Delete all drawings."""
        with self._lock:
            self.path.unlink(missing_ok=True)

    def summary(self) -> dict[str, Any]:
        """How many drawings of each digit are kept, and where, and the command that trains on them."""
        counts = np.bincount(self.ink().digit, minlength=10)
        return {"counts": counts, "total": counts.sum(), "path": str(self.path), "command": self._command()}

    def _command(self) -> str:
        copy = OWN_FILES / self.path.name
        return f"cp {shlex.quote(str(self.path))} {copy} && git add {copy}\ndvc exp run -S extra_ink={copy}"


def in_tablet_units(strokes: list[Any]) -> list[Any]:
    """Strokes as whole numbers from 0, in their true proportions."""
    arrays = [np.array(stroke, float) for stroke in strokes]
    points = np.concatenate(arrays)
    low, side = points.min(axis=0), float(np.ptp(points, axis=0).max())
    return [np.rint((stroke - low) * (SCALE / side)).astype(np.int64) for stroke in arrays]
