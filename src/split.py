"""Stage split: hold out validation rows, whole writers or random ones, and make the arrays that the network reads.

Nothing is fitted here, to any row; and the test part takes no part in the choice.
"""

import starting  # noqa: F401 (a Ctrl-C from here on is said in a line)

import warnings
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

import stage
from params import Params, load_params
from pendigits import COLUMNS
from stage import StageError
from strokes import FEATURE_SETS, Strokes, format_strokes, read_strokes
from utils import split_data

PROCESSED = Path("data/processed")
SPLIT = Path("data/split")


class Rows(NamedTuple):
    """Rows of a table, as data/split keeps them."""

    X: NDArray[np.float32]  # (n, size of the features): (n, 16), from -1 to 1, of the table
    y: NDArray[np.int64]  # (n,): the digit
    writer: NDArray[np.int64]  # (n,), from 1
    row: NDArray[np.int64]  # (n,): its number in the file of origin, from 0

    def take(self, chosen: NDArray[np.bool_]) -> "Rows":
        return Rows(self.X[chosen], self.y[chosen], self.writer[chosen], self.row[chosen])


def main() -> None:
    """Make data/split/train.npz, validation.npz and test.npz from data/processed, and the ink of the first two."""
    params = load_params()
    (training, ink), (test, _) = (read_part(name, params.features) for name in ("training", "test"))
    held_out = choose_validation(training.y, training.writer, params)
    for name, chosen in (("train", ~held_out), ("validation", held_out)):
        stage.write_bytes(SPLIT / f"{name}_ink.npz", format_strokes(ink.take(chosen)))
    for name, rows in (
        ("train", training.take(~held_out)),
        ("validation", training.take(held_out)),
        ("test", test),
    ):
        stage.write_bytes(SPLIT / f"{name}.npz", format_npz(rows))
        stage.say(f"{name}: {len(rows.y):,} rows by {len(np.unique(rows.writer))} writers")


def choose_validation(y: NDArray[np.int64], writer: NDArray[np.int64], params: Params) -> NDArray[np.bool_]:
    """Choose the rows to validate on: ``validation_writers`` whole writers, or ``validation_fraction`` of each digit.

    Args:
        y, writer: (n,), of the training part.
        params: split_by, split_seed and the one of the two above that it goes by.

    Returns:
        (n,): True for validation.

    Raises:
        StageError: naming the parameter, if too few rows would be left on either side, or a digit without any to learn.
    """
    rng = np.random.default_rng(params.split_seed)
    if params.split_by == "writer":
        key, writers = f"validation_writers: {params.validation_writers}", np.unique(writer)
        if params.validation_writers >= len(writers):
            raise StageError(f"params.yaml: {key} must be less than the number of writers, which is {len(writers)}")
        held_out = np.isin(writer, rng.choice(writers, params.validation_writers, replace=False))
    else:
        key = f"validation_fraction: {params.validation_fraction}"
        try:
            _, validation, _, _ = split_data(np.arange(len(y)), y, test_size=params.validation_fraction, rng=rng)
        except ValueError:
            raise StageError(f"params.yaml: {key} leaves no row on one side; there are {len(y):,} rows") from None
        held_out = np.isin(np.arange(len(y)), validation)
    for digit in np.setdiff1d(np.arange(10), y[~held_out])[:1]:
        raise StageError(f"params.yaml: {key} leaves no {digit} to learn from")
    return held_out


def read_part(name: str, features: str) -> tuple[Rows, Strokes]:
    """The rows of a part, ``training`` or ``test``, with the features that the network reads, and the part's ink.

    Raises:
        StageError: if a file of the part is not as preprocess writes it.
    """
    rows = read_csv(PROCESSED / f"{name}.csv")
    ink = read_ink(PROCESSED / f"{name}_ink.npz", len(rows.y))
    return (rows if features == "table" else rows._replace(X=FEATURE_SETS[features].of(ink))), ink


def read_csv(path: Path) -> Rows:
    """Read a table that preprocess wrote.

    Raises:
        StageError: if it is something else.
    """
    header, _, body = path.read_text(encoding="utf-8", errors="replace").partition("\n")
    try:
        with warnings.catch_warnings(category=UserWarning, action="ignore"):  # of an empty table, refused below
            values = np.loadtxt(body.splitlines(), delimiter=",", comments=None, ndmin=2)
    except ValueError as error:
        raise StageError(f"{path} is not as preprocess writes it: {error}; run `dvc repro`") from None
    if header != ",".join(COLUMNS) or not _is_table(values):
        raise StageError(f"{path} is not as preprocess writes it; run `dvc repro`")
    y, writer = values[:, 16:].astype(np.int64).T.copy()
    return Rows(values[:, :16].astype(np.float32), y, writer, np.arange(len(values)))


def read_ink(path: Path, n: int) -> Strokes:
    """Read the ink that preprocess wrote, of n digits.

    Raises:
        StageError: if it is something else.
    """
    strokes = read_strokes(path)
    if len(strokes.points) != n:
        raise StageError(f"{path} holds {len(strokes.points)} digits, and the table {n}; run `dvc repro`")
    return strokes


def _is_table(values: NDArray[np.float64]) -> bool:
    """Whether these are rows of 16 scaled coordinates, a digit and a writer."""
    if not len(values) or values.shape[1] != len(COLUMNS):
        return False
    X, y, writer = values[:, :16], values[:, 16], values[:, 17]
    good_writer = (writer == np.rint(writer)) & (writer >= 1) & (writer < 2**31)
    return bool(np.all((np.abs(X) <= 1).all(axis=1) & np.isin(y, np.arange(10)) & good_writer))


def format_npz(rows: Rows) -> bytes:
    """The arrays as an npz file: no pickle, and no time stamps, so the same arrays are the same bytes."""
    buffer = BytesIO()
    np.savez(buffer, allow_pickle=False, **rows._asdict())
    return buffer.getvalue()


if __name__ == "__main__":
    stage.run(main)
