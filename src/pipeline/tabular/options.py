"""The block ``own`` of params.yaml: which table of the user's a run trains on."""

import re
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

TAKEN = ("pendigits", "synthetic", "Default")  # names of the project's own data sets, and of an experiment of MLflow's
FOLDER = PurePosixPath("data/own")  # a dep of fetch: git or DVC has its files also in temporary experiments

Place = str | Annotated[int, Field(strict=True, ge=1)]  # a column, by its name or its number from 1
Task = Literal["classification", "regression"]
Missing = Literal["refuse", "impute"]


class OwnTable(BaseModel):
    """A table of the user's.

    Attributes:
        path: the file, in ``data/own``: CSV, TSV, Parquet or ARFF.
        label: the column to predict.
        group: the column of groups that are held out whole, such as patients; None: there are none.
        drop: columns to leave out.
        header: whether the first line of a CSV or TSV file has the names; without names, columns are 1, 2, ...
        task: whether the label is a class or a number.
        missing: whether missing values are an error, or filled in (see ``Encoder``).
        test: the share of the rows to hold out for the test.
        test_path: a file with the rows of the test instead; ``test`` then does not count.
        name: what the results, the MLflow experiment and the registered model are called; by default the file's name.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str
    label: Place
    group: Place | None = None
    drop: list[Place] = []
    header: Annotated[bool, Field(strict=True)] = True
    task: Task = "classification"
    missing: Missing = "refuse"
    test: Annotated[float, Field(strict=True, gt=0, lt=1)] = 0.2
    test_path: str | None = None
    name: Annotated[str, Field(max_length=60, pattern=r"^\w[\w.-]*$")] = Field(
        default_factory=lambda given: name_from(PurePosixPath(given.get("path", "")).name)
    )

    @field_validator("name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        if name in TAKEN:
            raise ValueError(f"must not be one of {', '.join(TAKEN)}, whose runs would be mixed up with the table's")
        return name

    @field_validator("path", "test_path")
    @classmethod
    def _check_path(cls, path: str | None) -> str | None:
        if path is not None and not is_own(path):
            raise ValueError(f"must be a file in {FOLDER}, where `make new-data DATA=...` copies it, got {path!r}")
        return path


def is_own(path: str) -> bool:
    """Whether a path names a file in ``data/own``, without detours."""
    return PurePosixPath(path).parent == FOLDER and path == str(PurePosixPath(path))


def name_from(file: str) -> str:
    """A name made of a file's name: ``my table.csv`` gives ``my-table``; a name that is taken gets ``own-``."""
    name = re.sub(r"[^\w.-]+", "-", file.split(".")[0]).strip("-.")[:60] or "own"
    return f"own-{name}" if name in TAKEN else name
