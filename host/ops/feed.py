"""Events of the log, as they come: read once, and handed on to all who hear of them."""

from __future__ import annotations

import asyncio
import json
import socket
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from host.telemetry.feed import MOST_BYTES

KEPT = 50
"""How many events a new listener is told of that were before."""
_MOST_WAITING = 200
"""How many may wait for one listener; what is older is dropped, and it is told how many."""
_READ_AT_ONCE = 100


class Listener:
    """Somebody who hears of events.

    Attributes:
        news: set when there is something to take, or nothing more will come.
    """

    def __init__(self, before: deque[str]) -> None:
        self.news = asyncio.Event()
        self._waiting = deque(before, _MOST_WAITING)
        self._dropped = 0
        self.news.set()

    def put(self, event: str) -> None:
        """Have an event wait."""
        self._dropped += len(self._waiting) == _MOST_WAITING
        self._waiting.append(event)
        self.news.set()

    def take(self) -> tuple[list[str], int]:
        """Return the events that wait, as JSON, and how many were dropped before them."""
        taken, dropped = list(self._waiting), self._dropped
        self._waiting.clear()
        self._dropped = 0
        self.news.clear()
        return taken, dropped


class Feed:
    """Reads the events that processes of the host send (host.telemetry.feed).

    Args:
        sock: the socket; it stays the caller's. None if nobody sends any.
    """

    def __init__(self, sock: socket.socket | None) -> None:
        self._sock = sock
        self._kept: deque[str] = deque(maxlen=KEPT)
        self._listeners: set[Listener] = set()

    def begin(self) -> None:
        """Read from now on, in the running loop."""
        if self._sock is not None:
            asyncio.get_running_loop().add_reader(self._sock.fileno(), self._read)

    def end(self) -> None:
        """Read no more, and wake all listeners."""
        if self._sock is not None:
            asyncio.get_running_loop().remove_reader(self._sock.fileno())
        for each in self._listeners:
            each.news.set()

    @contextmanager
    def listening(self) -> Iterator[Listener]:
        """Be told of the last events and of all that come."""
        listener = Listener(self._kept)
        self._listeners.add(listener)
        try:
            yield listener
        finally:
            self._listeners.discard(listener)

    def _read(self) -> None:
        assert self._sock is not None
        for _ in range(_READ_AT_ONCE):
            try:
                data = self._sock.recv(MOST_BYTES, socket.MSG_DONTWAIT)
            except OSError:
                return
            try:
                event = json.dumps(json.loads(data))  # one line, whoever has sent it
            except ValueError:
                continue
            self._kept.append(event)
            for each in self._listeners:
                each.put(event)
