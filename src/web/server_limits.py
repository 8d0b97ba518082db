"""Limits of the project's servers: which requests they answer, how large a body and how long a connection may be."""

import asyncio
import re
import signal
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import uvicorn
from fastapi.responses import JSONResponse
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from utils import one_line


def refusal(status: int, reason: str) -> JSONResponse:
    """A rejection in MLflow's form, with its reason in one line."""
    code = {400: "BAD_REQUEST", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 500: "INTERNAL_ERROR"}.get(
        status, "REFUSED"
    )
    return JSONResponse({"error_code": code, "message": one_line(reason)}, status)


OTHER_SITES = "pages of other sites are not answered"


class Bounds:
    """Rejects requests with a wrong Host or Origin, an unsupported path or an oversized body, before keeping the body.

    Args:
        app: answers the other requests.
        most_bytes: the largest body.
        names: the names of the host. The Host header must have one of them: a page of another site can reach a server
            on 127.0.0.1 under a name of its own that points there.
        does: whether the server answers a method at a path, such as GET at /ping; None: ``app`` decides.
    """

    def __init__(
        self,
        app: ASGIApp,
        most_bytes: int,
        names: Iterable[str],
        does: Callable[[str, str], bool] | None = None,
    ) -> None:
        self.app, self.most_bytes, self.does = app, most_bytes, does
        self.own_host = re.compile(f"({'|'.join(map(re.escape, names))})(:[0-9]{{1,5}})?", re.IGNORECASE)

    def fault(self, scope: Scope) -> tuple[int, str] | None:
        """The status and the reason with which a request is rejected; None if it is accepted."""
        headers = Headers(scope=scope)
        hosts, told = headers.getlist("host"), headers.get("content-length", "0")
        if len(hosts) != 1 or not self.own_host.fullmatch(hosts[0]):
            return 400, "the Host header does not name this server"
        foreign = headers.get("sec-fetch-site") in ("cross-site", "same-site")  # what a browser says of who asks
        if foreign and headers.get("sec-fetch-mode") != "navigate":
            return 403, OTHER_SITES
        if any(origin != f"{scope['scheme']}://{hosts[0]}" for origin in headers.getlist("origin")):
            return 403, OTHER_SITES
        if self.does and not self.does(scope["method"], scope["path"]):
            return 403, "this server does not answer this method and path"
        if "transfer-encoding" in headers:
            return 411, "a body needs a Content-Length"
        if told.isascii() and told.isdigit() and int(told[:20]) > self.most_bytes:
            return 413, f"a body may have {self.most_bytes:,} bytes at most"
        return None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_once(message: Message) -> None:
            if message["type"] == "http.response.start":  # one request a connection, so that its time bounds both
                message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        if scope["type"] != "http":
            await self.app(scope, receive, send)
        elif fault := self.fault(scope):
            await refusal(*fault)(scope, receive, send_once if fault[0] != 413 else reading(receive, send_once))
        else:
            await self.app(scope, receive, send_once)


def reading(receive: Receive, send: Send) -> Send:
    """Send an answer at once, but read and forget the request's body before it ends.

    A client that sends first and reads afterwards would otherwise find the connection cut instead of the answer.
    """

    async def send_and_read(message: Message) -> None:
        is_body = message["type"] == "http.response.body"
        await send({**message, "more_body": True} if is_body else message)
        if is_body:
            while (part := await receive())["type"] == "http.request" and part.get("more_body"):
                pass
            await send({"type": "http.response.body"})

    return send_and_read


def listen(
    app: ASGIApp,
    host: str,
    port: int,
    seconds: float,
    connections: int,
    streams: Mapping[str, float] | None = None,
    **options: Any,
) -> None:
    """Serve until Ctrl-C, SIGTERM or SIGHUP, with at most ``connections`` at a time, each for at most ``seconds``.

    Args:
        streams: the paths of answers that may take longer, with their seconds. When the server ends they are cut.
    """
    hangup = getattr(signal, "SIGHUP", None)  # Windows has none, and uvicorn handles it nowhere
    if hangup and signal.getsignal(hangup) is not signal.SIG_IGN:
        signal.signal(hangup, lambda *_: signal.raise_signal(signal.SIGTERM))
    uvicorn.run(
        app,
        host=host,
        port=port,
        http=impatient(seconds, connections, streams or {}),
        ws="none",
        limit_concurrency=connections,
        backlog=connections,  # asyncio accepts so many before it does anything else
        log_level="warning",
        **options,
    )


def impatient(seconds: float, connections: int, streams: Mapping[str, float]) -> type[H11Protocol]:
    """A protocol that cuts each connection after ``seconds``, even if the client waits, and accepts one request each.

    A new connection is cut at once if there are already more than twice ``connections``. Otherwise they could use up
    all file descriptors of the process, and asyncio writes a traceback to the log for each one that it cannot accept.
    """

    class Impatient(H11Protocol):
        cut: asyncio.TimerHandle | None = None
        patient = False  # whether the answer is a stream

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if len(self.connections) > 2 * connections:
                transport.abort()
            else:
                self.cut = self.loop.call_later(seconds, transport.abort)

        def handle_events(self) -> None:
            super().handle_events()
            longer = streams.get(self.scope["path"]) if self.scope and not self.patient else None
            if longer and self.cut:
                self.cut.cancel()
                self.patient, self.cut = True, self.loop.call_later(longer, self.transport.abort)

        def shutdown(self) -> None:
            super().shutdown()
            if self.patient:
                self.transport.abort()

        def connection_lost(self, exc: Exception | None) -> None:
            if self.cut:
                self.cut.cancel()
            super().connection_lost(exc)

    return Impatient
