"""Replies: how a command is answered, and how an answer is written."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from host.control.commands import VERSION

_ITEMS = 50
"""Items of a long list that are written at once: about 8 KB of connections, in 0.2 ms."""
_PIECE_BYTES = 8_192

Respond = Callable[[dict[str, Any]], object]


class Reply:
    """How a command is answered: once, at once or later. A second answer counts for nothing.

    Args:
        respond: sends a response; harmless if the client that asked is gone.
        head: what the response begins with.
    """

    __slots__ = ("_head", "_respond")

    def __init__(self, respond: Respond, head: Mapping[str, Any]) -> None:
        self._respond: Respond | None = respond
        self._head = {"v": VERSION, **head}

    def result(self, result: Mapping[str, Any]) -> None:
        """Answer that it was done, and with which result."""
        self._send({**self._head, "ok": True, "result": result})

    def error(self, message: str) -> None:
        """Answer that it was not done, and why."""
        self._send({**self._head, "ok": False, "error": message})

    def _send(self, response: dict[str, Any]) -> None:
        respond, self._respond = self._respond, None
        if respond is not None:
            respond(response)


def pieces(response: Mapping[str, Any]) -> Iterator[bytes]:
    """Write a response as one line, in pieces none of which takes long to write."""
    piece = bytearray()
    for text in _texts(response):
        piece += text.encode()
        if len(piece) >= _PIECE_BYTES:
            yield bytes(piece)
            piece.clear()
    yield bytes(piece + b"\n")


def _texts(value: Any) -> Iterator[str]:
    """Write a value as JSON: mappings entry by entry, long lists part by part."""
    if isinstance(value, Mapping):
        for number, (key, item) in enumerate(value.items()):
            yield f"{',' if number else '{'}{json.dumps(str(key))}:"
            yield from _texts(item)
        yield "}" if value else "{}"
    elif isinstance(value, list) and len(value) > _ITEMS:
        for start in range(0, len(value), _ITEMS):
            yield "," if start else "["
            yield json.dumps(value[start : start + _ITEMS], default=str)[1:-1]
        yield "]"
    else:
        yield json.dumps(value, default=str)
