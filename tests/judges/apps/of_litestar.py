"""An app of Litestar."""

# Litestar reads the annotations when the app is made, so they are no strings.
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import doings
from litestar import Litestar, MediaType, Request, WebSocket, get, post, websocket
from litestar.background_tasks import BackgroundTask
from litestar.response import Response, Stream


@asynccontextmanager
async def lifespan(app: Litestar) -> AsyncIterator[None]:
    doings.say("startup")
    app.state.pid = os.getpid()
    yield
    doings.say("shutdown")


@get("/", media_type=MediaType.TEXT)
async def page(request: Request) -> str:
    return f"{request.client.host} {request.app.state.pid}"


@post("/upload", media_type=MediaType.TEXT)
async def upload(request: Request) -> str:
    return str(sum([len(chunk) async for chunk in request.stream()]))


@get("/download", media_type=MediaType.TEXT)
async def download() -> str:
    return "x" * doings.DOWNLOAD_BYTES


@get("/stream")
async def stream() -> Stream:
    return Stream(doings.pieces())


@get("/events")
async def events() -> Stream:
    return Stream(doings.events(), media_type="text/event-stream")


@get("/background", media_type=MediaType.TEXT)
async def background() -> Response[str]:
    return Response("soon", background=BackgroundTask(doings.say, "done in the background"))


@post("/gone", media_type=MediaType.TEXT)
async def gone(request: Request) -> str:
    await doings.hear_of_the_end(request.receive)
    return ""


@websocket("/echo")
async def echo(socket: WebSocket) -> None:
    await socket.accept()
    async for text in socket.iter_data():
        await socket.send_text(text)


app = Litestar(
    [page, upload, download, stream, events, background, gone, echo],
    lifespan=[lifespan],
    request_max_body_size=None,
)
