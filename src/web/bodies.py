"""The bodies of requests: digits as rows of coordinates or as ink, in the forms of MLflow's server and in our own."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, model_validator

from data_sets.pendigits import FEATURES
from pen.features import FEATURE_SETS
from pen.ink import Ink, join_strokes
from pen.recognizer import Recognizer
from pen.strokes import strokes_of

MOST_ROWS = 10_000  # digits of a request
MOST_STROKES, MOST_POINTS = 200, 20_000  # of a digit, of a stroke
DOT = 0.05  # of the largest stroke: a smaller one is a stray dot
LINE = 0.05  # of its height: a narrower drawing is an upright line
INK, ROWS = "ink", "rows"  # the two kinds of digits; the first is also the name of a column that holds ink


def _with_extent(digit: list[list[list[float]]]) -> list[list[list[float]]]:
    first = digit[0][0]
    if all(point == first for stroke in digit for point in stroke):
        raise ValueError("a digit needs two different points at least")
    return digit


def _as_meant(digit: list[list[list[float]]]) -> list[list[list[float]]]:
    """A drawing without what a pointer adds: stray dots, and the sideways trembling of an upright line.

    The path of the pen would lead through the dots, and features that stretch each axis would stretch the trembling to
    the full width. Of the strokes in the training file's ink 3 in 1000 are as small as such dots, and of its 7494
    digits the 4 that are as narrow are ones.
    """
    strokes = [np.array(stroke) for stroke in digit]
    sizes = [np.ptp(stroke, axis=0).max() for stroke in strokes]
    strokes = [stroke for stroke, size in zip(strokes, sizes, strict=True) if size >= DOT * max(sizes)]
    points = np.concatenate(strokes)
    width, height = np.ptp(points, axis=0)
    if width < LINE * height:
        for stroke in strokes:
            stroke[:, 0] = points[:, 0].mean()
    return [stroke.tolist() for stroke in strokes]


Coordinate = Annotated[float, Field(strict=True, ge=0, le=100, allow_inf_nan=False)]
Row = Annotated[list[Coordinate], Field(fail_fast=True, min_length=16, max_length=16)]
Rows = Annotated[list[Row], Field(fail_fast=True, max_length=MOST_ROWS)]
Place = Annotated[float, Field(strict=True, ge=-1e6, le=1e6, allow_inf_nan=False)]
Point = Annotated[list[Place], Field(fail_fast=True, min_length=2, max_length=2, description="x, y; y upwards")]
Stroke = Annotated[list[Point], Field(fail_fast=True, min_length=1, max_length=MOST_POINTS)]
Strokes = Annotated[list[Stroke], Field(fail_fast=True, min_length=1, max_length=MOST_STROKES)]
Digit = Annotated[Strokes, AfterValidator(_with_extent)]
Drawn = Annotated[Digit, AfterValidator(_as_meant)]  # with a pointer, on the page
ManyDigits = Annotated[list[Digit], Field(fail_fast=True, max_length=MOST_ROWS)]


class Digits(NamedTuple):
    """Digits of a request: ink, or rows (n, 16) of coordinates from 0 to 100."""

    ink: list[Any] | None = None
    rows: list[Any] | None = None

    def features(self, model: Recognizer) -> NDArray[np.float32]:
        """What the model's network reads, (n, features).

        Raises:
            ValueError: for rows, if the network reads ink.
        """
        if self.ink is not None:
            return features_of(model, ink_of(self.ink))
        if model.features != "table":
            raise ValueError(f"the network reads {model.features}, so it needs the strokes of each digit")
        return model.rows(np.array(self.rows, dtype=np.float64).reshape(-1, len(FEATURES)))


def ink_of(digits: Sequence[Sequence[Any]]) -> Ink:
    """Strokes as Ink with unknown labels."""
    unknown = np.zeros(len(digits), np.int64)
    return join_strokes([[np.array(stroke, float) for stroke in digit] for digit in digits], unknown, unknown, unknown)


def features_of(model: Recognizer, ink: Ink) -> NDArray[np.float32]:
    """The rows that the model's network reads, (n, features), by the functions of the pipeline."""
    return FEATURE_SETS[model.features].of(strokes_of(ink))


# --- The forms of MLflow's server -------------------------------------------------------------------------------------


def _depth(value: Any) -> int:
    """How many lists are around the first value that is none."""
    depth = 0
    while isinstance(value, list) and depth < 5:
        value, depth = value[0] if value else None, depth + 1
    return depth


def _alone(kind_depth: int) -> Callable[[Any], Any]:
    """Accept a single digit without a list around it."""
    return lambda value: [value] if _depth(value) == kind_depth else value


def _from_inputs(given: Any) -> Any:
    """Rows, ink, one of them alone, or a dict of columns."""
    if not isinstance(given, dict):
        return [given] if given and _depth(given) in (1, 3) else given
    columns = [column if isinstance(column, list) else [column] for column in given.values()]
    if len({len(column) for column in columns}) != 1:
        raise ValueError("the columns must have the same number of values")
    return _chosen(list(given), [list(row) for row in zip(*columns, strict=True)])


