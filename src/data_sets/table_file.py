"""Read a table of the user's from a CSV, TSV, Parquet or ARFF file: every cell as text."""

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import StageError
from pipeline.tabular.encoder import as_text
from utils import one_line

if TYPE_CHECKING:
    import pandas as pd

SEPARATORS = {
    ".csv": ",;\t",
    ".txt": ",;\t",
    ".data": ",;\t",
    ".tsv": "\t",
    ".tab": "\t",
}  # which of them: that of the first line
KINDS = (*SEPARATORS, ".parquet", ".arff")
_NO_TABLE = (ValueError, LookupError, OSError, NotImplementedError, OverflowError, StopIteration, csv.Error)


def kind_of(path: Path | str) -> str:
    """The end of the file's name, such as ``.csv``.

    Raises:
        StageError: if no table has such a name.
    """
    kind = Path(path).suffix.lower()
    if kind not in KINDS:
        raise StageError(f"{path} must end in one of {', '.join(KINDS)}")
    return kind


def read_table_file(path: Path, *, header: bool = True, called: str = "") -> "pd.DataFrame":
    """The table, each cell as text, without spaces around it; "" where a cell is empty.

    Names that occur twice get a number: ``a``, ``a.1``. Without a header, columns are called 1, 2, ...

    Args:
        called: the file's name in messages.

    Raises:
        StageError: naming the file and what is wrong with it.
        OSError: if it cannot be read.
    """
    kind, content, called = kind_of(path), path.read_bytes(), called or str(path)
    try:
        if kind == ".parquet":
            table, names = _parquet(content)
        elif kind == ".arff":
            table, names = _arff(content)
        else:
            table, names = _text(content, SEPARATORS[kind], header)
    except _NO_TABLE as error:
        raise StageError(one_line(f"{called} is not a table: {error}", 300)) from None
    if not len(table):
        raise StageError(f"{called} has no rows")
    return table.set_axis(distinct(names), axis="columns").reset_index(drop=True)


def _text(content: bytes, separators: str, header: bool) -> tuple["pd.DataFrame", list[str]]:
    import pandas as pd

    def read(separator: str, rows: int | None) -> "pd.DataFrame":
        return pd.read_csv(
            io.BytesIO(content),
            sep=separator,
            header=None,
            dtype=str,
            nrows=rows,
            keep_default_na=False,
            skipinitialspace=True,
            encoding="utf-8-sig",
        )

    # the one that gives the first line the most fields
    table = read(max(separators, key=lambda separator: read(separator, 1).shape[1]), None).fillna("")
    table = table.apply(lambda column: column.str.strip())
    if not header:
        return table, [str(number + 1) for number in range(table.shape[1])]
    return table[1:], table.iloc[0].tolist()


def _parquet(content: bytes) -> tuple["pd.DataFrame", list[str]]:
    import pandas as pd

    table = pd.read_parquet(io.BytesIO(content))
    return table.map(as_text), list(map(str, table.columns))


def _arff(content: bytes) -> tuple["pd.DataFrame", list[str]]:
    import pandas as pd
    from scipy.io import arff

    rows, _ = arff.loadarff(io.StringIO(content.decode("utf-8-sig").replace("\r\n", "\n")))
    table = pd.DataFrame(rows)
    return table.map(as_text), list(map(str, table.columns))


def distinct(names: list[str]) -> list[str]:
    """The names, those that occurred before with a number after them; a name for each that is empty."""
    found: dict[str, None] = {}
    for place, name in enumerate(names, start=1):
        wanted = candidate = name.strip() or f"column {place}"
        number = 0
        while candidate in found:
            number += 1
            candidate = f"{wanted}.{number}"
        found[candidate] = None
    return list(found)
