"""`make predict FILE=rows.csv`: predict the rows of a file with the trained network, and write a table.

Of pen digits, the file is a CSV table with the sixteen coordinates of each digit, or ink in the UNIPEN format. Of a
table of your own it has the same columns, in any format that `make new-data` reads.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from data_sets.pendigits import FEATURES
from data_sets.table_file import read_table_file
from data_sets.unipen import parse_ink
from pen.features import FEATURE_SETS
from pen.ink import DataError
from pen.recognizer import Recognizer
from pen.strokes import strokes_of
from pipeline.errors import StageError
from pipeline.model import Model, read_model
from pipeline.paths import METRICS, MODELS, RAW
from pipeline.tables import table_csv
from pipeline.tabular.model import TableModel
from runtime.files import write_bytes
from runtime.script import say
from utils import one_line, scale_features

if TYPE_CHECKING:
    import pandas as pd

WRITTEN_BY_DVC = (RAW.parent, MODELS, METRICS)


def main() -> None:
    parser = argparse.ArgumentParser(description="Predict the digits of a file.")
    parser.add_argument("file", type=Path, help="a CSV table of coordinates, or UNIPEN ink")
    parser.add_argument("model", type=Path, nargs="?", default=MODELS, help="the folder with the trained network")
    parser.add_argument("--to", type=Path, help="the table to write; by default FILE-predictions.csv")
    asked = parser.parse_args()
    target = asked.to or asked.file.with_name(f"{asked.file.stem}-predictions.csv")
    if target.resolve() == asked.file.resolve() or {*target.resolve().parents} & {
        path.resolve() for path in WRITTEN_BY_DVC
    }:
        raise StageError(f"{target} must stay as it is; name the table to write: make predict FILE=... TO=digits.csv")
    model = read_model(asked.model)
    answer = predict(asked.file, model)
    write_bytes(target, table_csv(answer))
    known, label = "", model.label
    if model.classes and label in answer:
        right = answer[label].astype(str) == answer["predicted"].astype(str)
        known = f", {right.mean():.2%} as in the column {one_line(label, 60)}"
    say(f"{target}: {len(answer)} {'rows' if isinstance(model, TableModel) else 'digits'}{known}")


def predict(file: Path, model: Model) -> "pd.DataFrame":
    """The file's other columns, and for each row ``predicted`` and, of a classifier, ``probability``.

    Raises:
        StageError: if the file cannot be read, naming the first row that is wrong.
    """
    if isinstance(model, TableModel):
        return predict_table(file, model)
    try:
        content = file.read_bytes()
        if content.lstrip()[:1] == b".":  # as in .SEGMENT
            table, X = _from_ink(content, file.name, model)
        elif model.features == "table":
            table, X = _from_table(file)
        else:
            raise StageError(f"the model reads {model.features}, so {file} must be ink in the UNIPEN format")
    except OSError as error:
        raise StageError(f"{file} cannot be read: {error.strerror}") from None
    except ValueError as error:  # pandas' own errors, DataError and UnicodeDecodeError
        said = str(error) if isinstance(error, DataError) else f"{file} is not a CSV table: {error}"
        raise StageError(one_line(said, 300)) from None
    p = model.probabilities(X)
    return table.assign(predicted=p.argmax(axis=1), probability=p.max(axis=1).astype(np.float64).round(6))


def predict_table(file: Path, model: TableModel) -> "pd.DataFrame":
    """All columns of a table, ``predicted`` and, of a classifier, ``probability``; errors as ``predict``."""
    try:
        table = read_table_file(file)
        if not {*model.encoder.names} <= {*table.columns}:  # trained on a file without names, or it lacks a column
            without = read_table_file(file, header=False)
            table = without if {*model.encoder.names} <= {*without.columns} else table
        X = model.rows(table)
    except OSError as error:
        raise StageError(f"{file} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise StageError(f"{file}: {error}") from None
    if not model.classes:
        return table.assign(predicted=model.numbers(X))
    p = model.probabilities(X)
    predicted = np.array(model.classes)[p.argmax(axis=1)]
    return table.assign(predicted=predicted, probability=p.max(axis=1).astype(np.float64).round(6))


def _from_ink(content: bytes, name: str, model: Recognizer) -> tuple["pd.DataFrame", NDArray[np.float32]]:
    import pandas as pd

    ink = parse_ink(content, name)
    X = FEATURE_SETS[model.features].of(strokes_of(ink)).astype(np.float32)
    return pd.DataFrame({"digit": ink.digit, "writer": ink.writer}), X


def _from_table(file: Path) -> tuple["pd.DataFrame", NDArray[np.float32]]:
    """The other columns as text, and the rows of features, of a table with or without a header.

    The coordinates are the columns x1, y1, ..., x8, y8, or the first sixteen if no column has such a name. Without a
    header, a seventeenth column is the digit, as in the data set's own files.
    """
    import pandas as pd

    table = pd.read_csv(
        file, header=None, dtype=str, keep_default_na=False, skipinitialspace=True, encoding="utf-8-sig"
    )
    n = len(FEATURES)
    first = pd.to_numeric(table.iloc[0, :n], errors="coerce")
    if first.isna().all() or (first.diff()[1:] == 1).all():  # a header of names, or pandas' header 0, 1, 2, ...
        table = table[1:].set_axis(table.iloc[0].str.strip().tolist(), axis="columns")
    elif table.shape[1] == n + 1:
        table.columns = [*FEATURES, "digit"]
    names = [*FEATURES] if set(FEATURES) & set(table.columns) else table.columns[:n].tolist()
    if missing := [name for name in names if name not in table.columns]:
        raise StageError(f"{file} has no column {missing[0]}; the coordinates are x1, y1, ..., x8, y8")
    if len(names) < n or not len(table):
        raise StageError(f"{file} must hold rows of {n} coordinates, got {len(table)} rows of {table.shape[1]} values")
    X = table[names].apply(pd.to_numeric, errors="coerce").to_numpy(float)
    wrong = np.argwhere(~((X >= 0) & (X <= 100)))
    if len(wrong):
        row, column = wrong[0]
        value = one_line(repr(table[names].iat[row, column]), 60)
        raise StageError(f"{file}, row {row + 1}: {FEATURES[column]} must be a number from 0 to 100, got {value}")
    return table.drop(columns=names), scale_features(X).astype(np.float32)
