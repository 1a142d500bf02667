"""A small app of FastAPI: a board of messages, which each worker keeps for itself."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypedDict

from fastapi import FastAPI, Request, WebSocket
from pydantic import BaseModel, Field


class State(TypedDict):
    """What the app has in one worker, from its start to its end."""

    messages: deque[str]


class Message(BaseModel):
    """What is put on the board."""

    text: str = Field(min_length=1, max_length=280)


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[State]:
    """Make the board as the worker starts; here a real app opens its database."""
    yield {"messages": deque(maxlen=100)}


app = FastAPI(title="Board", lifespan=lifespan)


@app.get("/")
async def page(request: Request) -> dict[str, object]:
    """Say who has answered, and to whom."""
    client = request.client
    return {"worker": os.getpid(), "client": client.host if client else None}


@app.get("/messages")
async def messages(request: Request) -> list[str]:
    """Return the latest messages of this worker."""
    return list(request.state.messages)


@app.post("/messages", status_code=201)
async def put(message: Message, request: Request) -> None:
    """Put a message on the board of this worker."""
    request.state.messages.append(message.text)


@app.websocket("/echo")
async def echo(client: WebSocket) -> None:
    """Send each message back."""
    await client.accept()
    async for text in client.iter_text():
        await client.send_text(text)
