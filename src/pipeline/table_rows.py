"""The rows of a table of columns in data/processed, and the same as the network reads them."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from utils import one_line

from .errors import StageError
from .rows import Rows
from .schema import Schema
from .tabular.encoder import Encoder, Scaling

if TYPE_CHECKING:
    import pandas as pd


class TableRows(NamedTuple):
    """Some rows of a table."""

    table: "pd.DataFrame"  # the features: numbers, NaN where one is missing; texts, "" where one is missing
    y: NDArray  # (n,): the class's number, or the number to predict in its own unit
    writer: NDArray[np.str_]  # (n,): the group, "" if there are none
    row: NDArray[np.int64]  # (n,): its number in the file of origin, from 0

    def take(self, chosen: NDArray) -> "TableRows":
        """Some of the rows, by a mask or by their numbers."""
        return TableRows(self.table.iloc[chosen], self.y[chosen], self.writer[chosen], self.row[chosen])

    def encoded(self, schema: Schema) -> Rows:
        """The rows as the network reads them.

        Args:
            schema: with the encoder and the target's scaling.

        Raises:
            StageError: if a value is missing that must not be.
        """
        if schema.encoder is None:
            raise ValueError("a schema without an encoder")
        try:
            X = schema.encoder.encode(self.table)
        except ValueError as error:
            raise StageError(f"params.yaml: own.missing: {error}") from None
        y = self.y if schema.target is None else (self.y - schema.target.mean) / schema.target.scale
        return Rows(X, y, self.writer, self.row)


def fitted(schema: Schema, rows: TableRows) -> Schema:
    """The schema with an encoder and, of a regression, a scaling of the label that are fitted to these rows."""
    try:
        encoder = Encoder.fit(rows.table, schema.numeric, schema.missing)
        target = Scaling.of(rows.y) if schema.task == "regression" else None
    except ValueError as error:
        raise StageError(str(error)) from None
    if not encoder.size:
        raise StageError("the table has no column that holds anything in the training rows")
    return schema.model_copy(update={"encoder": encoder, "target": target})


def read_table_rows(path: Path, schema: Schema) -> TableRows:
    """Read a table that preprocess wrote: features, label, group if there is one, row.

    Raises:
        StageError: if it is something else.
    """
    import pandas as pd

    n = len(schema.columns)
    kinds: dict[Any, type] = {i: float if name in schema.numeric else str for i, name in enumerate(schema.columns)}
    kinds[n] = float if schema.task == "regression" else str
    kinds |= {n + 1: str, n + 2: int} if schema.group else {n + 1: int}
    may_lack = {place: [""] for place, kind in kinds.items() if kind is not str}
    try:
        table = pd.read_csv(
            path,
            header=None,
            skiprows=1,
            dtype=kinds,
            keep_default_na=False,
            na_values=may_lack,
            encoding="utf-8",
        )
    except ValueError as error:  # pandas' own errors, and UnicodeDecodeError
        raise StageError(f"{path} is not a table ({one_line(error, 200)}); `dvc repro` makes it again") from None
    if table.shape[1] != len(kinds) or not len(table):
        raise StageError(f"{path} must hold rows of {len(kinds)} columns; `dvc repro` makes it again")
    y = table[n]
    if schema.task == "classification":
        y = y.map({name: number for number, name in enumerate(schema.classes)})
    if y.isna().any():
        raise StageError(f"{path} holds labels that schema.json does not know; `dvc repro` makes both again")
    group = table[n + 1].to_numpy(np.str_) if schema.group else np.full(len(table), "", np.str_)
    row = table[len(kinds) - 1].to_numpy(np.int64)
    numbers = np.float64 if schema.task == "regression" else np.int64
    return TableRows(table.iloc[:, :n].set_axis(schema.columns, axis="columns"), y.to_numpy(numbers), group, row)
