"""Stage split: data/processed -> data/split: rows held out for validation, and the arrays that the network reads.

Validation rows are those of whole writers, or groups, or random ones. The test part takes no part in the choice. Of a
table, scaling and categories are fitted to the training rows alone. Of the user's drawings, every second one of each
digit is held out.
"""

from runtime import script

import numpy as np
from numpy.typing import NDArray

from pen.features import FEATURE_SETS
from pen.ink import N_POINTS
from pipeline import paths
from pipeline.errors import StageError
from pipeline.params import Params, load_params
from pipeline.rows import Rows, read_strokes, rows_npz, strokes_npz
from pipeline.schema import FILE, Schema, read_schema
from pipeline.table_rows import TableRows, fitted, read_table_rows
from pipeline.tables import read_table
from pipeline.tabular.holdout import hold_out
from runtime.files import write_bytes
from utils import one_line

COORDINATES = [f"{axis}{point}" for point in range(1, N_POINTS + 1) for axis in "xy"]  # columns, x1 to y8


def main() -> None:
    """Make data/split/train.npz, validation.npz, test.npz and schema.json from data/processed, and the ink of two."""
    params, schema = load_params(), read_schema(paths.PROCESSED)
    training, test = (read_rows_of(schema, name, params.features) for name in ("training", "test"))
    held_out = choose_validation(training.y, training.writer, params, schema)
    parts = {"train": training.take(~held_out), "validation": training.take(held_out), "test": test}
    schema, rows_of = encoded(schema, parts)
    for name, rows in rows_of.items():
        if name != "test":  # a file without arrays where there is no ink
            write_bytes(paths.SPLIT / f"{name}_ink.npz", strokes_npz(rows.strokes))
        write_bytes(paths.SPLIT / f"{name}.npz", rows_npz(rows))
        script.say(f"{name}: {len(rows.y):,} rows{schema.groups(len(np.unique(rows.writer)))}")
    for name, content in drawings_npz(params.features).items():
        write_bytes(paths.SPLIT / name, content)
    write_bytes(paths.SPLIT / FILE, schema.to_json())


def drawings_npz(features: str) -> dict[str, bytes]:
    """The labelled drawings, half to train on and half held out; files without arrays if there are none.

    Raises:
        StageError: if there are too few to hold one out.
    """
    learned = held_out = None
    if (paths.PROCESSED / "drawings.csv").exists():
        drawings = read_part("drawings", features)
        second = every_second(drawings.y)
        if not second.any():
            n = "1 drawing" if len(second) == 1 else f"{len(second)} drawings, of different digits"
            raise StageError(f"params.yaml: extra_ink: draw a digit twice: the second is held out; it holds {n}")
        learned, held_out = drawings.take(~second), drawings.take(second)
        script.say(f"drawings: {len(learned.y):,} to train on, {len(held_out.y):,} held out")
    return {
        "drawings.npz": rows_npz(learned),
        "drawings_ink.npz": strokes_npz(learned and learned.strokes),
        "drawings_test.npz": rows_npz(held_out),
    }


def every_second(y: NDArray) -> NDArray[np.bool_]:
    """Every second row of each class, (n,): more rows at the end change nothing for those before them."""
    chosen = np.zeros(len(y), bool)
    for label in np.unique(y):
        chosen[np.flatnonzero(y == label)[1::2]] = True
    return chosen


def encoded(schema: Schema, parts: dict[str, Rows | TableRows]) -> tuple[Schema, dict[str, Rows]]:
    """The rows as the network reads them; of a table, with an encoder that is fitted to the part ``train``."""
    train = parts["train"]
    if isinstance(train, TableRows):
        schema = fitted(schema, train)
    return schema, {name: rows.encoded(schema) if isinstance(rows, TableRows) else rows for name, rows in parts.items()}


