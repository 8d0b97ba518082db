"""From a table's columns to the numbers that the network reads, and back from its output to the label's unit."""

import math
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from utils import one_line

from .options import Missing

if TYPE_CHECKING:
    import pandas as pd

MISSING = {"", "?"}  # what stands for a missing value in any column,
NO_NUMBER = {"na", "n/a", "nan", "null", "none", "-"}  # and in a column of numbers, in any case

Number = Annotated[float, Field(allow_inf_nan=False)]
Scale = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Scaling(BaseModel):
    """Standardisation: ``(x - mean) / scale``, with mean and standard deviation of the training rows.

    The scale of a constant column is 1.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    mean: Number
    scale: Scale

    @classmethod
    def of(cls, values: NDArray[np.float64]) -> "Scaling":
        with np.errstate(over="ignore"):  # judged below
            mean, deviation = float(values.mean()), float(values.std())
        if not (math.isfinite(mean) and math.isfinite(deviation)):
            raise ValueError("the numbers are too large")
        return cls(mean=mean, scale=deviation if deviation > 1e-12 * abs(mean) else 1.0)


class Numeric(Scaling):
    """A column of numbers. With ``fill``, the median of the training rows stands in for a missing value."""

    kind: Literal["numeric"] = "numeric"
    name: str
    fill: Number | None = None


class Categorical(BaseModel):
    """A column of words: a 1 for the row's category and 0 for the others; a word not seen in training has only 0."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["categorical"] = "categorical"
    name: str
    categories: list[str]


class Encoder(BaseModel):
    """The columns that the network reads, in order, with what was fitted to the training rows.

    Missing values are an error or, with ``impute``, filled in: a number by the column's median, a category by none.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    columns: list[Annotated[Numeric | Categorical, Field(discriminator="kind")]]
    missing: Missing = "refuse"

    @classmethod
    def fit(cls, table: "pd.DataFrame", numeric: list[str], missing: Missing) -> "Encoder":
        """Fit to training rows: columns of numbers with NaN, and of text with "", where a value is missing.

        Raises:
            ValueError: naming a column that cannot be scaled.
        """
        columns: list[Numeric | Categorical] = []
        for name, column in table.items():
            if name not in numeric:
                columns.append(Categorical(name=str(name), categories=sorted(set(column) - {""})))
                continue
            values = column.to_numpy(np.float64)
            fill = float(np.nanmedian(values)) if not np.isnan(values).all() else 0.0
            try:
                scaling = Scaling.of(np.where(np.isnan(values), fill, values))
            except ValueError as error:
                raise ValueError(f"the column {one_line(name, 60)}: {error}") from None
            columns.append(Numeric(name=str(name), fill=fill if missing == "impute" else None, **dict(scaling)))
        return cls(columns=columns, missing=missing)

    @property
    def names(self) -> list[str]:
        return [column.name for column in self.columns]

    @property
    def size(self) -> int:
        """Numbers a row."""
        return sum(1 if isinstance(column, Numeric) else len(column.categories) for column in self.columns)

    def encode(self, table: "pd.DataFrame") -> NDArray[np.float32]:
        """The rows that the network reads, (rows, size), of a table as ``fit`` takes it.

        Raises:
            ValueError: naming row and column of a missing value, if these are not imputed.
        """
        X = np.zeros((len(table), self.size), np.float32)
        place = 0
        for column in self.columns:
            given = table[column.name]
            if isinstance(column, Numeric):
                values = given.to_numpy(np.float64)
                self._check(np.isnan(values), column.name)
                values = values if column.fill is None else np.where(np.isnan(values), column.fill, values)
                X[:, place] = np.clip((values - column.mean) / column.scale, -1e6, 1e6)  # finite also in float32
                place += 1
            else:
                self._check((given == "").to_numpy(), column.name)
                numbers = {category: number for number, category in enumerate(column.categories)}
                codes = given.map(numbers).to_numpy(np.float64)
                known = np.flatnonzero(~np.isnan(codes))
                X[known, place + codes[known].astype(np.intp)] = 1
                place += len(column.categories)
        return X

    def _check(self, missing: NDArray[np.bool_], name: str) -> None:
        if self.missing == "refuse" and missing.any():
            raise ValueError(f"row {int(missing.argmax()) + 1} has no value in the column {one_line(name, 60)}")

    def read(self, rows: Any) -> "pd.DataFrame":
        """The columns of raw rows, in the form that ``encode`` takes; further columns are left out.

        Args:
            rows: a DataFrame, or anything that makes one. Without names, the columns must be in the order of ``names``.

        Raises:
            ValueError: naming a column that is missing, or a value that is no number.
        """
        import pandas as pd

        table = rows if isinstance(rows, pd.DataFrame) else pd.DataFrame(rows)
        if list(table.columns) == list(range(len(self.names))):
            table = table.set_axis(self.names, axis="columns")
        table = table.rename(columns=str)
        if absent := [name for name in self.names if name not in table.columns]:
            raise ValueError(f"expected the columns {_listed(self.names)}; missing are {_listed(absent)}")
        read = {}
        for column in self.columns:
            text = table[column.name].map(as_text)
            if isinstance(column, Numeric):
                values = numbers_of(text)
                wrong = values.isna() & ~is_missing(text, numbers=True)
                if wrong.any():
                    said = one_line(repr(text[wrong].iloc[0]), 60)
                    raise ValueError(f"the column {one_line(column.name, 60)} must hold numbers, got {said}")
                read[column.name] = values
            else:
                read[column.name] = text.where(~is_missing(text), "")
        return pd.DataFrame(read, columns=self.names, index=table.index)

    def example(self) -> "pd.DataFrame":
        """A row that the model takes: each column's mean, or its first category."""
        import pandas as pd

        means = (float(f"{c.mean:.6g}") if isinstance(c, Numeric) else (c.categories or [""])[0] for c in self.columns)
        return pd.DataFrame([list(means)], columns=self.names)


def as_text(value: Any) -> str:
    """A cell as text, as a CSV file would have it; a whole float as a whole number, "" for no value."""
    if isinstance(value, bytes):
        value = value.decode()
    if value is None or type(value).__name__ in ("NAType", "NaTType") or value != value:  # NaN is not itself
        return ""
    if isinstance(value, float | np.floating) and float(value).is_integer() and abs(float(value)) < 1e15:
        value = int(value)
    return str(value).strip()


def is_missing(text: "pd.Series[str]", *, numbers: bool = False) -> "pd.Series[bool]":
    """Which cells have no value; ``numbers``: of a column of numbers."""
    return text.str.lower().isin(MISSING | NO_NUMBER) if numbers else text.isin(MISSING)


def numbers_of(text: "pd.Series[str]") -> "pd.Series[float]":
    """The cells as finite numbers, NaN where they are none."""
    import pandas as pd

    values = pd.to_numeric(text, errors="coerce").astype(float)
    return values.where(values.abs() < np.inf)


def _listed(names: list[str], most: int = 20) -> str:
    return one_line(", ".join(names[:most]) + (", ..." if len(names) > most else ""))
