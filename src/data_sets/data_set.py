"""What the stages ask a data set for."""

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from pen.strokes import Strokes
from pipeline.schema import Schema

if TYPE_CHECKING:
    import pandas as pd


class Part(NamedTuple):
    """The training rows of a data set, or those of the test."""

    table: "pd.DataFrame"  # features, then label and, if there is one, group; of a table of the user's, last the row
    said: str  # a few words on them for the log
    strokes: Strokes | None = None  # of pen digits, the ink


class DataSet(Protocol):
    """A data set, which is a module in this folder."""

    def files(self) -> dict[str, bytes] | None:
        """The files for data/raw by name; None: they are downloaded."""

    def parts(self, folder: Path) -> tuple[Schema, dict[str, Part]]:
        """What the data set is, and its rows by part, ``training`` and ``test``, from the files in ``folder``.

        Raises:
            DataError: naming the file, and the row, that is not as it should be.
        """
