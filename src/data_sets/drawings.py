"""Drawings that a user labelled, on the page of `make draw` or elsewhere: UNIPEN ink to train on too."""

from pathlib import Path

import numpy as np

from pen.features import FEATURE_SETS
from pen.ink import DataError
from pen.strokes import strokes_of
from pipeline.errors import StageError

from .data_set import Part
from .pen_files import table_of
from .unipen import parse_ink


def labelled_drawings(path: str) -> Part:
    """The drawings of a file, as rows of writer 1.

    Raises:
        StageError: naming the file, and the line or the drawing that is not as it should be.
    """
    try:
        ink = parse_ink(Path(path).read_bytes(), path)
    except FileNotFoundError:
        raise StageError(
            f"params.yaml: extra_ink: {path} does not exist; copy it there, and `git add` it before --queue or --temp"
        ) from None
    except DataError as error:
        raise StageError(f"params.yaml: extra_ink: {error}") from None
    strokes = strokes_of(ink)
    for i in np.flatnonzero(~strokes.points.any(axis=(1, 2)))[:1]:
        raise StageError(f"params.yaml: extra_ink: {path}: all points of drawing {i + 1} are the same")
    table = table_of(FEATURE_SETS["table"].of(strokes).clip(-1, 1), ink.digit, np.ones_like(ink.digit))
    return Part(table, f"{len(ink):,} labelled drawings", strokes)