def choose_validation(y: NDArray, writer: NDArray, params: Params, schema: Schema | None = None) -> NDArray[np.bool_]:
    """Choose the rows to validate on.

    ``split_by: writer`` holds out ``validation_writers`` whole writers, ``group`` whole groups with about
    ``validation_fraction`` of the rows, ``random`` that share of each class.

    Args:
        y, writer: (n,), of the training part.
        params: split_by, split_seed and the one of the two above that it goes by.
        schema: of the data set; None: of the pen digits.

    Returns:
        (n,): True for validation.

    Raises:
        StageError: naming the parameter, if too few rows would be left on either side, or a class without any to learn.
    """
    schema = schema or Schema(dataset="")
    if params.split_by != "random" and schema.group is None:
        needed = (
            "own.group to name a column" if schema.kind == "table" else "the writers, which are only in UCI's archive"
        )
        raise StageError(f"params.yaml: split_by: {params.split_by} needs {needed}; use random")
    if params.split_by == "writer":
        rng, writers = np.random.default_rng(params.split_seed), np.unique(writer)
        key = f"validation_writers: {params.validation_writers}"
        if params.validation_writers >= len(writers):
            groups = f"{schema.group}s" if schema.kind == "pen" else "groups"
            raise StageError(f"params.yaml: {key} must be less than the number of {groups}, which is {len(writers)}")
        held_out = np.isin(writer, rng.choice(writers, params.validation_writers, replace=False))
    else:
        share, group = params.validation_fraction, writer if params.split_by == "group" else None
        key = f"validation_fraction: {share}"
        try:
            held_out = hold_out(y, group, share, params.split_seed, stratify=schema.task == "classification")
        except ValueError:
            raise StageError(f"params.yaml: {key} leaves no row on one side; there are {len(y):,} rows") from None
    if schema.task == "classification":
        unlearned = np.setdiff1d(np.arange(len(schema.classes)), y[~held_out])
        for name in [schema.classes[number] for number in unlearned[:1]]:
            if schema.kind == "pen":
                raise StageError(f"params.yaml: {key} leaves no {name} to learn from")
            script.say(f"warning: no training row has the label {one_line(name, 60)}; the network cannot learn it")
    return held_out


def read_rows_of(schema: Schema, name: str, features: str) -> Rows | TableRows:
    """The rows of a part of any data set; StageError if there are none with these features."""
    if schema.kind == "pen":
        return read_part(name, features, with_ink=schema.group is not None)
    if features != "table":
        raise StageError(f"params.yaml: features must be table for a table of your own, got {features}")
    return read_table_rows(paths.PROCESSED / f"{name}.csv", schema)


def read_with_writers(name: str, features: str) -> Rows:
    """As ``read_part``; StageError in words for a person if the data is a copy of the tables, without ink."""
    if read_schema(paths.PROCESSED).group is None:
        raise StageError("this needs the ink and the writers, which are only in UCI's archive")
    return read_part(name, features)


def read_part(name: str, features: str, *, with_ink: bool = True) -> Rows:
    """The digits of a part, ``training``, ``test`` or ``drawings``, with the network's features, and their ink.

    Args:
        with_ink: False: there is none, and the number of every writer is 0.

    Raises:
        StageError: if a file of the part is not as preprocess writes it.
    """
    path = paths.PROCESSED / f"{name}.csv"
    table = read_table(path, (*COORDINATES, "digit", "writer"))
    X, y, writer = np.column_stack([table[name] for name in COORDINATES]), table["digit"], table["writer"]
    X = X.astype(np.float32)
    if not len(X) or not (np.abs(X) <= 1).all():
        raise StageError(f"{path} must have coordinates from -1 to 1; `dvc repro` makes it again")
    if not np.isin(y, range(10)).all() or not (writer >= with_ink).all() or y.dtype.kind + writer.dtype.kind != "ii":
        raise StageError(f"{path} must have digits from 0 to 9 and writers from 1; `dvc repro` makes it again")
    if features != "table" and not with_ink:
        raise StageError(f"params.yaml: features: {features} needs the ink, which is only in UCI's archive; use table")
    strokes = read_strokes(paths.PROCESSED / f"{name}_ink.npz", len(X)) if with_ink else None
    if features != "table" and strokes is not None:
        X = FEATURE_SETS[features].of(strokes)
    return Rows(X, y, writer, np.arange(len(X)), strokes)


if __name__ == "__main__":
    script.run(main)
