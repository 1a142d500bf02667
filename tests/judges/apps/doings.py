"""What all the apps do, whatever their framework."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

DOWNLOAD_BYTES = 50_000_000


def say(text: str) -> None:
    """Say something that the host's log has then."""
    print(text, flush=True)


async def pieces() -> AsyncIterator[bytes]:
    """A hundred lines, one after the other."""
    for number in range(100):
        yield b"%d\n" % number
        await asyncio.sleep(0)


async def events() -> AsyncIterator[bytes]:
    """Server-sent events, until the client goes."""
    try:
        for number in range(1_000_000):
            yield b"data: %d\n\n" % number
            await asyncio.sleep(0.01)
    finally:
        say("the client of the events has gone")


async def hear_of_the_end(receive: Callable[[], Awaitable[Any]]) -> None:
    """Wait until the client has gone, of which the server tells."""
    say("begun")
    while (await receive())["type"] != "http.disconnect":
        pass
    say("the client has gone")


async def wait_for_the_end() -> None:
    """Wait until the framework cancels what handles a request whose client has gone."""
    say("begun")
    try:
        await asyncio.sleep(3600)
    finally:
        say("the client has gone")
