"""Replies: how a command is answered, and how an answer is written."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from host.control.wire import MAX_PAGE_BYTES, VERSION
from host.text import shortened

_PIECE_BYTES = 8_192
"""What makes one piece: about 50 connections, and 0.2 ms."""
_ROOM_BYTES = MAX_PAGE_BYTES - 4096
"""What a page may have of head and result: a key, and the end of the page, have room besides."""
_LONG_TEXT = 131_072
_TEXT_SHOWN = 16_384
"""Characters of a text that is shown in a field or an item longer than `_LONG_TEXT`."""

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


@dataclass(frozen=True, slots=True)
class Written:
    """Some items of a list, written as JSON as soon as they are known.

    60,000 connections take a sixth of the memory like this, and are forgotten in no time: to free
    so many dicts takes 15 ms.

    Attributes:
        text: the items, with commas between them.
        count: how many they are, at least one.
    """

    text: str
    count: int

    def first(self, count: int) -> list[Written]:
        """Return the first `count` items."""
        return write_items(json.loads(f"[{self.text}]")[:count])


def write_items(items: Sequence[Any]) -> list[Written]:
    """Write items of a list of a result: together, or each by itself if they are long."""
    text = json.dumps(items, default=str)[1:-1]
    if len(text) > _LONG_TEXT:
        return [Written(_text(item), 1) for item in items]
    return [Written(text, len(items))] if items else []


def pieces(response: Mapping[str, Any]) -> Iterator[bytes]:
    """Write a response in pieces none of which takes long to write.

    It is one line, or several if it would be longer than a page (MAX_PAGE_BYTES): then its lists
    go on from page to page, each other field is on one of them, and every page but the last has
    the number of the `next`. A piece that ends with a newline is the last of a page. Items of a
    list may be `Written`.
    """
    head = {key: value for key, value in response.items() if key != "result"}
    result = response.get("result")
    if result is None:
        yield f"{_text(head)}\n".encode()
        return
    page = _Page(_text(head))
    for key, value in result.items():
        if not isinstance(value, list):
            yield from page.add(key, _text(value))
            continue
        yield from page.add(key, "[")
        for item in value:
            yield from page.add_item(key, item.text if isinstance(item, Written) else _text(item))
        page.end_list()
    yield page.end()


class _Page:
    """A page that is being written; it goes over into the next one when it is full.

    Args:
        head: the object that each page begins with, as JSON.
    """

    def __init__(self, head: str) -> None:
        self._head, self._number = head, 1
        self._begin()

    def _begin(self) -> None:
        separator = "" if self._head == "{}" else ","
        self._piece = bytearray(f'{self._head[:-1]}{separator}"result":{{'.encode())
        self._written = 0  # bytes of the page that were handed out already
        self._separator = ""

    def add(self, key: str, text: str) -> Iterator[bytes]:
        """Add a field of the result, or the beginning of a list; yield what is complete."""
        yield from self._make_room(len(text), "")
        self._piece += f"{self._separator}{json.dumps(str(key))}:{text}".encode()
        self._separator = "" if text == "[" else ","
        yield from self._complete()

    def add_item(self, key: str, text: str) -> Iterator[bytes]:
        """Add to the list `key`, on the next page if need be; yield what is complete."""
        if self._size + len(text) > _ROOM_BYTES:
            yield from self._make_room(len(text), "]")
            self._piece += f"{json.dumps(str(key))}:[".encode()
        self._piece += f"{self._separator}{text}".encode()
        self._separator = ","
        yield from self._complete()

    def end_list(self) -> None:
        """End a list."""
        self._piece += b"]"
        self._separator = ","

    def end(self) -> bytes:
        """Return the end of the last page."""
        return bytes(self._piece + b"}}\n")

    @property
    def _size(self) -> int:
        return self._written + len(self._piece)

    def _make_room(self, size: int, end: str) -> Iterator[bytes]:
        """End the page, after the `end` of a list, if it has no room; begin the next one."""
        if self._size + size > _ROOM_BYTES:
            self._number += 1
            yield bytes(self._piece + f'{end}}},"next":{self._number}}}\n'.encode())
            self._begin()

    def _complete(self) -> Iterator[bytes]:
        if len(self._piece) >= _PIECE_BYTES:
            self._written += len(self._piece)
            yield bytes(self._piece)
            self._piece.clear()


def _text(value: Any) -> str:
    """Return a value as JSON; of what is very long, the beginning and the end of each text."""
    text = json.dumps(value, default=str)
    if len(text) > _LONG_TEXT:
        text = json.dumps(_shortened(value), default=str)
    return text


def _shortened(value: Any) -> Any:
    match value:
        case str():
            return shortened(value, _TEXT_SHOWN)
        case Mapping():
            return {key: _shortened(each) for key, each in value.items()}
        case list() | tuple():
            return [_shortened(each) for each in value]
        case _:
            return value
