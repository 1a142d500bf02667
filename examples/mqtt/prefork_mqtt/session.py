"""A session: what the server keeps of a client while it is connected, or for longer. No I/O."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

from prefork_mqtt.options import Options
from prefork_mqtt.packets import Kind, numbered, publish_head

_LAST_ID = 65_535
_MOST_BYTES_SENT = 4_194_304
"""Payloads that a client has not confirmed: far below what resets its connection (16 MiB)."""


class Message:
    """A message on its way to those who have subscribed; it is written once for all of them.

    Attributes:
        key: its key in the queues of sessions that persist; "" if it is in none.
        retain: whether it is sent because it was retained [3.3.1.3].
    """

    __slots__ = ("_heads", "key", "payload", "qos", "retain", "topic")

    def __init__(
        self, topic: str, payload: bytes, qos: int, key: str = "", *, retain: bool = False
    ) -> None:
        self.topic, self.payload, self.qos, self.key = topic, payload, qos, key
        self.retain = retain
        self._heads: dict[tuple[int, bool], bytes] = {}

    def with_key(self, key: str) -> Message:
        """Return it as one of its own, which is in a queue."""
        return Message(self.topic, self.payload, self.qos, key, retain=self.retain)

    def packet(self, qos: int, packet_id: int = 0, *, again: bool = False) -> bytes:
        """Return it as a PUBLISH."""
        head = self._heads.get((qos, again))
        if head is None:
            size = len(self.payload)
            head = publish_head(self.topic, size, qos, retain=self.retain, again=again)
            if not qos:
                head += self.payload
            self._heads[qos, again] = head
        return head + packet_id.to_bytes(2, "big") + self.payload if qos else head


class Sent(NamedTuple):
    """A message that the client has not confirmed."""

    message: Message
    qos: int


class Session:
    """The session of one client.

    Args:
        client_id: the client.
        limits: how many messages are sent that the client has not confirmed, and how many wait.
        clean: whether it ends with the connection.

    Attributes:
        filters: its filters, with their QoS.
        sent: messages that the client has not confirmed, by their numbers.
        released: the numbers of messages with QoS 2 that it has, and has not forgotten.
        received: the numbers of messages with QoS 2 that it has sent, and may send again.
        receiving: those of which it is not known yet whether the bus has them.
        behind: more waits in its queue on the bus than here.
        taken: the keys of what was taken from there last.
        missed: while that is read, by their keys: messages that have come live, and None for those
            that the client has confirmed; None while it is not.
        reads: how often that was begun: only what the last one finds counts.
        saving: held while it is stored, which takes several questions.
        write: sends something to the client.
        forget: called with a message of its queue on the bus that it has confirmed.
    """

    def __init__(self, client_id: str, limits: Options, *, clean: bool) -> None:
        self.client_id, self._limits, self.clean = client_id, limits, clean
        self.filters: dict[str, int] = {}
        self.sent: dict[int, Sent] = {}
        self.released: dict[int, None] = {}
        self.received: set[int] = set()
        self.receiving: set[int] = set()
        self._settled = asyncio.Event()
        self._settled.set()
        self._waiting: deque[Sent] = deque()
        self._bytes_sent = self._bytes_waiting = 0  # the payloads of both
        self._last_id = 0
        self.behind = False
        self.taken: set[str] = set()
        self.missed: dict[str, Message | None] | None = None
        self.reads = 0
        self.saving = asyncio.Lock()
        self.write: Callable[[bytes], object] = _nothing
        self.forget: Callable[[Message], object] = _nothing

    def forget_numbers(self) -> None:
        """Begin with any number.

        If the worker that had the session has died, the client may remember numbers of QoS 2 that
        nobody else does, and would take a new message with such a number for the old one.
        """
        self._last_id = random.randrange(_LAST_ID)

    def begin_receiving(self, packet_id: int) -> None:
        """Note a message with QoS 2 that is on its way to the bus."""
        self.receiving.add(packet_id)
        self._settled.clear()

    def end_receiving(self, packet_id: int, *, is_done: bool) -> None:
        """Note that the bus has it; or that the client has to send it again."""
        self.receiving.discard(packet_id)
        if is_done:
            self.received.add(packet_id)
        if not self.receiving:
            self._settled.set()

    async def settled(self) -> None:
        """Wait until it is known what became of all that the client has sent."""
        await self._settled.wait()

    def deliver(self, message: Message, qos: int) -> bool:
        """Send a message with QoS 1 or 2, or have it wait; False if too many wait."""
        if self._has_room and not self._waiting:
            self._send(Sent(message, qos))
            return True
        size = self._bytes_waiting + len(message.payload)
        if len(self._waiting) >= self._limits.max_queued or size > self._limits.max_queued_bytes:
            return False
        self._bytes_waiting = size
        self._waiting.append(Sent(message, qos))
        return True

    def miss(self, message: Message) -> None:
        """Note a message that has come live while the queue is read: it may not be in that."""
        if self.missed is not None and len(self.missed) < self._limits.max_queued:
            self.missed[message.key] = message

    def confirm(self, packet_id: int) -> None:
        """Take a PUBACK."""
        sent = self.sent.get(packet_id)
        if sent is not None and sent.qos == 1:
            self._finish(packet_id)
            self._send_more()

    def receive(self, packet_id: int) -> None:
        """Take a PUBREC: the client has the message [4.3.3]."""
        sent = self.sent.get(packet_id)
        if sent is not None and sent.qos == 2:
            self._finish(packet_id)
            self.released[packet_id] = None
        self.write(numbered(Kind.PUBREL, packet_id))

    def complete(self, packet_id: int) -> None:
        """Take a PUBCOMP: the client has forgotten the number."""
        self.released.pop(packet_id, None)
        self._send_more()

    def go_on(self) -> None:
        """Send again what a client that is back has not confirmed [4.4]; `sent` was restored."""
        for packet_id, (message, qos) in self.sent.items():
            self._bytes_sent += len(message.payload)
            self.write(message.packet(qos, packet_id, again=True))
        for packet_id in self.released:
            self.write(numbered(Kind.PUBREL, packet_id))
        self._send_more()

    def unconfirmed(self) -> Iterable[Sent]:
        """Return all messages that the client has not confirmed, in their order."""
        return (*self.sent.values(), *self._waiting)

    @property
    def waits(self) -> bool:
        """Whether messages wait that were not sent."""
        return bool(self._waiting)

    @property
    def _has_room(self) -> bool:
        """Whether another message may be sent before one is confirmed."""
        count = len(self.sent) + len(self.released)
        return count < self._limits.max_inflight and self._bytes_sent < _MOST_BYTES_SENT

    def _finish(self, packet_id: int) -> None:
        message = self.sent.pop(packet_id).message
        self._bytes_sent -= len(message.payload)
        if message.key:
            self.forget(message)
            if self.missed is not None:
                self.missed[message.key] = None

    def _send_more(self) -> None:
        while self._waiting and self._has_room:
            sent = self._waiting.popleft()
            self._bytes_waiting -= len(sent.message.payload)
            self._send(sent)

    def _send(self, sent: Sent) -> None:
        self._last_id = self._last_id % _LAST_ID + 1
        while self._last_id in self.sent or self._last_id in self.released:
            self._last_id = self._last_id % _LAST_ID + 1
        self.sent[self._last_id] = sent
        self._bytes_sent += len(sent.message.payload)
        self.write(sent.message.packet(sent.qos, self._last_id))


def _nothing(_: object) -> None:
    """Take what nobody wants."""
