"""Write and read tables and metrics files. The formats of numbers are fixed, so equal values give equal bytes."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

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


def records_csv(records: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> bytes:
    """Records as CSV, one per row, floating-point numbers with six digits; only the header if there are no records."""
    import pandas as pd  # here and below: it takes a second, and not every script writes tables

    return table_csv(pd.DataFrame.from_records(list(records), columns=list(columns)), "%.6g")


def metrics_json(values: Mapping[str, Any]) -> bytes:
    """A metrics file: indented, keys in the order given, no NaN or infinity."""
    return (json.dumps(values, indent=2, allow_nan=False) + "\n").encode()


def read_table(path: Path, numbers: Sequence[str]) -> "pd.DataFrame":
    """Read a table. It must have the columns ``numbers``, with finite numbers; it may have others.

    Raises:
        StageError: naming the file, and the column that is missing or holds something else.
    """
    import numpy as np
    import pandas as pd

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
