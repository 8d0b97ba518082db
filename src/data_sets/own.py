"""A table of the user's own, which the block ``own`` of params.yaml describes."""

from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import StageError
from pipeline.schema import Schema
from pipeline.tabular.encoder import MISSING, is_missing, numbers_of
from pipeline.tabular.holdout import hold_out
from pipeline.tabular.options import OwnTable, Place
from utils import one_line

from .data_set import Part
from .table_file import kind_of, read_table_file

if TYPE_CHECKING:
    import pandas as pd

SPLIT_SEED = (
    0  # of the rows of the test: `split_seed` in params.yaml chooses the validation rows, and must not move them
)
MOST_CATEGORIES = 1000  # of a column


class Own:
    """The user's table, with rows for the test held out or from a file of their own.

    Args:
        called: the file's name in messages; by default the path in ``options``.
    """

    def __init__(self, options: OwnTable, called: str = "") -> None:
        self.options, self.called = options, called or options.path

    def files(self) -> dict[str, bytes] | None:
        paths = {"table": self.options.path} | ({"test": self.options.test_path} if self.options.test_path else {})
        try:
            return {f"{name}{kind_of(path)}": Path(path).read_bytes() for name, path in paths.items()}
        except FileNotFoundError as error:
            raise StageError(f"params.yaml: own: {error.filename} does not exist") from None

    def parts(self, folder: Path) -> tuple[Schema, dict[str, Part]]:
        options = self.options
        table = read_table_file(folder / f"table{kind_of(options.path)}", header=options.header, called=options.path)
        test = None
        if options.test_path:
            file = folder / f"test{kind_of(options.test_path)}"
            test = read_table_file(file, header=options.header, called=options.test_path)
        return self.understood(table, test)

    def understood(self, table: "pd.DataFrame", test: "pd.DataFrame | None") -> tuple[Schema, dict[str, Part]]:
        """What the table is, and its rows by part; without a table of test rows, some are held out.

        Raises:
            StageError: naming the file, the row and the column that is not as it should be.
        """
        options = self.options
        schema = self._schema(table, test)
        rows = typed(table, schema, self.called)
        if test is not None:
            test_rows = typed(test, schema, str(options.test_path))
        else:
            group = rows[schema.group].to_numpy() if schema.group else None
            y, stratify = rows.iloc[:, len(schema.columns)].to_numpy(), schema.task == "classification"
            try:
                held_out = hold_out(y, group, options.test, SPLIT_SEED, stratify=stratify)
            except ValueError as error:
                raise StageError(f"no rows of {self.called} can be held out for the test: {error}") from None
            rows, test_rows = rows[~held_out], rows[held_out]
        parts = {}
        for name, part in (("training", rows), ("test", test_rows)):
            n_groups = part.iloc[:, len(schema.columns) + 1].nunique() if schema.group else 0
            parts[name] = Part(part, f"{len(part):,} rows{schema.groups(n_groups)}")
        return schema, parts

    def _schema(self, table: "pd.DataFrame", test: "pd.DataFrame | None") -> Schema:
        options, path = self.options, self.called
        label = column_name(table, options.label, "label")
        group = None if options.group is None else column_name(table, options.group, "group")
        if group == label:
            raise StageError(f"params.yaml: own.group and own.label are the same column, {one_line(label, 60)}")
        left_out = {label, group, *(column_name(table, name, "drop") for name in options.drop)}
        features = [str(name) for name in table.columns if name not in left_out]
        if not features:
            raise StageError(f"{path} has no column to predict the label from")
        numeric = [name for name in features if is_numeric(table[name])]
        for name in (name for name in features if name not in numeric):
            if (n := table[name].nunique()) > MOST_CATEGORIES:
                raise StageError(
                    f"{path}: the column {one_line(name, 60)} holds {n:,} different texts, more than the"
                    f" {MOST_CATEGORIES:,} that can be categories; list it under own.drop, or turn it into numbers"
                )
        classes: tuple[str, ...] = ()
        if options.task == "classification":
            labels = {*table[label], *(test[label] if test is not None and label in test else [])} - MISSING
            classes = tuple(in_order(labels))
            if len(classes) < 2:
                raise StageError(f"{path}: the label {one_line(label, 60)} has fewer than two different values")
            if len(classes) > len(table) / 2:
                raise StageError(
                    f"{path}: the label {one_line(label, 60)} has {len(classes):,} values in {len(table):,} rows;"
                    " for numbers, set own.task: regression (make new-data ... TASK=regression)"
                )
        return Schema(
            dataset=options.name,
            kind="table",
            task=options.task,
            classes=classes,
            label=label,
            group=group,
            columns=features,
            numeric=numeric,
            missing=options.missing,
        )


