"""An app of Starlette."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import doings
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket


@asynccontextmanager
async def lifespan(_app: Starlette) -> AsyncIterator[dict[str, int]]:
    doings.say("startup")
    yield {"pid": os.getpid()}
    doings.say("shutdown")


async def page(request: Request) -> Response:
    return PlainTextResponse(f"{request.client.host} {request.state.pid}")


async def upload(request: Request) -> Response:
    size = sum([len(chunk) async for chunk in request.stream()])
    return PlainTextResponse(str(size))


async def download(_request: Request) -> Response:
    return Response(b"x" * doings.DOWNLOAD_BYTES)


async def stream(_request: Request) -> Response:
    return StreamingResponse(doings.pieces())


async def events(_request: Request) -> Response:
    return StreamingResponse(doings.events(), media_type="text/event-stream")


async def background(_request: Request) -> Response:
    return PlainTextResponse(
        "soon", background=BackgroundTask(doings.say, "done in the background")
    )


async def gone(request: Request) -> Response:
    await doings.hear_of_the_end(request.receive)
    return Response()


async def echo(client: WebSocket) -> None:
    await client.accept()
    async for text in client.iter_text():
        await client.send_text(text)


app = Starlette(
    routes=[
        Route("/", page),
        Route("/upload", upload, methods=["POST"]),
        Route("/download", download),
        Route("/stream", stream),
        Route("/events", events),
        Route("/background", background),
        Route("/gone", gone, methods=["POST"]),
        WebSocketRoute("/echo", echo),
    ],
    lifespan=lifespan,
)
