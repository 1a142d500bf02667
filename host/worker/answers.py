"""What a worker answers when it is asked about its connections."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from host.interfaces import CloseReason
from host.ipc.protocol import Ask, Report
from host.worker.connection import SocketConnection

_BATCH_BYTES = 32_768
"""Of connections in one line, which may take twice as much; one takes some 200 bytes."""


def answer(ask: Ask, connections: Sequence[SocketConnection], now: float) -> Iterator[Report]:
    """Answer a question, in as many reports as it takes.

    Args:
        ask: `connections` asks for all (at most `limit`); `find` for one by its `id`, and
            `close` also closes it.
        connections: the open ones.
        now: the present time of the loop's clock.
    """
    match ask.question:
        case "connections":
            found = list(connections)[: ask.args["limit"]]
        case "find" | "close":
            found = [each for each in connections if each.id == ask.args["id"]]
        case _:
            found = []
    items = [_describe(each, now) for each in found]
    if ask.question == "close":
        for each in found:
            each.finish(CloseReason.OPERATOR)
    batches: list[list[dict[str, Any]]] = [[]]
    size = 0
    for item in items:
        taken = len(json.dumps(item))
        if size + taken > _BATCH_BYTES:
            batches.append([])
            size = 0
        batches[-1].append(item)
        size += taken
    for batch in batches:
        data = {"number": ask.number, "items": batch, "last": batch is batches[-1]}
        yield Report("answer", data=data)


def _describe(connection: SocketConnection, now: float) -> dict[str, Any]:
    return {
        "id": connection.id,
        "listener": connection.listener.address,
        "index": connection.listener.index,
        "claim": connection.claim,
        "peer": connection.peer,
        "age_seconds": round(now - connection.born, 3),
        "idle_seconds": round(now - connection.last_active, 3),
        "bytes_in": connection.bytes_in,
        "bytes_out": connection.bytes_out,
    }
