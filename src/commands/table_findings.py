"""What is suspicious about a table, before a network is trained on it."""

import math
import warnings
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from data_sets.data_set import Part
from pipeline.schema import Schema
from pipeline.tabular.encoder import numbers_of
from utils import one_line

if TYPE_CHECKING:
    import pandas as pd

SAMPLE = 5000  # rows that are looked at for a column that gives the label away
GIVEN_AWAY = 0.995  # balanced accuracy, or correlation, of a single column
FEW_ROWS = 10  # of a class
MOST_NAMES = 5  # in a line


def suspicions(schema: Schema, parts: dict[str, Part]) -> list[str]:
    """Lines on what may spoil a training on the table or make its results too good; none if nothing is found."""
    import pandas as pd

    training, test = parts["training"].table, parts["test"].table
    table = pd.concat([training, test])
    features, label = table.iloc[:, : len(schema.columns)], table.iloc[:, len(schema.columns)]
    constant = [name for name in schema.columns if features[name].nunique(dropna=False) == 1]
    ids = [name for name in schema.columns if name not in constant and _is_id(features[name], name in schema.numeric)]
    others = [name for name in schema.columns if name not in {*constant, *ids}]
    given_away = _give_away(features[others], label, schema) if others else []
    lines = _of_categories(features[others], schema)
    if constant:
        lines.append(f"{_named(constant)}: the same value in all rows; no use, may be listed under own.drop")
    if ids:
        lines.append(f"{_named(ids)}: looks like an id or a row number; list it under own.drop")
    if given_away:
        lines.append(f"{_named(given_away)}: gives the label away by itself; drop it if it is not known beforehand")
    seen = set(pd.util.hash_pandas_object(training.iloc[:, : len(schema.columns)], index=False))
    twice = int(pd.util.hash_pandas_object(test.iloc[:, : len(schema.columns)], index=False).isin(seen).sum())
    if twice:
        lines.append(f"{twice:,} of {len(test):,} test rows have the same features as a training row")
    return lines + (_of_classes(label) if schema.classes else [])


def _of_categories(features: "pd.DataFrame", schema: Schema) -> list[str]:
    """Lines on columns of numbers with some words in them, and on columns of so many words that they may be groups."""
    lines = []
    for name in [name for name in features.columns if name not in schema.numeric]:
        column, shown = features[name], one_line(name, 40)
        words, n_categories = column[numbers_of(column).isna() & (column != "")], column.nunique()
        if len(words) < 0.1 * len(column):
            cell = one_line(repr(words.iloc[0]), 30)
            where = f"{len(words):,} of {len(column):,} rows"
            lines.append(f"{shown}: no number in {where}, such as {cell}, so all its values are categories")
        elif n_categories > max(20, 0.1 * len(column)) and schema.group is None:
            lines.append(f"{shown}: {n_categories:,} categories; if it says which rows belong together: GROUP={shown}")
    return lines


def _of_classes(label: "pd.Series[str]") -> list[str]:
    counts, lines = label.value_counts(), list[str]()
    numbers = numbers_of(label)
    if numbers.notna().all() and len(counts) > max(20, 0.05 * len(label)):
        lines.append(f"the label has {len(counts):,} different numbers; for a regression: TASK=regression")
    elif counts.min() < FEW_ROWS:
        rare = [str(name) for name in counts.index[counts < FEW_ROWS]]
        lines.append(f"{len(rare)} of {len(counts)} classes have fewer than {FEW_ROWS} rows: {_named(rare)}")
    if counts.max() > 0.8 * len(label):
        share = counts.max() / len(label)
        lines.append(
            f"{share:.1%} of the rows have the label {one_line(counts.index[0], 30)}: look at balanced accuracy and "
            "log-loss, by which `make compare` ranks, rather than at the accuracy"
        )
    return lines


def _is_id(column: "pd.Series", numeric: bool) -> bool:
    """Whether all values differ, and are texts, or whole numbers that go up one by one in some order."""
    n = len(column)
    if n < FEW_ROWS or column.nunique() < n:
        return False
    if not numeric:
        return True
    values = column.to_numpy(np.float64)
    return bool((values == np.floor(values)).all() and values.max() - values.min() < 1.5 * n)


def _give_away(features: "pd.DataFrame", label: "pd.Series", schema: Schema) -> list[str]:
    """The columns from which a small decision tree, or a straight line, gets the label nearly without a mistake."""
    chosen = np.random.default_rng(0).permutation(len(label))[:SAMPLE]
    y = label.to_numpy()[chosen]
    found = []
    for name in map(str, features.columns):
        if name in schema.numeric:
            x = features[name].to_numpy(np.float64)[chosen]
            x = np.where(np.isnan(x), np.nanmedian(x) if not np.isnan(x).all() else 0.0, x)
        else:
            x = np.unique(features[name].to_numpy(str), return_inverse=True)[1][chosen].astype(np.float64)
        score = _tree_score(x, y, len(schema.classes)) if schema.classes else _correlation(x, y)
        if score >= GIVEN_AWAY:
            found.append(name)
    return found


def _tree_score(x: NDArray[np.float64], y: NDArray, n_classes: int) -> float:
    """The balanced accuracy of a tree with some leaves for each class, on rows that it was not fitted to."""
    from sklearn.model_selection import cross_val_score
    from sklearn.tree import DecisionTreeClassifier

    counts = np.unique(y, return_counts=True)[1]
    if counts.max() < 3 or n_classes > 50:
        return 0.0
    tree = DecisionTreeClassifier(max_leaf_nodes=3 * n_classes, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a class with fewer rows than folds
        return float(cross_val_score(tree, x[:, None], y, cv=3, scoring="balanced_accuracy").mean())


def _correlation(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    if not (x.std() and y.std()):
        return 0.0
    r = float(np.corrcoef(x, y)[0, 1])
    return 0.0 if math.isnan(r) else abs(r) * (1 if abs(r) > 0.9999 else 0)


def _named(names: list[str]) -> str:
    shown = ", ".join(one_line(name, 40) for name in names[:MOST_NAMES])
    return shown + (f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else "")
