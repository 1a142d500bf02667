"""Sessions that persist, and their queues: in tables of the bus, so no worker's death loses them.

Each worker knows the filters of all of them. So the worker of a publisher puts a message into the
queue of each one that has subscribed, before the publisher has its PUBACK. Who is connected has it
from there or live, whichever comes first.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from host import Worker
from host.plugins.coordination import Queues, ReplicatedTable, TopicTree
from prefork_mqtt.session import RELEASED, Message, Session


class Record(NamedTuple):
    """What is stored of a session besides its queue.

    Attributes:
        filters: its filters, with their QoS.
        sent: number, key and QoS of each message that the client has not confirmed; with QoS 0,
            which is never confirmed, a number that is released: none while it is connected.
        received: as that of a session; empty while it is connected.
        left: when the client has gone, as `time.time()`; 0 while it is connected.
    """

    filters: dict[str, int]
    sent: list[tuple[int, str, int]]
    received: list[int]
    left: float


class StoredSessions:
    """Reads and writes them, and knows who of them has subscribed to what.

    Attributes:
        table: the records; each worker has the filters of all of them, as JSON.
        queues: what was not confirmed.
        filters: those filters, by the names of their clients.
    """

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self.table = ReplicatedTable(worker, "mqtt-sessions", _shared, self._on_change)
        self.queues = Queues(worker, "mqtt-queue")
        self.filters: TopicTree[str] = TopicTree()

    async def load(self, client_id: str) -> Record | None:
        """Return what is stored of a session that this worker owns; None for nothing.

        Raises:
            BlockingIOError: the bus is overloaded.
        """
        value = await self.table.load(client_id)
        return None if value is None else _record(value)

    async def save(self, session: Session, left: float = 0.0) -> bool:
        """Store a session that was loaded, and tell all workers.

        Returns:
            False if that was refused, since there is no room, it is too long, or another worker has
            the session by now.
        """
        async with session.saving:
            sent = [
                (number, each.message.key, each.qos)
                for number, each in session.window.sent.items()
                if left or each is not RELEASED
            ]
            received = list(session.received) if left else []
            record = Record(session.filters, sent, received, left)
            return await self.table.change(session.client_id, _packed(record))

    async def remove(self, client_id: str) -> None:
        """Forget a session that was loaded, with its queue."""
        await self.table.change(client_id, None)
        self.table.let_go(client_id)
        await self.queues.clear(client_id)

    async def expire(self, seconds: float, if_free: Callable[[str], Any]) -> None:
        """Remove sessions whose clients have been away for so long.

        Args:
            seconds: how long.
            if_free: returns a context in which this worker owns a client if nobody else does.
        """
        for client_id, value in (await self.table.refresh()).items():
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
                        await self.table.change(client_id, _packed(gone))
                if is_owner:
                    self.table.let_go(client_id)

    def enqueue(self, client_id: str, message: Message) -> Message:
        """Put a message into a queue that its publisher's worker has not known of; return it."""
        data = message.pack()
        queued = message.with_key(self.queues.key(data))
        self.queues.put(client_id, queued.key, data, lambda _: None)
        return queued

    def read(self, client_id: str, done: Callable[[dict[str, Message] | None], object]) -> None:
        """Give the queue of a client, in its order; None if the bus is overloaded."""

        def answered(found: dict[str, bytes] | None) -> None:
            if found is None:
                done(None)
            else:
                done({key: Message.unpack(data, key) for key, data in found.items()})

        self.queues.read(client_id, answered)

    def _on_change(self, client_id: str, before: bytes | None, after: bytes | None) -> None:
        for name in json.loads(before or b"{}"):
            self.filters.remove(name, client_id)
        for name, qos in json.loads(after or b"{}").items():
            if qos:
                self.filters.add(name, client_id, qos)
        if after is None:  # what this worker has put there as long as it did not know
            rest = self.queues.clear(client_id, own_until=self.queues.key(b""))
            self._worker.asyncio.create_task(rest)


def _packed(record: Record) -> bytes:
    """Return a record as it is stored: a line with its filters, which others know, and the rest."""
    return f"{json.dumps(record.filters)}\n{json.dumps(record[1:])}".encode()


def _record(value: bytes) -> Record:
    filters, _, rest = value.partition(b"\n")
    return Record(json.loads(filters), *json.loads(rest))


def _shared(value: bytes) -> bytes:
    return value.partition(b"\n")[0]
