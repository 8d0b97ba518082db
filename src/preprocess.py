"""Stage preprocess: data/raw -> data/processed: tables with writers and scaled coordinates, and the ink.

The ink is kept too: augmentation makes new rows of it, and with ``features: ink`` the network reads it.
"""

from runtime import script

import numpy as np
from numpy.typing import NDArray

from data_sets.pendigits import FEATURES, TEST, TRAINING, Part, parse_table
from data_sets.unipen import parse_ink
from pen.ink import DataError, Ink
from pen.strokes import strokes_of
from pipeline import paths
from pipeline.errors import StageError
from pipeline.params import load_params
from pipeline.rows import strokes_npz
from pipeline.tables import table_csv
from runtime.files import write_bytes
from utils import scale_features


def main() -> None:
    """Make data/processed/training.csv, test.csv, and training_ink.npz and test_ink.npz, from data/raw/<dataset>."""
    params = load_params()
    folder, contents = paths.RAW / params.dataset, dict[str, bytes]()
    for part, name in ((TRAINING, "training"), (TEST, "test")):
        try:
            X, digit = parse_table((folder / part.table).read_bytes(), part.table)
            ink = parse_ink((folder / part.ink).read_bytes(), part.ink)
            n_rows = part.rows if params.dataset == "pendigits" else len(ink)
            features, writer = preprocess(X, digit, ink, part, n_rows)
        except DataError as error:
            raise StageError(f"{error}; to get the data again, remove {folder} and run `dvc repro`") from None
        contents[f"{name}.csv"] = format_csv(features, digit, writer)
        contents[f"{name}_ink.npz"] = strokes_npz(strokes_of(ink))
        script.say(f"{name}: {len(digit):,} digits by {part.writers} writers")
    for name, content in contents.items():
        write_bytes(paths.PROCESSED / name, content)


def preprocess(
    X: NDArray[np.int64], digit: NDArray[np.int64], ink: Ink, part: Part, n_rows: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Scale the table's coordinates, and find each row's writer: row i is sample i of the ink.

    Args:
        X: (n, 16) from 0 to 100; digit: (n,).
        part: the part of the data set that the files belong to.
        n_rows: how many rows there must be.

    Returns:
        The coordinates from -1 to 1, (n, 16), and the writers, (n,). Nothing is fitted to the rows: the bounds are the
        tablet's.

    Raises:
        DataError: if rows are missing, table and ink disagree on a digit, or the writers are not the part's.
    """
    for name, found in ((part.table, len(digit)), (part.ink, len(ink))):
        if found != n_rows:
            raise DataError(f"{name} holds {found:,} digits instead of {n_rows:,}")
    for row in np.flatnonzero(digit != ink.digit)[:1]:
        raise DataError(
            f"{part.table}, line {row + 1}: the digit is {digit[row]}, but number {row + 1} in {part.ink} is"
            f" {ink.digit[row]}"
        )
    if not np.array_equal(np.unique(ink.writer), np.arange(1, part.writers + 1)):
        numbers = ", ".join(map(str, np.unique(ink.writer)[: part.writers + 1]))
        raise DataError(f"{part.ink}: the writers must be 1 to {part.writers}, got {numbers}")
    return scale_features(X), ink.writer


def format_csv(features: NDArray[np.float64], digit: NDArray[np.int64], writer: NDArray[np.int64]) -> bytes:
    """The table: a row a digit, with its coordinates, the digit and the writer."""
    import pandas as pd

    columns = dict(zip(FEATURES, features.T, strict=True))
    return table_csv(pd.DataFrame(columns | {"digit": digit, "writer": writer}))


if __name__ == "__main__":
    script.run(main)
