"""What a data set is, as its stages tell the later ones: ``schema.json`` in data/processed and in data/split."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from utils import one_line

from .errors import StageError
from .paths import PROCESSED, SPLIT
from .tabular.encoder import Encoder, Scaling
from .tabular.options import Missing, Task

FILE = "schema.json"


class Schema(BaseModel):
    """All that split, train and the pictures need to know of a data set.

    Attributes:
        dataset: its name in results and in MLflow.
        kind: ``pen``: rows are pen paths, with ink; ``table``: rows of columns.
        classes: the names of the classes, in the order of their numbers; none for a regression.
        label, group: the names of the columns; without a group, rows do not belong together. Pen digits without ink
            have none, since the ink names the writers.
        columns, numeric, missing: of a table, its features, those that are numbers, and what is done where a value is
            missing.
        encoder, target: of a table's training rows, fitted by split: how columns, and a regression's label, become
            numbers that the network reads.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    dataset: str
    kind: Literal["pen", "table"] = "pen"
    task: Task = "classification"
    classes: tuple[str, ...] = tuple(map(str, range(10)))
    label: str = "digit"
    group: str | None = "writer"
    columns: list[str] = []
    numeric: list[str] = []
    missing: Missing = "refuse"
    encoder: Encoder | None = None
    target: Scaling | None = None

    def groups(self, n: int) -> str:
        """Words for so many groups, to follow a number of rows; empty if there are no groups."""
        if self.kind == "pen" and self.group:
            return f" by {n} {self.group}s"
        return f" of {n:,} groups ({one_line(self.group, 40)})" if self.group else ""

    def to_json(self) -> bytes:
        return (self.model_dump_json(indent=2) + "\n").encode()


def read_schema(folder: Path) -> Schema:
    """Read the schema in data/processed or data/split.

    Raises:
        StageError: if it is missing, damaged, or lacks what split adds.
    """
    path = folder / FILE
    stage = {PROCESSED: "preprocess", SPLIT: "split"}.get(folder, "")
    try:
        schema = Schema.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise StageError(f"{path} does not exist; `dvc repro {stage}` makes it") from None
    except ValidationError as error:
        said = one_line(error.errors()[0]["msg"], 100)
        raise StageError(f"{path} is damaged ({said}); `dvc repro` makes it again") from None
    if folder == SPLIT and schema.kind == "table" and schema.encoder is None:
        raise StageError(f"{path} has no encoder; `dvc repro` makes it again")
    return schema
