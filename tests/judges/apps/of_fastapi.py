"""An app of FastAPI."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import doings
from fastapi import BackgroundTasks, FastAPI, Request, WebSocket
from fastapi.responses import PlainTextResponse, StreamingResponse


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[dict[str, int]]:
    doings.say("startup")
    yield {"pid": os.getpid()}
    doings.say("shutdown")


app = FastAPI(lifespan=lifespan, default_response_class=PlainTextResponse)


@app.get("/")
async def page(request: Request) -> str:
    return f"{request.client.host} {request.state.pid}"


@app.post("/upload")
async def upload(request: Request) -> str:
    return str(sum([len(chunk) async for chunk in request.stream()]))


@app.get("/download")
async def download() -> str:
    return "x" * doings.DOWNLOAD_BYTES


@app.get("/stream")
async def stream() -> StreamingResponse:
    return StreamingResponse(doings.pieces())


@app.get("/events")
async def events() -> StreamingResponse:
    return StreamingResponse(doings.events(), media_type="text/event-stream")


@app.get("/background")
async def background(tasks: BackgroundTasks) -> str:
    tasks.add_task(doings.say, "done in the background")
    return "soon"


@app.post("/gone")
async def gone(request: Request) -> str:
    await doings.hear_of_the_end(request.receive)
    return ""


@app.websocket("/echo")
async def echo(client: WebSocket) -> None:
    await client.accept()
    async for text in client.iter_text():
        await client.send_text(text)
