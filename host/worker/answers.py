"""What a worker answers when it is asked about its connections, a part in each turn."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from host.interfaces import CloseReason, Connection, TlsInfo
from host.ipc.protocol import ANSWER_SECONDS, LONGEST_ANSWER_SECONDS, Ask, Report
from host.ipc.worker_end import WorkerChannel
from host.runtime.loop import Loop
from host.text import printable
from host.worker.connection import SocketConnection
from host.worker.context import OpenConnections
from host.worker.selected import selected

_PART_ITEMS = 50
"""Connections in one report; one takes some 230 bytes, and 1,250 with the oddest texts."""
_DOING_BYTES = 100
"""How much is told of what one does; in JSON each may take three bytes."""
_PART_SECONDS = 0.001
"""After how long a part ends with fewer of them: they take half of that on a usual machine."""
_LOOKS = 16
"""How many connections are looked at between two looks at the clock."""
_PAUSE_SECONDS = 0.006
"""How long the others have the loop, and the supervisor time, between two parts."""


@dataclass(slots=True, eq=False)
class _Answer:
    """An answer that is under way.

    Attributes:
        left: the connections that were not looked at yet; None for one that is not meant.
        due: until when the next part counts, in seconds of the monotonic clock.
        latest: until when the last one does; None before the first.
    """

    ask: Ask
    left: Iterator[SocketConnection | None]
    due: float
    latest: float | None = None


class Answers:
    """Answers questions one after the other, in parts that keep nobody waiting.

    A part is made in a turn of its own, and only when the supervisor has taken the one before. An
    answer that nobody waits for any more ends where it is.

    Args:
        connections: the worker's connections.
        loop: the worker's loop.
        channel: where reports go.
        clock: the monotonic clock, which tells how long a part takes.
        tasks_of: says of each task of a connection what it is and where it waits.
    """

    def __init__(
        self,
        connections: OpenConnections,
        loop: Loop,
        channel: WorkerChannel,
        clock: Callable[[], float] = time.monotonic,
        tasks_of: Callable[[Connection], list[str]] = lambda _connection: [],
    ) -> None:
        self._tasks_of = tasks_of
        self._open, self._loop, self._channel = connections.open, loop, channel
        self._clock = clock
        self._answers: deque[_Answer] = deque()

    def begin(self, ask: Ask) -> None:
        """Answer a question, in as many reports as it takes.

        Args:
            ask: `connections` asks for all that are meant (at most `limit`, see `selected`); `find`
                for one by its `id`, with what it takes to find who chose this worker; `close` also
                closes it.
        """
        self._answers.append(_Answer(ask, self._meant(ask), ask.deadline))
        if len(self._answers) == 1:
            self._go_on()

    def _meant(self, ask: Ask) -> Iterator[SocketConnection | None]:
        """Look for the connections that a question is about among those open now."""
        snapshot = list(self._open)
        match ask.question:
            case "connections":
                return selected(snapshot, ask.args, self._loop.now)
            case "find" | "close":
                wanted = ask.args["id"]
                return (each if each.id == wanted else None for each in snapshot)
        return iter(())

    def _go_on(self) -> None:
        """Make the next part of the first answer; then let a moment pass for the others."""
        now = self._clock()
        while self._answers and now > self._answers[0].due:
            self._answers.popleft()
        if not self._answers:
            return
        if not self._channel.waiting:
            answer = self._answers[0]
            items, is_last = self._part(answer, now)
            data = {"number": answer.ask.number, "items": items, "last": is_last}
            self._channel.report(Report("answer", data=data))
            if is_last:
                self._answers.popleft()
            if answer.latest is None:
                answer.latest = now + LONGEST_ANSWER_SECONDS
            answer.due = min(now + ANSWER_SECONDS, answer.latest)
        if self._answers:
            self._loop.call_later(_PAUSE_SECONDS, self._go_on)

    def _part(self, answer: _Answer, now: float) -> tuple[list[dict[str, Any]], bool]:
        """Describe the next connections; tell whether they are the last."""
        question, until = answer.ask.question, now + _PART_SECONDS
        items: list[dict[str, Any]] = []
        for looked, connection in enumerate(answer.left, 1):
            # It may have ended since the question came.
            if connection is not None and connection in self._open:
                item = _describe(connection, self._loop.now)
                if question == "find":
                    item |= {"index": connection.listener.index, "claim": connection.claim}
                    item["tasks"] = [printable(each) for each in self._tasks_of(connection)]
                elif question == "close":
                    connection.finish(CloseReason.OPERATOR)
                items.append(item)
                if len(items) == _PART_ITEMS:
                    return items, False
            if looked % _LOOKS == 0 and self._clock() >= until:
                return items, False
        return items, True


def _tls(agreed: TlsInfo | None) -> dict[str, Any] | None:
    """Return what is told of TLS: the name is the client's, who may send any."""
    if agreed is None:
        return None
    return {
        "version": agreed.version,
        "cipher": agreed.cipher,
        "alpn": agreed.alpn,
        "server_name": None if agreed.server_name is None else printable(agreed.server_name),
    }


def _describe(connection: SocketConnection, now: float) -> dict[str, Any]:
    doing = printable(connection.doing).encode()[:_DOING_BYTES].decode("utf-8", "ignore")
    return {
        "slot": connection.worker.slot,
        "id": connection.id,
        "listener": connection.listener.address,
        "peer": connection.peer,
        "uid": connection.uid,
        "tls": _tls(connection.tls),
        "age_seconds": round(now - connection.born, 3),
        "idle_seconds": round(now - connection.last_active, 3),
        "bytes_in": connection.bytes_in,
        "bytes_out": connection.bytes_out,
        "unsent_bytes": connection.unsent,
        "doing": doing,
        "doing_seconds": round(now - connection.doing_since, 3) if doing else 0.0,
    }
