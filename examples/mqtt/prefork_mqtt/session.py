"""A session: what the server keeps of a client while it is connected, or for longer. No I/O."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import NamedTuple

from host.plugins.delivery import DeliveryLimits, DeliveryWindow
from prefork_mqtt.options import Options
from prefork_mqtt.packets import Kind, Publish, numbered, publish_head


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
        self._heads: dict[int, bytes] = {}

    def with_key(self, key: str) -> Message:
        """Return it as one of its own, which is in a queue."""
        return Message(self.topic, self.payload, self.qos, key, retain=self.retain)

    def pack(self) -> bytes:
        """Return it as it is in queues."""
        return Publish(self.topic, self.payload, self.qos, self.retain).pack()

    @classmethod
    def unpack(cls, data: bytes, key: str) -> Message:
        """Return what `pack` has made bytes of."""
        topic, payload, qos, retain, _ = Publish.unpack(data)
        return cls(topic, payload, qos, key, retain=retain)

    def packet(self, qos: int, packet_id: int = 0, *, again: bool = False) -> bytes:
        """Return it as a PUBLISH."""
        place = qos << 1 | again
        head = self._heads.get(place)
        if head is None:
            size = len(self.payload)
            head = publish_head(self.topic, size, qos, retain=self.retain, again=again)
            if not qos:
                head += self.payload
            self._heads[place] = head
        return head + packet_id.to_bytes(2, "big") + self.payload if qos else head


class Sent(NamedTuple):
    """A message that the client has not confirmed."""

    message: Message
    qos: int


RELEASED = Sent(Message("", b"", 0), 0)
"""Stands for a message with QoS 2 that the client has, and whose number it has not forgotten."""


class Session:
    """The session of one client.

    Args:
        client_id: the client.
        limits: how many messages are sent that the client has not confirmed, and how many wait.
        clean: whether it ends with the connection.

    Attributes:
        filters: its filters, with their QoS.
        window: messages that the client has not confirmed.
        received: the numbers of messages with QoS 2 that it has sent, and may send again.
        receiving: those of which it is not known yet whether the bus has them.
        settled: it is known what became of all that the client has sent.
        behind: more waits in its queue on the bus than here.
        taken: the keys of what was taken from there last.
        missed: while that is read, by their keys: messages that have come live, and None for those
            that the client has confirmed; None while it is not.
        reads: how often that was begun: only what the last one finds counts.
        saving: held while it is stored, which takes several questions.
        write: sends something to the client.
        forget: called with the key of a message of its queue on the bus that it has confirmed.
    """

    def __init__(self, client_id: str, limits: Options, *, clean: bool) -> None:
        self.client_id, self._limits, self.clean = client_id, limits, clean
        self.filters: dict[str, int] = {}
        of_window = DeliveryLimits(
            max_sent=limits.max_inflight,
            max_waiting=limits.max_queued,
            max_waiting_bytes=limits.max_queued_bytes,
        )
        self.window = DeliveryWindow(self._send, _size, of_window)
        self.received: set[int] = set()
        self.receiving: set[int] = set()
        self.settled = asyncio.Event()
        self.settled.set()
        self.behind = False
        self.taken: set[str] = set()
        self.missed: dict[str, Message | None] | None = None
        self.reads = 0
        self.saving = asyncio.Lock()
        self.write: Callable[[bytes], object] = lambda _: None
        self.forget: Callable[[str], object] = lambda _: None

    def begin_receiving(self, packet_id: int) -> None:
        """Note a message with QoS 2 that is on its way to the bus."""
        self.receiving.add(packet_id)
        self.settled.clear()

    def end_receiving(self, packet_id: int, *, is_done: bool) -> None:
        """Note that the bus has it; or that the client has to send it again."""
        self.receiving.discard(packet_id)
        if is_done:
            self.received.add(packet_id)
        if not self.receiving:
            self.settled.set()

    def miss(self, message: Message) -> None:
        """Note a message that has come live while the queue is read: it may not be in that."""
        if self.missed is not None and len(self.missed) < self._limits.max_queued:
            self.missed[message.key] = message

    def confirm(self, packet_id: int) -> None:
        """Take a PUBACK."""
        sent = self.window.sent.get(packet_id)
        if sent is not None and sent[1] == 1:
            if sent[0].key:
                self._forget(sent[0])
            self.window.confirm(packet_id)

    def receive(self, packet_id: int) -> None:
        """Take a PUBREC: the client has the message [4.3.3]."""
        sent = self.window.sent.get(packet_id)
        if sent is not None and sent.qos == 2:
            self._forget(sent.message)
            self.window.replace(packet_id, RELEASED)
        self.write(numbered(Kind.PUBREL, packet_id))

    def complete(self, packet_id: int) -> None:
        """Take a PUBCOMP: the client has forgotten the number."""
        if self.window.sent.get(packet_id) is RELEASED:
            self.window.confirm(packet_id)

    def resume(self, sent: Mapping[int, Sent], *, is_complete: bool) -> None:
        """Send again what a client that is back has not confirmed [4.4]."""
        self.window.resume(sent, self._send_again, is_complete=is_complete)

    def _send(self, packet_id: int, sent: Sent) -> None:
        self.write(sent[0].packet(sent[1], packet_id))

    def _send_again(self, packet_id: int, sent: Sent) -> None:
        if sent is RELEASED:
            self.write(numbered(Kind.PUBREL, packet_id))
        else:
            self.write(sent.message.packet(sent.qos, packet_id, again=True))

    def _forget(self, message: Message) -> None:
        if message.key:
            self.forget(message.key)
            if self.missed is not None:
                self.missed[message.key] = None


def _size(sent: Sent) -> int:
    return len(sent[0].payload)