def typed(table: "pd.DataFrame", schema: Schema, file: str) -> "pd.DataFrame":
    """The columns of the schema, with numbers where they are: features, label, group if there is one, row.

    Raises:
        StageError: naming the file, row and column of a value that is missing or is no number.
    """
    import pandas as pd

    needed = [*schema.columns, schema.label, *([schema.group] if schema.group else [])]
    if lacking := [name for name in needed if name not in table.columns]:
        raise StageError(f"{file} has no column {one_line(lacking[0], 60)}")
    columns = [
        (_numbers if name in schema.numeric else _words)(table[name], file, schema.missing) for name in schema.columns
    ]
    columns.append((_numbers if schema.task == "regression" else _words)(table[schema.label], file, "refuse"))
    if schema.group:
        columns.append(_words(table[schema.group], file, "refuse"))
    return pd.concat([*columns, pd.Series(table.index, table.index, name="row")], axis="columns")


def column_name(table: "pd.DataFrame", place: Place, key: str) -> str:
    """The name of a column that is given by its name or its number.

    Raises:
        StageError: if there is none.
    """
    names = [str(name) for name in table.columns]
    if str(place) in names:
        return str(place)
    if isinstance(place, int) and place <= len(names):
        return names[place - 1]
    lower = {name.lower(): name for name in names}
    near = get_close_matches(str(place).lower(), lower, n=1)
    hint = f"did you mean {one_line(lower[near[0]], 60)}?" if near else f"it has {one_line(', '.join(names), 200)}"
    raise StageError(f"params.yaml: own.{key}: the table has no column {one_line(place, 60)}; {hint}")


def is_numeric(text: "pd.Series[str]") -> bool:
    """Whether a column holds numbers, apart from missing values; one without any value counts as numbers."""
    return bool((numbers_of(text).notna() | is_missing(text, numbers=True) | _is_infinite(text)).all())


def _is_infinite(text: "pd.Series[str]") -> "pd.Series[bool]":
    return text.str.lower().str.fullmatch("[-+]?inf(inity)?")


def _numbers(text: "pd.Series[str]", file: str, missing: str) -> "pd.Series[float]":
    values, absent = numbers_of(text), is_missing(text, numbers=True)
    wrong = values.isna() & ~absent
    if wrong.any():
        row, cell = int(wrong.to_numpy().argmax()), one_line(repr(text[wrong].iloc[0]), 60)
        kind = "finite numbers" if _is_infinite(text)[wrong].iloc[0] else "numbers"
        raise StageError(f"{file}, row {row + 1}: the column {one_line(text.name, 60)} must hold {kind}, got {cell}")
    _refuse_missing(absent, file, str(text.name), missing)
    return values


def _words(text: "pd.Series[str]", file: str, missing: str) -> "pd.Series[str]":
    absent = is_missing(text)
    _refuse_missing(absent, file, str(text.name), missing)
    return text.where(~absent, "")


def _refuse_missing(absent: "pd.Series[bool]", file: str, name: str, missing: str) -> None:
    if missing == "refuse" and absent.any():
        row, n = int(absent.to_numpy().argmax()) + 1, int(absent.sum())
        more = f" ({n:,} values are missing there)" if n > 1 else ""
        raise StageError(
            f"{file}, row {row}: the column {one_line(name, 60)} has no value{more}; fill it in, remove the rows, or,"
            " if it is not the label or the group, set own.missing: impute"
        )


def in_order(labels: set[str]) -> list[str]:
    """Class names in the order of their numbers, or of the alphabet if one is no number."""
    try:
        return sorted(labels, key=lambda label: (float(label), label))
    except ValueError:
        return sorted(labels)
