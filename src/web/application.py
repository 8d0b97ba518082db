"""The web application: the page, the predictions, and everything that the page asks for."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from fastapi.staticfiles import StaticFiles
from numpy.typing import NDArray
from starlette.exceptions import HTTPException as AnyHTTPException
from starlette.types import Receive, Scope, Send

from neural_net import ACTIVATIONS, INITIALIZERS, LOSSES, OPTIMIZERS, SCHEDULES, Network
from pen.features import FEATURE_SETS
from pen.recognizer import CLASSES, Recognizer
from pipeline.model import Model

from . import interface, sources
from .answers import plain
from .bodies import INK, ROWS, Digits, Drawing, Invocation, ToPredict
from .breaking import Breaker, ToBreak
from .collecting import Album, FullError, Labelled
from .digits import Shelf
from .drawing import Thinker, ToUnit, strokes_shown
from .live_training import Feed, Settings, TooManyError, Trainer
from .server_limits import Bounds, refusal
from .stepping import Stepper, ToStep
from .toys import TOYS

MOST_BYTES = 2_000_000  # of a request
STATIC = Path(__file__).parent / "static"
STREAMS = "/train"  # the path of answers that go on for long
PAGE_HEADERS = {  # nothing is loaded from elsewhere, and no other page may frame this one
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}

Result = TypeVar("Result")


class Exact(JSONResponse):
    """JSON of arrays; NaN and infinity become null."""

    def render(self, content: Any) -> bytes:
        return super().render(plain(content))


class TrainingEvents(StreamingResponse):
    """The events of a training, which ends with its connection, also if that ends before the first event."""

    def __init__(self, feed: Feed) -> None:
        super().__init__(feed.events(), media_type="text/event-stream", headers={"Cache-Control": "no-store"})
        self.feed = feed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.feed.end()


def application(
    model: Recognizer, names: Sequence[str], shelf: Shelf | None = None, album: Album | None = None
) -> FastAPI:
    """The application over one model.

    Args:
        names: the names of the host, as they appear in a browser's address; other names are rejected.
        shelf: the digits that the page shows; None: those of data/split.
        album: where labelled drawings are kept; None: in ``drawings/``.
    """
    app = FastAPI(
        title="Pen-written digits",
        description=f"A network of {model.network.n_parameters:,} parameters, which reads {model.features}.",
        docs_url=None,  # FastAPI's two pages load their scripts from elsewhere
        redoc_url=None,
        responses=interface.RESPONSES,
        redirect_slashes=False,
    )
    shelf = shelf or Shelf()
    _answer_predictions(app, model)
    _answer_page(app, model, shelf)
    _answer_training(app, Trainer(shelf))
    _keep_drawings(app, album or Album())
    explain_refusals(app)
    app.mount("/static", StaticFiles(directory=STATIC))
    app.add_middleware(Bounds, most_bytes=MOST_BYTES, names=names)
    return app


def answer_health(app: FastAPI, model: Model) -> None:
    """Answer what MLflow's own server answers on its state."""

    @app.get("/ping")
    def ping() -> PlainTextResponse:
        """Whether the server is up."""
        return PlainTextResponse("\n")

    @app.get("/version")
    def version() -> JSONResponse:
        """The model's data set and size."""
        return JSONResponse({"dataset": model.dataset, "parameters": model.network.n_parameters})


def _tried(answer: Callable[..., Result], *given: Any) -> Result:
    """An answer, or 400 with the reason for what the request asks and cannot be."""
    try:
        return answer(*given)
    except ValueError as error:
        raise AnyHTTPException(400, str(error)) from None


def _answer_predictions(app: FastAPI, model: Recognizer) -> None:
    def probabilities(digits: Digits) -> NDArray[np.float64]:
        return model.probabilities(_tried(digits.features, model)).astype(np.float64)

    @app.post("/invocations")
    def invocations(asked: Invocation) -> JSONResponse:
        """Recognize digits, asked and answered as by MLflow's own server."""
        p = probabilities(asked.digits())
        answers = zip(p.argmax(axis=1).tolist() if len(p) else [], p.tolist(), strict=True)
        told = [{"digit": digit} | {f"p{i}": share for i, share in enumerate(row)} for digit, row in answers]
        return JSONResponse({"predictions": told})

    @app.post("/predict", responses={200: {"model": interface.Recognized}})
    def predict(asked: ToPredict) -> JSONResponse:
        """Recognize digits: the likeliest digit of each, and the probabilities of 0 to 9."""
        p = probabilities(asked.digits())
        digits = p.argmax(axis=1).tolist() if len(p) else []
        return JSONResponse({"digits": digits, "probabilities": p.tolist()})

    answer_health(app, model)