def _from_split(table: Any) -> Any:
    """A table row by row, such as ``df.to_dict("split")``; index and other columns are ignored."""
    if not isinstance(table, dict) or not isinstance(table.get("data"), list):
        raise ValueError('expected {"columns": [...], "data": [[...], ...]}')  # noqa: TRY004 (pydantic's own)
    columns = table.get("columns", list(FEATURES))
    if not isinstance(columns, list) or len(columns) > 1000:
        raise ValueError("columns must be a list of names")
    return _chosen(columns, table["data"])


def _from_records(records: Any) -> Any:
    """A list of dicts, one per digit."""
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records[:MOST_ROWS]):
        raise ValueError("expected a list of dicts")
    names = [INK] if records and INK in records[0] else list(FEATURES)
    for number, record in enumerate(records[:MOST_ROWS]):
        if missing := [name for name in names if name not in record]:
            raise ValueError(f"record {number} lacks {missing[0]}")
    rows = [[record[name] for name in names] for record in records[:MOST_ROWS]]
    rows += records[MOST_ROWS:]  # too many, which is found later
    return [row[0] if len(row) == 1 else row for row in rows]


def _chosen(columns: list[Any], data: list[Any]) -> Any:
    """The column ``ink``, or x1, y1, ..., x8, y8 in this order, of columns in any order; without names, as they are."""
    names = [INK] if INK in columns else list(FEATURES)
    if set(names).isdisjoint(map(str, columns)) and len(columns) == len(FEATURES):
        names, columns = list(FEATURES), list(FEATURES)  # pandas' own 0, 1, 2, ...
    if missing := [name for name in names if name not in columns]:
        raise ValueError(f"columns must be {', '.join(FEATURES)}, in any order, or ink; {missing[0]} is missing")
    if wrong := [row for row in data[:MOST_ROWS] if not isinstance(row, list) or len(row) != len(columns)]:
        length = len(wrong[0]) if isinstance(wrong[0], list) else "no list"
        raise ValueError(f"a row must be a list of {len(columns)} values, one for each column, got {length}")
    places = [columns.index(name) for name in names]
    if len(names) == 1:
        return [row[places[0]] for row in data[:MOST_ROWS]] + data[MOST_ROWS:]
    return [[row[place] for place in places] for row in data[:MOST_ROWS]] + data[MOST_ROWS:]


def _kind(digits: Any) -> str:
    return INK if _depth(digits) >= 3 else ROWS


Given = Annotated[Annotated[ManyDigits, Tag(INK)] | Annotated[Rows, Tag(ROWS)], Discriminator(_kind)]


class Invocation(BaseModel):
    """Digits in one of MLflow's forms; each holds either x1, y1, ..., x8, y8 from 0 to 100, or ink.

    - ``inputs``: a list of rows of 16 numbers, one row, a dict of columns, a list of digits of ink, or one digit;
    - ``dataframe_split``: ``df.to_dict("split")`` with columns x1, y1, ..., x8, y8 in any order, or a column ink;
    - ``dataframe_records``: ``df.to_dict("records")`` with the same columns.
    """

    model_config = ConfigDict(extra="forbid")

    inputs: Annotated[Given, BeforeValidator(_from_inputs)] | None = None
    dataframe_split: Annotated[Given, BeforeValidator(_from_split)] | None = None
    dataframe_records: Annotated[Given, BeforeValidator(_from_records)] | None = None

    @model_validator(mode="after")
    def _check_form(self) -> "Invocation":
        if len([form for form in (self.inputs, self.dataframe_split, self.dataframe_records) if form is not None]) != 1:
            raise ValueError("one of inputs, dataframe_split, dataframe_records is needed")
        return self

    def digits(self) -> Digits:
        """The digits of the form that was given."""
        given = next(form for form in (self.inputs, self.dataframe_split, self.dataframe_records) if form is not None)
        return Digits(ink=given) if _kind(given) == INK else Digits(rows=given)


class ToPredict(BaseModel):
    """Digits to recognize: one or many, as ink or as rows of features."""

    model_config = ConfigDict(extra="forbid")

    ink: Annotated[ManyDigits, Field(min_length=1), BeforeValidator(_alone(3))] | None = None
    features: Annotated[Rows, BeforeValidator(_alone(1))] | None = None

    @model_validator(mode="after")
    def _check_form(self) -> "ToPredict":
        if (self.ink is None) == (self.features is None):
            raise ValueError("either ink or features is needed")
        return self

    def digits(self) -> Digits:
        """The digits that were given."""
        return Digits(self.ink, self.features)


class Drawing(BaseModel):
    """A digit as the page's pen drew it."""

    model_config = ConfigDict(extra="forbid")

    strokes: Drawn
