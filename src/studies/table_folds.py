"""Cross-validation on a table of the user's: over its groups, or in folds with equal shares of the classes."""

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import train
from pipeline.errors import StageError
from pipeline.params import Params
from pipeline.schema import Schema
from pipeline.table_rows import TableRows, fitted

from .processes import each

if TYPE_CHECKING:
    import pandas as pd

FOLD_SEED = 0  # the same folds for all configurations, so that their results can be compared fold by fold


def folds_of(rows: TableRows, schema: Schema, folds: int) -> NDArray[np.int64]:
    """The fold, from 0, of each row: (rows,). A group is wholly in one fold.

    Raises:
        StageError: if there are fewer groups, or rows, than folds.
    """
    from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold

    n = len(np.unique(rows.writer)) if schema.group else len(rows.y)
    if not 2 <= folds <= n:
        raise StageError(
            f"folds must be from 2 to the number of {'groups' if schema.group else 'rows'}, {n}, got {folds}"
        )
    stratified = schema.task == "classification" and np.bincount(rows.y).max() >= folds
    kinds = (StratifiedGroupKFold, GroupKFold) if schema.group else (StratifiedKFold, KFold)
    splitter = kinds[0] if stratified else kinds[1]
    fold = np.empty(len(rows.y), np.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a class with fewer rows than folds
        parts = splitter(folds, shuffle=True, random_state=FOLD_SEED).split(np.zeros(len(rows.y)), rows.y, rows.writer)
        for number, (_, held_out) in enumerate(parts):
            fold[held_out] = number
    return fold


def cross_validate_table(
    params: Params, schema: Schema, rows: TableRows, folds: int, seeds: int, progress: Any = None, processes: int = 1
) -> "pd.DataFrame":
    """Train ``folds`` times ``seeds`` networks, the seeds counting up from ``params.seed``.

    The columns are encoded anew for each fold, fitted to the rows that its network is trained on.

    Returns:
        A row a training: ``fold`` from 1, ``seed``, and what the train stage measures on validation rows.
    """
    import pandas as pd

    fold, measured = folds_of(rows, schema, folds), []
    seeded = [
        params.model_copy(update={"seed": seed, "early_stopping": None})
        for seed in range(params.seed, params.seed + seeds)
    ]
    trainings = [(one, schema, rows, fold == number) for one in seeded for number in range(folds)]
    for number, measures in enumerate(each(measures_of, trainings, processes)):
        measured.append({"fold": number % folds + 1, "seed": seeded[number // folds].seed, **measures})
        if progress is not None:
            progress.update()
    return pd.DataFrame(measured).rename(columns=lambda name: name.removeprefix("val_"))


def measures_of(params: Params, schema: Schema, rows: TableRows, held_out: NDArray[np.bool_]) -> dict[str, float]:
    """Train a network on the rows that are not held out, and measure it on the others."""
    known = fitted(schema, rows.take(~held_out))
    training, others = (rows.take(chosen).encoded(known) for chosen in (~held_out, held_out))
    model, _ = train.train(params, training, None, on_epoch=lambda record: None, schema=known)
    return train.validation_measures(model, others)


def table(measured: "pd.DataFrame") -> str:
    """Each measure by fold, its mean, and the standard errors over folds and over seeds."""
    measures = measured.drop(columns=["fold", "seed"])
    by_fold = measures.groupby(measured["fold"]).mean()
    lines = by_fold.assign(fold=by_fold.index.astype(str)).set_index("fold")
    lines.loc["mean"] = measures.mean()
    for over in ("fold", "seed"):
        means = measures.groupby(measured[over]).mean()
        if len(means) > 1:
            lines.loc[f"standard error over {over}s"] = means.sem()
    return lines.to_string(float_format="%.5g", index_names=False)
