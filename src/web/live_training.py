"""Train live: small trainings in threads of the server, each streamed epoch by epoch to the page that started it."""

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator
from concurrent.futures import Future
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from neural_net import (
    Callback,
    Conv1D,
    Diagnostics,
    DivergedError,
    Linear,
    Network,
    Training,
    dense_layers,
    make_loss,
    make_optimizer,
    make_schedule,
)
from neural_net.callbacks import Record

from .answers import plain
from .digits import Shelf
from .toys import TOYS, make_toy

MOST_TRAININGS = 4  # at a time
MOST_PARAMETERS = 50_000
TRAINING_ROWS, VALIDATION_ROWS = 1500, 500  # of digits
GRID = np.linspace(-1.3, 1.3, 40, dtype=np.float32)  # the plane on which a decision boundary is drawn
UNITS_SHOWN = 24

Name = Annotated[str, Field(max_length=40)]


class Settings(BaseModel):
    """A training, as the page's menus and sliders describe it."""

    model_config = ConfigDict(extra="forbid")

    data: Literal["circles", "moons", "spirals", "digits"] = "moons"
    n_points: Annotated[int, Field(strict=True, ge=20, le=1000)] = 300  # of the toys
    noise: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.08
    convolutions: Annotated[int, Field(strict=True, ge=0, le=3)] = 0  # along a digit's path, before the other layers
    filters: Annotated[int, Field(strict=True, ge=1, le=32)] = 16  # of each
    hidden_layers: Annotated[list[Annotated[int, Field(strict=True, ge=1, le=128)]], Field(max_length=10)] = [16, 16]
    activation: Name = "tanh"
    init: Name = "auto"
    normalization: Literal["none", "batch_norm", "layer_norm"] = "none"
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    residual: Annotated[bool, Field(strict=True)] = False
    loss: Name = "cross_entropy"
    optimizer: Name = "adam"
    lr: Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)] = 0.01
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0  # of optimizers that have one
    weight_decay: Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)] = 0.0
    clip_norm: Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)] | None = None
    schedule: Name = "constant"
    batch_size: Annotated[int, Field(strict=True, ge=2, le=1500)] = 32
    epochs: Annotated[int, Field(strict=True, ge=1, le=1000)] = 100
    seed: Annotated[int, Field(strict=True, ge=0, lt=2**31)] = 0
    pace: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.0  # seconds an epoch takes at least


class Data(NamedTuple):
    """Rows to train with and to validate on."""

    X: Any
    y: Any
    X_val: Any
    y_val: Any


class TooManyError(RuntimeError):
    """As many trainings as the server allows are running."""


class _EndedError(Exception):
    """Nobody listens any more."""


class Trainer:
    """Starts trainings, at most ``MOST_TRAININGS`` at a time."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self._running: set[Feed] = set()

    @property
    def running(self) -> int:
        """The number of trainings that have not ended."""
        return len(self._running)

    def data(self, settings: Settings) -> Data:
        """The rows that the settings name: the same ones for the same seed."""
        rng = np.random.default_rng(settings.seed)
        if settings.data in TOYS:
            toys = [make_toy(settings.data, settings.n_points, settings.noise, rng) for _ in range(2)]
            return Data(*toys[0], *toys[1])
        rows = []
        for part, most in ((self.shelf.training, TRAINING_ROWS), (self.shelf.held_out, VALIDATION_ROWS)):
            chosen = np.linspace(0, len(part.y) - 1, min(most, len(part.y))).astype(np.intp)
            rows += [part.table[chosen], part.y[chosen]]
        return Data(*rows)

    def training(self, settings: Settings, data: Data, *callbacks: Callback) -> Training:
        """The training that the settings describe.

        Raises:
            ValueError: for names and options that the library rejects, and networks that are too large.
        """
        normalization = None if settings.normalization == "none" else settings.normalization
        layers = dense_layers(
            [*over_the_path(settings), *settings.hidden_layers],
            int(data.y.max()) + 1,
            settings.activation,
            init=settings.init,
            normalization=normalization,
            dropout=settings.dropout,
            residual=settings.residual,
        )
        rng = np.random.default_rng(settings.seed)
        network = Network(layers, rng=rng)
        if network.count_parameters(data.X.shape[1:]) > MOST_PARAMETERS:
            raise ValueError(f"a network may have {MOST_PARAMETERS:,} parameters at most here")
        options = {"lr": settings.lr, "weight_decay": settings.weight_decay, "clip_norm": settings.clip_norm}
        options |= {"momentum": settings.momentum} if settings.momentum else {}
        return Training(
            network,
            data.X,
            data.y,
            rng=rng,
            loss=make_loss(settings.loss),
            optimizer=make_optimizer(settings.optimizer, **options),
            schedule=make_schedule(settings.schedule),
            epochs=settings.epochs,
            batch_size=settings.batch_size,
            validation=(data.X_val, data.y_val),
            callbacks=callbacks,
        )

    async def start(self, settings: Settings) -> "Feed":
        """Start a training in a thread of its own. It ends by itself, or when its feed is ended.

        Raises:
            TooManyError: if there are too many.
            ValueError: as ``training``.
        """
        if self.running >= MOST_TRAININGS:
            raise TooManyError(f"{MOST_TRAININGS} trainings are running; stop one, or close its page")
        feed, watch, data = Feed(asyncio.get_running_loop()), Diagnostics(), self.data(settings)
        training = self.training(settings, data, watch, _Reporter(watch, settings, feed))

        def train() -> None:
            try:
                feed.put("start", described(training, settings, data))
                training.run()
                feed.put("end", {"epoch": training.epoch})
            except DivergedError as error:
                with contextlib.suppress(_EndedError):
                    feed.put("diverged", {"epoch": training.epoch, "message": str(error)})
            except _EndedError:
                pass
            finally:
                self._running.discard(feed)

        self._running.add(feed)
        threading.Thread(target=train, daemon=True).start()
        return feed


class Feed:
    """Events from a training's thread to the server's loop; the training waits while nobody takes them."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.queue: asyncio.Queue[tuple[str, Any]] = asyncio.Queue(2)
        self.ended = threading.Event()

    def put(self, event: str, content: dict[str, Any]) -> None:
        """Hand on an event, and wait until there is room for it; _EndedError if nobody listens any more."""
        adding: Future[None] = asyncio.run_coroutine_threadsafe(self.queue.put((event, plain(content))), self.loop)
        while not self.ended.is_set():
            try:
                return adding.result(0.2)
            except TimeoutError:
                continue
        adding.cancel()
        raise _EndedError

    async def events(self) -> AsyncIterator[str]:
        """Server-sent events, the last one ``end`` or ``diverged``."""
        event = ""
        while event not in ("end", "diverged"):
            event, content = await self.queue.get()
            yield f"event: {event}\ndata: {json.dumps(content)}\n\n"

    def end(self) -> None:
        """End the training, if it runs."""
        self.ended.set()


