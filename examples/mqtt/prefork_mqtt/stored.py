"""Sessions that persist, and their queues: in tables of the bus, so no worker's death loses them.

Each worker knows the filters of all of them. So the worker of a publisher puts a message into the
queue of each one that has subscribed, before the publisher has its PUBACK: a key for each message
in a table for each session. Who is connected has it from there or live, whichever comes first.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from host import Message as BusMessage
from host import Table, Worker
from prefork_mqtt.asking import AGAIN_SECONDS, MOST_BYTES, ask, insist, items_of
from prefork_mqtt.packets import Publish
from prefork_mqtt.session import Message, Session
from prefork_mqtt.topics import FilterTree

_SESSIONS, _QUEUE, _CHANGES = "mqtt-sessions", "mqtt-queue.", "mqtt-changes"
_PIECE_BYTES = 65_000
"""How much of a message has one key: a value of a table has 64 KiB at most."""


class Record(NamedTuple):
    """What is stored of a session besides its queue.

    Attributes:
        filters: its filters, with their QoS.
        sent: number, key and QoS of each message that the client has not confirmed.
        released, received: as those of a session; empty while it is connected.
        left: when the client has gone, as `time.time()`; 0 while it is connected.
        key: no other record has it: so a change that has waited long takes the place of none but
            the one that it was made for.
    """

    filters: dict[str, int]
    sent: list[tuple[int, str, int]]
    released: list[int]
    received: list[int]
    left: float
    key: str = ""


class StoredSessions:
    """Reads and writes them, and knows who of them has subscribed to what.

    Attributes:
        filters: the filters of all of them, by the names of their clients.
        known: those clients, with their filters.
    """

    def __init__(self, worker: Worker) -> None:
        self._worker, self._bus = worker, worker.bus
        self._table = self._bus.table(_SESSIONS)
        self._values: dict[str, bytes | None] = {}
        self._last_key = 0
        self.filters: FilterTree[str] = FilterTree()
        self.known: dict[str, dict[str, int]] = {}

    async def start(self) -> None:
        """Learn of all sessions, and of each change from then on."""
        self._bus.subscribe(_CHANGES, self._on_change)
        await self.refresh()

    async def refresh(self) -> None:
        """Learn of all sessions anew, as soon as the bus knows them."""

        def read(done: Callable[[bool], object]) -> None:
            def answered(items: dict[str, bytes] | None) -> None:
                if items is not None:
                    for client_id in self.known.keys() - items.keys():
                        self._forget_what_is_gone(client_id)
                    for client_id, value in items.items():
                        self._know(client_id, _record(value).filters)
                done(items is not None)

            self._table.items(answered)

        while not await ask(read):
            await asyncio.sleep(AGAIN_SECONDS)

    async def load(self, client_id: str) -> Record | None:
        """Return what is stored of a session that this worker owns; None for nothing.

        Raises:
            BlockingIOError: the bus is overloaded.
        """
        known, value = await ask(self._table.get, client_id)
        if not known:
            raise BlockingIOError("the bus is overloaded")
        self._values[client_id] = value
        return None if value is None else _record(value)

    async def save(self, session: Session, left: float = 0.0) -> bool:
        """Store a session that was loaded, and tell all workers.

        Returns:
            False if that was refused, since there is no room, it is too long, or another worker has
            the session by now.

        Whoever has lost it to another owner without knowing changes nothing: the table has another
        value than what was read.
        """
        async with session.saving:
            record = Record(
                session.filters,
                [(number, sent.message.key, sent.qos) for number, sent in session.sent.items()],
                list(session.released) if left else [],
                list(session.received) if left else [],
                left,
                self.key(),
            )
            return await self._change(session.client_id, json.dumps(record).encode())

    async def remove(self, client_id: str) -> None:
        """Forget a session that was loaded, with its queue."""
        await self._change(client_id, None)
        self._values.pop(client_id, None)
        await self._clear(client_id, "", "~")

    def let_go(self, client_id: str) -> None:
        """Note that this worker does not own a session any more."""
        self._values.pop(client_id, None)

    async def expire(self, seconds: float, if_free: Callable[[str], Any]) -> None:
        """Remove sessions whose clients have been away for so long.

        Args:
            seconds: how long.
            if_free: returns a context in which this worker owns a client if nobody else does.
        """
        for client_id, value in (await items_of(self._table)).items():
            left = _record(value).left
            if left and time.time() - left < seconds:
                continue
            async with if_free(client_id) as is_owner:
                try:
                    record = await self.load(client_id) if is_owner else None
                except BlockingIOError:  # the next time
                    record = None
                if record and record.left == left:
                    if left:
                        await self.remove(client_id)
                    else:  # its worker has died
                        gone = record._replace(left=time.time())
                        await self._change(client_id, json.dumps(gone).encode())
                if is_owner:
                    self.let_go(client_id)

    def key(self) -> str:
        """Return a key for a message: keys of one worker are in the order of its messages."""
        self._last_key = max(time.time_ns(), self._last_key + 1)
        return f"{self._last_key:016x}.{self._bus.member}"

    def put(self, client_id: str, message: Message, done: Callable[[bool | None], object]) -> None:
        """Put a message that has a key into the queue of a client.

        `done` is called with False if that is full, with None if nobody knows whether it is there;
        then it is taken out again, as soon as that is possible.
        """
        queue, pieces = self._queue(client_id), _pieces(message)
        answers: list[bool | None] = []

        def answered(is_done: bool | None) -> None:
            answers.append(is_done)
            if len(answers) == len(pieces):
                if not all(answers):
                    self.forget(client_id, message)
                done(None if None in answers else all(answers))

        for number, piece in enumerate(pieces):
            queue.set(f"{message.key}.{number:02}", piece, answered)

    def forget(self, client_id: str, message: Message) -> None:
        """Take a message out of the queue of a client."""
        queue = self._queue(client_id)
        for number in range(_count(message)):
            insist(self._worker, partial(queue.delete, f"{message.key}.{number:02}"))

    def read(self, client_id: str, done: Callable[[dict[str, Message] | None], object]) -> None:
        """Give the queue of a client, in its order; None if the bus is overloaded."""

        def answered(items: dict[str, bytes] | None) -> None:
            done(None if items is None else _messages(items))

        self._queue(client_id).items(answered)

    async def _clear(self, client_id: str, member: str, last_key: str) -> None:
        """Empty a queue of what one member has put there, or all, up to a key."""
        queue = self._queue(client_id)
        for name in await items_of(queue):
            key = name.rpartition(".")[0]
            if key <= last_key and key.endswith(member):
                insist(self._worker, partial(queue.delete, name))

    async def _change(self, client_id: str, value: bytes | None) -> bool:
        if value is not None and len(value) > MOST_BYTES:
            return False
        before = self._values.get(client_id)
        change = partial(self._table.compare_and_set, client_id, before, value)
        while (is_done := await ask(change)) is None:  # too much waits, or the broker knows nothing
            await asyncio.sleep(AGAIN_SECONDS)
        if not is_done:
            return False
        self._values[client_id] = value
        filters = None if value is None else _record(value).filters
        if filters == self.known.get(client_id):
            return True
        self._know(client_id, filters)
        told = json.dumps((client_id, filters)).encode()
        while not await ask(lambda done: self._bus.publish(_CHANGES, told, done=done)):
            await asyncio.sleep(AGAIN_SECONDS)  # else others would put nothing into its queue
        return True

    def _on_change(self, message: BusMessage) -> None:
        client_id, filters = json.loads(message.payload)
        if filters is None:
            self._forget_what_is_gone(client_id)
        else:
            self._know(client_id, filters)

    def _forget_what_is_gone(self, client_id: str) -> None:
        """Forget a session, and clear what this worker has put there, since it did not know."""
        self._know(client_id, None)
        mine = self._clear(client_id, f".{self._bus.member}", self.key())
        self._worker.asyncio.create_task(mine)

    def _know(self, client_id: str, filters: dict[str, int] | None) -> None:
        for name in self.known.pop(client_id, ()):
            self.filters.remove(name, client_id)
        if filters is not None:
            self.known[client_id] = filters
            for name, qos in filters.items():
                if qos:
                    self.filters.add(name, client_id, qos)

    def _queue(self, client_id: str) -> Table:
        return self._bus.table(_QUEUE + client_id)


def _record(value: bytes) -> Record:
    return Record(*json.loads(value))


def _pieces(message: Message) -> list[bytes]:
    """Return a message as it is in queues; it begins with how many pieces there are."""
    published = Publish(message.topic, message.payload, message.qos, message.retain)
    value = bytes((_count(message),)) + published.pack()
    return [value[at : at + _PIECE_BYTES] for at in range(0, len(value), _PIECE_BYTES)]


def _count(message: Message) -> int:
    """Return how many pieces a message has in queues."""
    size = 4 + len(message.topic.encode()) + len(message.payload)
    return -(-size // _PIECE_BYTES)


def _messages(items: dict[str, bytes]) -> dict[str, Message]:
    """Return the messages of a queue by their keys; one of which a piece is missing is left out."""
    pieces: defaultdict[str, list[bytes]] = defaultdict(list)
    for name in sorted(items):
        key, _, number = name.rpartition(".")
        if int(number) == len(pieces[key]):
            pieces[key].append(items[name])
    found = {}
    for key, parts in pieces.items():
        if parts and parts[0][0] == len(parts):
            topic, payload, qos, retain, _ = Publish.unpack(b"".join(parts)[1:])
            found[key] = Message(topic, payload, qos, key, retain=retain)
    return found
