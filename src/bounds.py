"""What a server of this project asks of who comes, and what one connection may cost it."""

import asyncio

from fastapi import HTTPException
from fastapi.responses import JSONResponse
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from stage import one_line


def refusal(status: int, reason: str) -> JSONResponse:
    """An answer in MLflow's form, which says in one line why there is no other."""
    code = {400: "BAD_REQUEST", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 500: "INTERNAL_ERROR"}.get(
        status, "REFUSED"
    )
    return JSONResponse({"error_code": code, "message": one_line(reason)}, status)


class Bounds:
    """Refuses what comes from a page of another site, and a body that is too large, before it is read."""

    def __init__(self, app: ASGIApp, most_bytes: int) -> None:
        self.app, self.most_bytes = app, most_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers, size = Headers(scope=scope), 0
        own = f"{scope['scheme']}://{headers.get('host')}"
        told = headers.get("content-length", "0")
        too_large = HTTPException(413, f"a body may have {self.most_bytes:,} bytes at most")

        async def bounded() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > self.most_bytes:
                raise too_large
            return message

        async def send_once(message: Message) -> None:
            if message["type"] == "http.response.start":  # one request a connection, so that its time bounds both
                message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        if any(origin != own for origin in headers.getlist("origin")):
            await refusal(403, "pages of other sites are not answered")(scope, receive, send_once)
        elif told.isascii() and told.isdigit() and int(told[:20]) > self.most_bytes:
            await refusal(413, too_large.detail)(scope, receive, send_once)
        else:
            await self.app(scope, bounded, send_once)


def impatient(seconds: float, connections: int) -> type[H11Protocol]:
    """Connections that are cut after so many seconds, whatever their other ends do.

    Where there are more than twice as many as the server takes, a new one is cut at once. Else they would take all of
    the process's file descriptors, and asyncio writes a traceback to the log each time that it cannot accept one.
    """

    class Impatient(H11Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if len(self.connections) > 2 * connections:
                transport.abort()
            else:
                self.loop.call_later(seconds, transport.abort)

    return Impatient