class _Reporter(Callback):
    """Reports each epoch; it changes nothing in the training."""

    def __init__(self, watch: Diagnostics, settings: Settings, feed: Feed) -> None:
        self.watch, self.settings, self.feed = watch, settings, feed

    def on_batch_end(self, training: Training) -> None:
        if self.feed.ended.is_set():
            raise _EndedError

    def on_epoch_end(self, training: Training, record: Record) -> None:
        latest = [found for found in self.watch.records if found["epoch"] == training.epoch]
        self.watch.records.clear()  # so that a long training's memory stays the same
        picture = boundary(training.network) if self.settings.data in TOYS else first_weights(training.network)
        self.feed.put("epoch", {**record, "inside": latest, **picture})
        if self.settings.pace:
            self.feed.ended.wait(self.settings.pace)


def over_the_path(settings: Settings) -> list[Any]:
    """The convolutions along a digit's eight points.

    Raises:
        ValueError: if there are some, and the data are no paths.
    """
    if not settings.convolutions:
        return []
    if settings.data in TOYS:
        raise ValueError("convolutions go along the path of a digit; points in the plane have none")
    convolution = [{"conv1d": {"filters": settings.filters, "init": settings.init}}, "activation"]
    return [{"reshape": {"shape": [8, 2]}}, *convolution * settings.convolutions, "flatten"]


def described(training: Training, settings: Settings, data: Data) -> dict[str, Any]:
    """What is trained, and the picture before the first epoch."""
    network = training.network
    found: dict[str, Any] = {
        "data": settings.data,
        "n_parameters": network.n_parameters,
        "layers": [layer.name for layer in network.walk()],
        "epochs": settings.epochs,
    }
    if settings.data in TOYS:
        return found | {"points": data.X, "classes": data.y, "grid": GRID, **boundary(network)}
    return found | first_weights(network)


def boundary(network: Network) -> dict[str, Any]:
    """The probability of class 1 at each point of the grid, row by row from the lowest y on, in hundredths."""
    x, y = np.meshgrid(GRID, GRID)
    p = network.predict_proba(np.column_stack([x.ravel(), y.ravel()]))[:, 1]
    return {"boundary": np.rint(np.nan_to_num(p) * 100).astype(int)}


def first_weights(network: Network) -> dict[str, Any]:
    """The weights of the first layer's units as pen paths, (units, points, 2): what each unit answers to most.

    A unit of a dense layer reads all eight points of a digit, a filter of a convolution three neighbours.
    """
    first = next(layer for layer in network.walk() if isinstance(layer, Linear | Conv1D))
    units = first.W.reshape(-1, first.W.shape[-1]).T[:UNITS_SHOWN]
    return {"weights": units.reshape(len(units), -1, 2)}
