"""Write and read tables and metrics files. The formats of numbers are fixed, so equal values give equal bytes."""

import csv
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from utils import one_line

from .errors import StageError

if TYPE_CHECKING:
    import pandas as pd


def table_csv(rows: "pd.DataFrame", numbers: str | None = None) -> bytes:
    """A table as CSV.

    Args:
        numbers: the format of floating-point numbers, such as ``%.6g``; by default the shortest decimals that give
            exactly the same numbers when they are read back.
    """
    return rows.to_csv(index=False, lineterminator="\n", float_format=numbers).encode()


def columns_csv(columns: Mapping[str, Iterable[Any]], numbers: str) -> bytes:
    """Columns of equal length as CSV: the bytes of ``table_csv`` without pandas, which takes most of a second to load.

    Args:
        columns: lists or arrays by name, each of numbers alone or of texts alone.
    """
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    shown = ([_shown(value, numbers) for value in values] for values in columns.values())
    writer.writerows(zip(*shown, strict=True))
    return text.getvalue().encode()


def _shown(value: Any, numbers: str) -> Any:
    """A cell: nothing for NaN and for what is missing, as pandas writes them."""
    if not isinstance(value, float | np.floating):
        return value
    return "" if math.isnan(value) else numbers % value


def records_csv(records: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> bytes:
    """Records as CSV, one per row, floating-point numbers with six digits; only the header if there are no records."""
    return columns_csv({name: [record.get(name) for record in records] for name in columns}, "%.6g")


def metrics_json(values: Mapping[str, Any]) -> bytes:
    """A metrics file: indented, keys in the order given, eight significant digits, no NaN or infinity.

    These are more digits than anything shows: if 98.684963 % were rounded to 98.6850 first, it would be shown as 98.69.
    """
    shown = {name: float(f"{x:.8g}") if isinstance(x, float) else x for name, x in values.items()}
    return (json.dumps(shown, indent=2, allow_nan=False) + "\n").encode()


def read_table(path: Path, numbers: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Read a table that a stage has written: columns by name, each (rows,) of whole numbers, of floats or of texts.

    It must have the columns ``numbers``, with finite numbers; it may have others. An empty cell among floats is NaN.

    Raises:
        StageError: naming the file, and the column that is missing or holds something else.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            header, *rows = filter(None, csv.reader(file))
        cells = zip(*rows, strict=True) if rows else [()] * len(header)
        table = {name: _column(column) for name, column in zip(header, cells, strict=True)}
    except (ValueError, csv.Error) as error:
        raise StageError(f"{path} is not a table ({one_line(error, 200)}); `dvc repro` makes it again") from None
    for name in numbers:
        if name not in table:
            raise StageError(f"{path} has no column {name}; `dvc repro` makes it again")
        if not rows or table[name].dtype.kind not in "if" or not np.isfinite(table[name]).all():
            raise StageError(f"{path}: the column {name} must hold finite numbers; `dvc repro` makes it again")
    return table


def _column(cells: Sequence[str]) -> NDArray[Any]:
    with suppress(ValueError, OverflowError):
        return np.array(cells, dtype=np.int64)
    with suppress(ValueError):
        return np.array([cell or "nan" for cell in cells], dtype=float)
    return np.array(cells)


def records_of(table: Mapping[str, NDArray[Any]]) -> list[dict[str, Any]]:
    """The rows of a table as dictionaries."""
    rows = zip(*(column.tolist() for column in table.values()), strict=True)
    return [dict(zip(table, row, strict=True)) for row in rows]
