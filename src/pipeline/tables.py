"""Write and read tables and metrics files. The formats of numbers are fixed, so equal values give equal bytes."""

import csv
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

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


def read_table(path: Path, numbers: Sequence[str]) -> "pd.DataFrame":
    """Read a table. It must have the columns ``numbers``, with finite numbers; it may have others.

    Raises:
        StageError: naming the file, and the column that is missing or holds something else.
    """
    import pandas as pd  # here: it takes a while, and not every script reads tables

    try:
        table = pd.read_csv(path, encoding="utf-8")
    except ValueError as error:  # pandas' own errors, and UnicodeDecodeError
        raise StageError(f"{path} is not a table ({one_line(error, 200)}); `dvc repro` makes it again") from None
    for name in numbers:
        if name not in table:
            raise StageError(f"{path} has no column {name}; `dvc repro` makes it again")
        if table[name].dtype.kind not in "iuf" or not np.isfinite(table[name]).all():
            raise StageError(f"{path}: the column {name} must hold finite numbers; `dvc repro` makes it again")
    return table


def records_of(table: "pd.DataFrame") -> list[dict[str, Any]]:
    """The rows of a table as dictionaries."""
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]
