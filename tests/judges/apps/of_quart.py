"""An app of Quart."""

from __future__ import annotations

import os

import doings
from quart import Quart, Response, request, websocket

app = Quart(__name__)


@app.before_serving
async def start() -> None:
    doings.say("startup")
    app.config["PID"] = os.getpid()


@app.after_serving
async def stop() -> None:
    doings.say("shutdown")


@app.get("/")
async def page() -> str:
    return f"{request.remote_addr} {app.config['PID']}"


@app.post("/upload")
async def upload() -> str:
    return str(sum([len(chunk) async for chunk in request.body]))


@app.get("/download")
async def download() -> str:
    return "x" * doings.DOWNLOAD_BYTES


@app.get("/stream")
async def stream() -> Response:
    return Response(doings.pieces())


@app.get("/events")
async def events() -> Response:
    response = Response(doings.events(), mimetype="text/event-stream")
    response.timeout = None
    return response


@app.get("/background")
async def background() -> str:
    app.add_background_task(doings.say, "done in the background")
    return "soon"


@app.post("/gone")
async def gone() -> str:
    await doings.wait_for_the_end()
    return ""


@app.websocket("/echo")
async def echo() -> None:
    while True:
        await websocket.send(await websocket.receive())
