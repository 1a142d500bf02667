"""Queues in tables of the bus: what is in them outlives workers, and is read by any of them."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial

from host import Table, Worker
from host.plugins.coordination.asking import insist, items_of

_PIECE_BYTES = 65_000
"""How much of a message has one key: a value of a table has 64 KiB at most."""


class Queues:
    """Puts messages into queues, and takes them out.

    Each queue is a table of the bus, which has 4 MiB at most; each message has a key there for each
    65,000 bytes. What one worker puts into a queue and what it publishes keeps its order.

        key = queues.key(data)
        queues.put("ann", key, data, done)
        queues.read("ann", lambda found: ...)  # {key: data, ...}, in the order of the keys
        queues.remove("ann", key)

    Args:
        worker: the worker.
        kind: what the queues are for: the names of their tables begin with it.
    """

    def __init__(self, worker: Worker, kind: str) -> None:
        self._worker, self._bus, self._kind = worker, worker.bus, kind
        self._last_time = 0

    def key(self, data: bytes) -> str:
        """Return a new key for a message, for all queues that it is put into.

        Keys of one worker are in the order in which it has asked for them; those of several are
        about in the order of time.
        """
        self._last_time = max(time.time_ns(), self._last_time + 1)
        return f"{self._last_time:016x}.{len(data) // _PIECE_BYTES + 1}.{self._bus.member}"

    def put(self, queue: str, key: str, data: bytes, done: Callable[[bool | None], object]) -> None:
        """Put a message into a queue.

        Args:
            queue: the name of the queue.
            key: the key of the message.
            data: the message.
            done: called with True when it is there; with False if the queue is full; with None if
                nobody knows whether it is there: then it is taken out again, as soon as that is
                possible.

        Raises:
            ValueError: the key is none that `key` has made for a message of this length.
        """
        table, count = self._table(queue), _count(key)
        if len(data) // _PIECE_BYTES + 1 != count:
            raise ValueError("the key was made for a message of another length")
        answers: list[bool | None] = []

        def answered(is_done: bool | None) -> None:
            answers.append(is_done)
            if len(answers) == count:
                if not all(answers):
                    self.remove(queue, key)
                done(None if None in answers else all(answers))

        for number in range(count):
            start = number * _PIECE_BYTES
            table.set(f"{key}.{number:02}", data[start : start + _PIECE_BYTES], answered)

    def remove(self, queue: str, key: str) -> None:
        """Take a message out of a queue; harmless if it is not there."""
        table = self._table(queue)
        for number in range(_count(key)):
            insist(self._worker, partial(table.delete, f"{key}.{number:02}"))

    def read(self, queue: str, done: Callable[[dict[str, bytes] | None], object]) -> None:
        """Give all of a queue by its keys, in their order; None if it is not known."""

        def answered(items: dict[str, bytes] | None) -> None:
            done(None if items is None else _messages(items))

        self._table(queue).items(answered)

    async def clear(self, queue: str, *, own_until: str | None = None) -> None:
        """Empty a queue.

        Args:
            queue: the name of the queue.
            own_until: only what this worker has put there, up to this key.
        """
        table, own = self._table(queue), self._bus.member
        for name in await items_of(table):
            key = name.rpartition(".")[0]
            if own_until is None or (key <= own_until and key.split(".", 2)[2] == own):
                insist(self._worker, partial(table.delete, name))

    def _table(self, queue: str) -> Table:
        return self._bus.table(f"{self._kind}.{queue}")


def _count(key: str) -> int:
    """Return how many pieces a message has."""
    return int(key.split(".", 2)[1])


def _messages(items: dict[str, bytes]) -> dict[str, bytes]:
    """Return the messages of a queue; one of which a piece is missing is left out."""
    pieces: defaultdict[str, list[bytes]] = defaultdict(list)
    for name in sorted(items):
        pieces[name.rpartition(".")[0]].append(items[name])
    return {key: b"".join(each) for key, each in pieces.items() if len(each) == _count(key)}
