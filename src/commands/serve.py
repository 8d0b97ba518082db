"""`make serve`: recognize digits over HTTP, with the network in a folder such as models/.

POST /invocations accepts the same bodies as MLflow's own server, and rejects all others with a reason of one line.
Unlike MLflow's server, this one limits the cost of a request. It answers only requests to its own host name, so that a
page of another site cannot use it.
"""

import argparse
import threading
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, create_model, model_validator
from starlette.exceptions import HTTPException as AnyHTTPException

from data_sets.pendigits import FEATURES
from pen.recognizer import Recognizer
from pipeline.errors import StageError
from pipeline.model import read_model
from runtime.script import say

from .server_limits import Bounds, listen, refusal

HOST, PORT = "127.0.0.1", 5050
OWN_NAMES = ["127.0.0.1", "localhost"]
MOST_BYTES, MOST_ROWS = 2_000_000, 10_000  # of a request
SECONDS = 10.0  # from connection to the last byte of the answer
MOST_CONNECTIONS = 64  # at a time; more are answered 503, more than twice as many are closed unanswered


# --- What may be asked ------------------------------------------------------------------------------------------------


def _one_row_alone(rows: Any) -> Any:
    """Accept a single row without a list around it."""
    return [rows] if isinstance(rows, list) and rows and isinstance(rows[0], int | float) else rows


Coordinate = Annotated[float, Field(strict=True, ge=0, le=100, allow_inf_nan=False)]
Row = Annotated[list[Coordinate], Field(fail_fast=True, min_length=16, max_length=16)]
Rows = Annotated[list[Row], Field(fail_fast=True, max_length=MOST_ROWS)]
Named = create_model("Named", **dict.fromkeys(FEATURES, (Coordinate, ...)))  # type: ignore[call-overload]


class Split(BaseModel):
    """A table, row by row. Named columns may have any order; without names the order is x1, y1, ..., x8, y8."""

    columns: Annotated[list[str], Field(fail_fast=True, max_length=16)] = list(FEATURES)
    data: Rows

    @model_validator(mode="after")
    def _check_columns(self) -> "Split":
        if sorted(self.columns) != sorted(FEATURES):
            raise ValueError(f"columns must be {', '.join(FEATURES)}, in any order")
        return self


class Asked(BaseModel):
    """A request's body: rows of raw pen coordinates, 0 to 100, in one of MLflow's forms."""

    model_config = ConfigDict(extra="forbid")

    inputs: Annotated[Rows, BeforeValidator(_one_row_alone)] | None = None
    dataframe_split: Split | None = None
    dataframe_records: Annotated[list[Named], Field(fail_fast=True, max_length=MOST_ROWS)] | None = None  # type: ignore[valid-type]

    @model_validator(mode="after")
    def _check_form(self) -> "Asked":
        given = [form for form in (self.inputs, self.dataframe_split, self.dataframe_records) if form is not None]
        if len(given) != 1:
            raise ValueError("one of inputs, dataframe_split, dataframe_records is needed")
        return self

    def rows(self) -> NDArray[np.float64]:
        """The coordinates (n, 16) as x1, y1, ..., x8, y8."""
        rows, order = self.inputs or [], list(range(len(FEATURES)))
        if self.dataframe_split is not None:
            rows, order = self.dataframe_split.data, [self.dataframe_split.columns.index(name) for name in FEATURES]
        if self.dataframe_records is not None:
            rows = [[getattr(record, name) for name in FEATURES] for record in self.dataframe_records]
        return np.array(rows, dtype=np.float64).reshape(-1, len(FEATURES))[:, order]


# --- The application --------------------------------------------------------------------------------------------------


def application(model: Recognizer, names: list[str]) -> FastAPI:
    """The web application.

    Args:
        names: the names of the host, as they appear in a browser's address; other names are rejected.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    one_at_a_time = threading.Lock()  # the server has many threads, the network one set of buffers

    @app.post("/invocations")
    def predict(asked: Asked) -> JSONResponse:
        rows = asked.rows()
        with one_at_a_time:
            p = model.predict_proba(rows).astype(float)
        digits = p.argmax(axis=1).tolist() if len(p) else []
        answers = zip(digits, p.tolist(), strict=True)
        told = [{"digit": digit} | {f"p{i}": share for i, share in enumerate(row)} for digit, row in answers]
        return JSONResponse({"predictions": told})

    @app.get("/ping")
    def ping() -> PlainTextResponse:
        return PlainTextResponse("\n")

    @app.get("/version")
    def version() -> JSONResponse:
        return JSONResponse({"dataset": model.dataset, "parameters": model.network.n_parameters})

    @app.exception_handler(RequestValidationError)
    def refuse_body(request: Request, error: RequestValidationError) -> JSONResponse:
        fault = error.errors()[0]
        place = " ".join(str(step) for step in fault["loc"] if step != "body")
        reason = fault.get("ctx", {}).get("error", fault["msg"])
        return refusal(400, f"{place}: {reason}" if place else str(reason))

    @app.exception_handler(AnyHTTPException)
    def refuse(request: Request, error: AnyHTTPException) -> JSONResponse:
        return refusal(error.status_code, error.detail)

    @app.exception_handler(Exception)
    def fail(request: Request, error: Exception) -> JSONResponse:
        return refusal(500, "the server failed; its log says why")

    app.add_middleware(Bounds, most_bytes=MOST_BYTES, names=names)
    return app


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve a trained network.")
    parser.add_argument("folder", nargs="?", default="models", help="the folder with network.npz and network.json")
    parser.add_argument("--host", default=HOST, help="the address to listen on; default: this machine only")
    parser.add_argument("--port", type=int, default=PORT)
    parser.add_argument("--name", action="append", default=[], help="a name by which others reach the host; repeatable")
    chosen = parser.parse_args()
    if not 0 <= chosen.port <= 65535:
        parser.error(f"a port is a number from 0 to 65535, not {chosen.port}")
    model = read_model(Path(chosen.folder))
    if model.features != "table":
        raise StageError(
            f"{chosen.folder} holds a network that reads {model.features}, but make serve accepts only rows of the "
            "table; use load_recognizer(folder).predict, or its model in MLflow"
        )
    app = application(model, [*OWN_NAMES, *chosen.name])
    say(f"http://{chosen.host}:{chosen.port}/invocations  (Ctrl-C ends it)")
    listen(app, chosen.host, chosen.port, SECONDS, MOST_CONNECTIONS, lifespan="off", server_header=False)
