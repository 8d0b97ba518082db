"""Cross-validation on a table of the user's: over its groups, or in folds with equal shares of the classes."""

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import StageError
from pipeline.schema import Schema
from pipeline.table_rows import TableRows

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


def measured(outcomes: Mapping[tuple[int, int], Any]) -> "pd.DataFrame":
    """A row a training: ``fold`` from 1, ``seed``, and what the train stage measures on validation rows."""
    import pandas as pd

    return pd.DataFrame(
        [{"fold": fold + 1, "seed": seed, **outcome.measures} for (seed, fold), outcome in outcomes.items()]
    )


def table(measured: "pd.DataFrame", value: float, temperature: float) -> str:
    """Each measure by fold, its mean, the standard errors over folds and over seeds, and what `make sweep` minimises.

    Args:
        value: the log-loss with this temperature; of a regression, whose temperature is nan, the RMSE.
    """
    measures = measured.drop(columns=["fold", "seed"])
    by_fold = measures.groupby(measured["fold"]).mean()
    lines = by_fold.assign(fold=by_fold.index.astype(str)).set_index("fold")
    lines.loc["mean"] = measures.mean()
    for over in ("fold", "seed"):
        means = measures.groupby(measured[over]).mean()
        if len(means) > 1:
            lines.loc[f"standard error over {over}s"] = means.sem()
    of = "RMSE of all rows" if np.isnan(temperature) else f"log-loss at one temperature, {temperature:.2f}"
    return f"{lines.to_string(float_format='%.5g', index_names=False)}\n{of}: {value:.5g}"
