"""An app of Starlette, for the tests of the plugin `asgi`."""

from __future__ import annotations

import asyncio
import itertools
import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

RELEASE = "RELEASE"
"""A variable with the name of a pipe: what waits goes on when somebody writes to it."""
SEEN: ContextVar[str] = ContextVar("seen", default="nothing")


def say(text: str) -> None:
    print(text, flush=True)


@asynccontextmanager
async def lifespan(_app: Starlette) -> AsyncIterator[dict[str, Any]]:
    if os.environ.get("FAIL"):
        raise ValueError("no database")
    say("startup")
    yield {"pid": os.getpid()}
    say("shutdown")


async def page(request: Request) -> Response:
    seen = SEEN.get()
    SEEN.set(request.url.path)
    scope = request.scope
    told = {key: scope[key] for key in ("client", "server", "scheme", "root_path", "path")}
    return JSONResponse({**told, "pid": request.state.pid, "seen": seen})


async def upload(request: Request) -> Response:
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
    return PlainTextResponse(str(size))


async def download(_request: Request) -> Response:
    return Response(b"x" * 50_000_000)


async def streaming(_request: Request) -> Response:
    async def pieces() -> AsyncIterator[bytes]:
        for number in range(100):
            yield b"%d\n" % number
            await asyncio.sleep(0)

    return StreamingResponse(pieces())


async def events(request: Request) -> Response:
    """Server-sent events, until the client goes."""

    async def pieces() -> AsyncIterator[bytes]:
        try:
            for number in range(1_000_000):
                yield b"data: %d\n\n" % number
                await asyncio.sleep(0.01)
        finally:
            say("the client of the events has gone")

    return StreamingResponse(pieces(), media_type="text/event-stream")


async def background(_request: Request) -> Response:
    return PlainTextResponse("soon", background=BackgroundTask(say, "done in the background"))


async def wait(_request: Request) -> Response:
    say("waiting")
    loop = asyncio.get_running_loop()
    pipe = await loop.run_in_executor(None, open, os.environ[RELEASE])
    with pipe:
        return PlainTextResponse(await loop.run_in_executor(None, pipe.read))


async def broken(_request: Request) -> Response:
    raise ValueError("a fault of the app")


async def hang(_request: Request) -> Response:
    beside = asyncio.create_task(asyncio.Event().wait(), name="beside")
    await asyncio.sleep(0)
    threading.Event().wait()  # as what waits without `await`
    beside.cancel()
    return Response()


async def hang_in_c(request: Request) -> Response:
    for _ in range(int(request.query_params.get("turns", 0))):
        await asyncio.sleep(0)
    hang_in_thread(request)
    return Response()


def hang_in_thread(_request: Request) -> Response:
    """Keep the interpreter's lock for ever: neither a thread nor the handler of a signal runs."""
    sum(itertools.repeat(0))
    return Response()


async def wait_for_ever(_request: Request) -> Response:
    say("waiting for ever")
    await asyncio.Event().wait()
    return Response()


async def gone(request: Request) -> Response:
    say("begun")
    while (await request.receive())["type"] != "http.disconnect":
        pass
    say("the client has gone")
    return Response()


async def echo(client: WebSocket) -> None:
    await client.accept()
    try:
        while True:
            await client.send_text(await client.receive_text())
    except WebSocketDisconnect as error:
        say(f"closed with {error.code}")


app = Starlette(
    routes=[
        Route("/", page),
        Route("/upload", upload, methods=["POST"]),
        Route("/download", download),
        Route("/streaming", streaming),
        Route("/events", events),
        Route("/background", background),
        Route("/wait", wait),
        Route("/broken", broken),
        Route("/hang/{number}", hang),
        Route("/hang_in_c", hang_in_c),
        Route("/hang_in_thread", hang_in_thread),
        Route("/for_ever", wait_for_ever),
        Route("/gone", gone, methods=["POST"]),
        WebSocketRoute("/echo", echo),
    ],
    lifespan=lifespan,
)


def make() -> Starlette:
    say(f"made in {os.getpid()}")
    return app


async def bare(scope: Any, _receive: Any, send: Any) -> None:
    """An app without a framework, which knows of no lifespan."""
    if scope["type"] != "http":
        raise TypeError(scope["type"])
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"bare"})


no_app = "text"


def of_wsgi(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """An app of WSGI, with which ASGI has nothing to do."""
    start_response("200 OK", [])
    return [b"wsgi"]
