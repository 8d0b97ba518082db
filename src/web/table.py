"""The server of `make serve` for a network over the columns of a table.

POST /invocations accepts the same bodies as MLflow's own server, JSON and CSV with names in its first line, and rejects
all others with a reason of one line.
"""

from io import BytesIO
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    ValidationError,
    model_validator,
)

from pipeline.tabular.model import TableModel
from utils import one_line

from .application import answer_health, content_type, explain_refusals
from .server_limits import Bounds, refusal

if TYPE_CHECKING:
    import pandas as pd

MOST_BYTES, MOST_ROWS = 2_000_000, 10_000  # of a request


def _one_row_alone(rows: Any) -> Any:
    """Accept a single row without a list around it."""
    return [rows] if isinstance(rows, list) and rows and not isinstance(rows[0], list) else rows


Cell = StrictStr | StrictBool | StrictInt | Annotated[StrictFloat, Field(allow_inf_nan=False)] | None
Rows = Annotated[list[list[Cell]], Field(fail_fast=True, max_length=MOST_ROWS)]


class Split(BaseModel):
    """Rows, and the names of their columns."""

    columns: list[str]
    data: Rows


class Asked(BaseModel):
    """A request's body: raw rows in one of MLflow's forms; without names, in the order of the training columns."""

    model_config = ConfigDict(extra="forbid")

    inputs: Annotated[Rows, BeforeValidator(_one_row_alone)] | None = None
    dataframe_split: Split | None = None
    dataframe_records: Annotated[list[dict[str, Cell]], Field(fail_fast=True, max_length=MOST_ROWS)] | None = None

    @model_validator(mode="after")
    def _check_form(self) -> "Asked":
        given = [form for form in (self.inputs, self.dataframe_split, self.dataframe_records) if form is not None]
        if len(given) != 1:
            raise ValueError("one of inputs, dataframe_split, dataframe_records is needed")
        return self

    def rows(self) -> "pd.DataFrame":
        """The rows; ValueError if they have different lengths."""
        import pandas as pd

        if self.dataframe_split is not None:
            return pd.DataFrame(self.dataframe_split.data, columns=self.dataframe_split.columns, dtype=object)
        if self.inputs and len({len(row) for row in self.inputs}) > 1:
            raise ValueError("inputs: rows have different lengths")
        rows: Any = self.dataframe_records if self.inputs is None else self.inputs
        return pd.DataFrame(rows, dtype=object)


async def asked_rows(request: Request) -> Any:
    """The rows of a request, a DataFrame; ValueError or RequestValidationError if there are none."""
    import pandas as pd

    kind, body = content_type(request), await request.body()
    if kind == "text/csv":
        rows = pd.read_csv(BytesIO(body), dtype=str, keep_default_na=False, nrows=MOST_ROWS + 1, encoding="utf-8-sig")
        if len(rows) > MOST_ROWS:
            raise ValueError(f"more than {MOST_ROWS:,} rows")
        return rows
    try:
        if kind == "application/json":
            return Asked.model_validate_json(body).rows()
        faults: Any = [{"loc": ("body",), "msg": ""}]
    except ValidationError as error:
        faults = [{**fault, "loc": ("body", *fault["loc"])} for fault in error.errors()]
    raise RequestValidationError(faults)


def table_application(model: TableModel, names: list[str]) -> FastAPI:
    """The web application.

    Args:
        names: the names of the host, as they appear in a browser's address; other names are rejected.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)

    @app.exception_handler(ValueError)
    def refuse_rows(request: Request, error: ValueError) -> JSONResponse:
        return refusal(400, one_line(error))

    @app.post("/invocations")
    def predict(rows: Annotated[Any, Depends(asked_rows)]) -> JSONResponse:
        return JSONResponse({"predictions": model.answers(rows)})

    answer_health(app, model)
    explain_refusals(app, "application/json", "text/csv")
    app.add_middleware(Bounds, most_bytes=MOST_BYTES, names=names)
    return app
