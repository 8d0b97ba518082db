"""Stage split: data/processed -> data/split: rows held out for validation, and the arrays that the network reads.

Validation rows are those of whole writers, or random ones. Nothing is fitted here, and the test part takes no part in
the choice.
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
from pipeline.tables import read_table
from runtime.files import write_bytes
from utils import split_data

COORDINATES = [f"{axis}{point}" for point in range(1, N_POINTS + 1) for axis in "xy"]  # columns, x1 to y8


def main() -> None:
    """Make data/split/train.npz, validation.npz and test.npz from data/processed, and the ink of the first two."""
    params = load_params()
    training, test = (read_part(name, params.features) for name in ("training", "test"))
    held_out = choose_validation(training.y, training.writer, params)
    parts = {"train": training.take(~held_out), "validation": training.take(held_out), "test": test}
    for name, rows in parts.items():
        if rows.strokes is not None and name != "test":
            write_bytes(paths.SPLIT / f"{name}_ink.npz", strokes_npz(rows.strokes))
        write_bytes(paths.SPLIT / f"{name}.npz", rows_npz(rows))
        script.say(f"{name}: {len(rows.y):,} rows by {len(np.unique(rows.writer))} writers")


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


def read_part(name: str, features: str) -> Rows:
    """The rows of a part, ``training`` or ``test``, with the features that the network reads, and their ink.

    Raises:
        StageError: if a file of the part is not as preprocess writes it.
    """
    path = paths.PROCESSED / f"{name}.csv"
    table = read_table(path, (*COORDINATES, "digit", "writer"))
    X, y, writer = table[COORDINATES].to_numpy(np.float32), table["digit"], table["writer"]
    if not len(X) or not (np.abs(X) <= 1).all():
        raise StageError(f"{path} must have coordinates from -1 to 1; `dvc repro` makes it again")
    if not y.isin(range(10)).all() or not (writer >= 1).all() or y.dtype.kind + writer.dtype.kind != "ii":
        raise StageError(f"{path} must have digits from 0 to 9 and writers from 1; `dvc repro` makes it again")
    strokes = read_strokes(paths.PROCESSED / f"{name}_ink.npz", len(X))
    if features != "table":
        X = FEATURE_SETS[features].of(strokes)
    return Rows(X, y.to_numpy(), writer.to_numpy(), np.arange(len(X)), strokes)


if __name__ == "__main__":
    script.run(main)
