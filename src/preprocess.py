"""Stage preprocess: check the data set's files against each other, join the writers in, scale the coordinates.

The ink is kept too: augmentation makes new rows of it, and with ``features: ink`` the network reads it.
"""

import starting  # noqa: F401 (a Ctrl-C from here on is said in a line)

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import stage
from params import load_params
from pendigits import COLUMNS, TEST, TRAINING, DataError, Ink, Part, parse_ink, parse_table
from stage import StageError
from strokes import format_strokes, strokes_of
from utils import scale_features

RAW = Path("data/raw")
PROCESSED = Path("data/processed")


def main() -> None:
    """Make data/processed/training.csv, test.csv, and training_ink.npz and test_ink.npz, from data/raw/<dataset>."""
    params = load_params()
    folder = RAW / params.dataset
    for part, name in ((TRAINING, "training"), (TEST, "test")):
        try:
            X, digit = parse_table((folder / part.table).read_bytes(), part.table)
            ink = parse_ink((folder / part.ink).read_bytes(), part.ink)
            n_rows = part.rows if params.dataset == "pendigits" else len(ink)
            features, writer = preprocess(X, digit, ink, part, n_rows)
        except DataError as error:
            raise StageError(f"{error}; to get the data anew, remove {folder} and run `dvc repro`") from None
        stage.write_bytes(PROCESSED / f"{name}.csv", format_csv(features, digit, writer))
        stage.write_bytes(PROCESSED / f"{name}_ink.npz", format_strokes(strokes_of(ink)))
        stage.say(f"{name}: {len(digit):,} digits by {part.writers} writers")


def preprocess(
    X: NDArray[np.int64], digit: NDArray[np.int64], ink: Ink, part: Part, n_rows: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Scale the table's coordinates, and find each row's writer: row i is sample i of the ink.

    Args:
        X: (n, 16) from 0 to 100; digit: (n,).
        part: whose files they are.
        n_rows: how many rows there must be.

    Returns:
        The coordinates from -1 to 1, (n, 16), and the writers, (n,). Nothing is fitted to the rows: the bounds are the
        tablet's.

    Raises:
        DataError: if rows are missing, table and ink do not tell the same digits, or the writers are not the part's.
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
    """Write a table with a header; the shortest decimals that give the very same numbers when read again."""
    rows = zip(features.tolist(), digit.tolist(), writer.tolist(), strict=True)
    lines = [",".join([*map(repr, row), str(digit), str(writer)]) for row, digit, writer in rows]
    return "\n".join([",".join(COLUMNS), *lines, ""]).encode()


if __name__ == "__main__":
    stage.run(main)