def _answer_page(app: FastAPI, model: Recognizer, shelf: Shelf) -> None:
    thinker, breaker, stepper = Thinker(model, shelf), Breaker(model, shelf), Stepper(shelf)

    @app.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
    def page() -> FileResponse:
        return FileResponse(STATIC / "index.html", headers=PAGE_HEADERS)

    @app.get("/docs", include_in_schema=False)
    def docs(request: Request) -> HTMLResponse:
        return HTMLResponse(interface.page_of(app.openapi(), str(request.base_url).rstrip("/")), headers=PAGE_HEADERS)

    @app.get("/source/{name:path}", include_in_schema=False)
    def source(name: str) -> HTMLResponse:
        shown = sources.page_of(name)
        if shown is None:
            raise AnyHTTPException(404, "no such file of neural_net, pen or web")
        return HTMLResponse(shown, headers=PAGE_HEADERS)

    @app.get("/model")
    def describe() -> Exact:
        """The model and the library's parts, as the page's menus show them."""
        return Exact(
            {
                "dataset": model.dataset,
                "features": model.features,
                "n_points": FEATURE_SETS[model.features].n_points,
                "temperature": model.temperature,
                "n_parameters": model.network.n_parameters,
                "layers": layers_told(model.network),
                "origin": shelf.origin,
                "n_training": len(shelf.training.y),
                "menus": menus() | {"zeroed": breaker.layers()},
            }
        )

    @app.get("/examples")
    def examples(seed: int = 0) -> Exact:
        """One digit of each kind by held-out writers, drawn at random from a seed."""
        rng, digits = np.random.default_rng(abs(seed) % 2**32), shelf.held_out
        rows = [int(rng.choice(np.flatnonzero(digits.y == digit))) for digit in CLASSES if (digits.y == digit).any()]
        shown = [
            {
                "digit": digits.y[i],
                "writer": digits.writer[i],
                "strokes": strokes_shown(digits.strokes.points[i], digits.strokes.stroke[i]),
            }
            for i in rows
        ]
        return Exact({"examples": shown})

    @app.post("/think")
    def think(asked: Drawing) -> Exact:
        """What the network makes of a drawing, layer by layer."""
        return Exact(thinker.think(asked.strokes))

    @app.post("/contributions")
    def contributions(asked: Drawing) -> Exact:
        """What each unit of the last hidden layer adds to each logit."""
        return Exact(thinker.contributions(asked.strokes))

    @app.post("/added")
    def added(asked: ToUnit) -> Exact:
        """What each value of the layer before adds to a unit."""
        return Exact(_tried(thinker.added, asked))

    @app.post("/break")
    def break_it(asked: ToBreak) -> Exact:
        """Accuracy and probabilities with a part of the network switched off or spoiled."""
        return Exact(_tried(breaker.answer, asked))

    @app.post("/step")
    def step(asked: ToStep) -> Exact:
        """One training step of a small network with every number on the way."""
        return Exact(_tried(stepper.step, asked))


def layers_told(network: Network) -> list[dict[str, Any]]:
    """The layers: name, kind, the shape of what each gives for one digit, and its number of parameters."""
    return [
        {"name": layer.name, "kind": type(layer).__name__, "shape": layer.shape_out, "n_parameters": layer.n_parameters}
        for layer in network.layers
    ]


def menus() -> dict[str, list[str]]:
    """The names of the library's parts, each list as the library has it."""
    return {
        "data": [*TOYS, "digits"],
        "activation": list(ACTIVATIONS),
        "init": ["auto", *INITIALIZERS],
        "normalization": ["none", "batch_norm", "layer_norm"],
        "loss": list(LOSSES),
        "optimizer": list(OPTIMIZERS),
        "schedule": list(SCHEDULES),
    }


def _answer_training(app: FastAPI, trainer: Trainer) -> None:
    @app.post(STREAMS)
    async def train(asked: Settings) -> TrainingEvents:
        """Train a small network; server-sent events tell of each epoch. It ends when the connection does."""
        try:
            return TrainingEvents(await trainer.start(asked))
        except TooManyError as error:
            raise AnyHTTPException(429, str(error)) from None
        except ValueError as error:
            raise AnyHTTPException(400, str(error)) from None


def _keep_drawings(app: FastAPI, album: Album) -> None:
    @app.get("/drawings")
    def drawings() -> Exact:
        """How many labelled drawings are kept on this machine, and where."""
        return Exact(album.summary())

    @app.post("/drawings", status_code=201)
    def keep(asked: Labelled) -> Exact:
        """Keep a labelled drawing, with its writer's consent."""
        try:
            album.add(asked)
        except FullError as error:
            raise AnyHTTPException(409, str(error)) from None
        return Exact(album.summary(), 201)

    @app.get("/drawings/export")
    def export() -> Response:
        """The labelled drawings as a UNIPEN file."""
        headers = {"Content-Disposition": f'attachment; filename="{album.path.name}"'}
        return Response(album.read(), media_type="text/plain", headers=headers)

    @app.delete("/drawings")
    def delete() -> Exact:
        """Delete all labelled drawings."""
        album.delete()
        return Exact(album.summary())


def content_type(request: Request) -> str:
    """The type of a request's body, such as ``application/json``; empty if it is not declared."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def explain_refusals(app: FastAPI, *kinds: str) -> None:
    """Answer errors with a line in MLflow's form.

    Args:
        kinds: the types of bodies that are accepted; by default JSON alone.
    """
    kinds = kinds or ("application/json",)

    @app.exception_handler(RequestValidationError)
    def refuse_body(request: Request, error: RequestValidationError) -> JSONResponse:
        if request.method == "POST" and content_type(request) not in kinds:
            told = request.headers.get("content-type", "none")
            return refusal(415, f"the header Content-Type must be {' or '.join(kinds)}, got {told}")
        fault = error.errors()[0]
        steps = [step for i, step in enumerate(fault["loc"]) if i > 0 and not (i == 2 and step in (INK, ROWS))]
        place = " ".join(map(str, steps))
        reason = fault.get("ctx", {}).get("error", fault["msg"])
        return refusal(400, f"{place}: {reason}" if place else str(reason))

    @app.exception_handler(AnyHTTPException)
    def refuse(request: Request, error: AnyHTTPException) -> JSONResponse:
        return refusal(error.status_code, error.detail)

    @app.exception_handler(Exception)
    def fail(request: Request, error: Exception) -> JSONResponse:
        return refusal(500, "the server failed; its log says why")
