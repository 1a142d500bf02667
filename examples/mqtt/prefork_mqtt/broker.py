"""Messages: from a client of this worker onto the bus, and from there to clients of this worker."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from host import BUS_LOST, Counter, Worker
from host import Message as BusMessage
from prefork_mqtt.asking import AGAIN_SECONDS
from prefork_mqtt.client import Client
from prefork_mqtt.hearing import TOPIC, Hearing
from prefork_mqtt.packets import Publish
from prefork_mqtt.session import Message, Session
from prefork_mqtt.stored import StoredSessions
from prefork_mqtt.topics import FilterTree

_RETAINED, _QUEUED = 4, 8
"""Bits of the first byte of a message of the bus, beside its QoS."""
_ENTRY_BYTES = 300
"""About what a message costs on its way over the bus beside its bytes."""
_MARK_BYTES = 65_536
_MOST_BYTES = 2_097_152
"""How much may be on its way to the bus before publishers are held back: a quarter of its queue."""


def _ignore(_: bool | None) -> None:
    """Take an answer that nobody waits for."""


class Broker:
    """Passes on messages in one worker.

    Args:
        worker: the worker.
        stored: the sessions that persist.
        dropped: counts messages that were dropped, by reason.
        delivered: counts messages that were sent to clients.
        take: has the packets of a client taken that was held back.

    Attributes:
        tree: the filters of all clients that are connected to this worker.
        hearing: what this worker hears of the bus.
        clients: those clients, by their names.
    """

    def __init__(
        self,
        worker: Worker,
        stored: StoredSessions,
        dropped: Counter,
        delivered: Counter,
        take: Callable[[Client], object],
    ) -> None:
        self._worker, self._bus, self._stored = worker, worker.bus, stored
        self._dropped, self._delivered, self._take = dropped, delivered, take
        self.tree: FilterTree[Session] = FilterTree()
        self.hearing = Hearing(worker.bus, self._on_message)
        self.clients: dict[str, Client] = {}
        self._unconfirmed = self._unmarked = 0
        self._held: list[Client] = []
        self._bus.subscribe(BUS_LOST, self._on_lost)

    def publish(
        self, publish: Publish, done: Callable[[bool], object] | None, client: Client | None = None
    ) -> None:
        """Publish a message.

        Args:
            publish: the message.
            done: called with True when it has its place in the order of its topic, and is in the
                queue of each session that persists and hears it with QoS 1 or 2; with False if
                nobody knows that.
            client: who is held back while too much is on its way.
        """
        topic, payload, qos, retain, _ = publish
        head, queues = bytes((qos | retain << 2,)), []
        if qos and done is not None and self._stored.filters:
            queues = [each for each, _ in self._stored.filters.match(topic)]
            if queues:
                key = self._stored.key()
                head = bytes((head[0] | _QUEUED, len(key))) + key.encode()
                done = self._enqueue(queues, Message(topic, payload, qos, key), done)
        self._unmarked += (len(topic) + len(payload) + _ENTRY_BYTES) * (1 + len(queues))
        if done is not None or self._unmarked > _MARK_BYTES:
            self._send_marked(TOPIC + topic, head + payload, int(retain), done or _ignore)
        elif not self._bus.publish(TOPIC + topic, head + payload, retain=int(retain)):
            self._dropped.add(1, "overload")
        if client is not None and self._unconfirmed > _MOST_BYTES:
            client.hold()
            self._held.append(client)

    def deliver(self, session: Session, message: Message, qos: int) -> None:
        """Send a message to a client, as soon as it has confirmed enough of those before."""
        if not qos:
            if self.clients[session.client_id].connection.congested:
                self._dropped.add(1, "slow")
            else:
                session.write(message.packet(0))
            return
        if not session.clean and not message.key:  # its publisher's worker has not known of it
            message = message.with_key(self._stored.key())
            self._stored.put(session.client_id, message, _ignore)
            if session.behind:  # it is read from there
                session.miss(message)
                return
        if not session.deliver(message, qos):
            if session.clean:  # the only way to tell it that something is lost
                self._dropped.add(1, "slow")
                self.clients[session.client_id].connection.close()
            else:
                session.behind = True

    def refill(self, session: Session) -> None:
        """Have what a session that persists lacks read from its queue."""
        session.behind = True
        session.missed = session.missed or {}
        session.reads += 1
        self._stored.read(session.client_id, partial(self._refilled, session, session.reads))

    def take_queue(self, session: Session, found: dict[str, Message]) -> None:
        """Send a session what is in its queue, and live messages from then on."""
        known = {sent.message.key for sent in session.unconfirmed()}
        session.taken, session.behind = set(found), False
        all_of_it = found | (session.missed or {})
        session.missed = None
        for key, message in sorted(all_of_it.items()):
            if message is None:
                continue
            qos = dict(self.tree.match(message.topic)).get(session)
            if qos is None:  # it has unsubscribed
                session.forget(message)
            elif not qos:
                self.deliver(session, message, 0)
                session.forget(message)
            elif key not in known and not session.behind:
                self.deliver(session, message, min(message.qos, qos))

    def _enqueue(
        self, queues: list[str], message: Message, done: Callable[[bool], object]
    ) -> Callable[[bool], object]:
        """Put a message into queues; return what tells `done` of it after the last answer."""
        answers: list[bool] = []

        def answered(is_known: bool) -> None:
            answers.append(is_known)
            if len(answers) == len(queues) + 1:
                done(all(answers))

        def enqueued(is_done: bool | None) -> None:
            if is_done is False:
                self._dropped.add(1, "queue_full")
            answered(is_done is not None)

        for each in queues:
            self._stored.put(each, message, enqueued)
        return answered

    def _send_marked(
        self, topic: str, payload: bytes, retain: int, done: Callable[[bool], object]
    ) -> None:
        """Publish, and count what is on its way until the bus has taken it."""
        size, self._unmarked = self._unmarked, 0
        self._unconfirmed += size

        def taken(is_done: bool) -> None:
            self._unconfirmed -= size
            done(is_done)
            if self._held and self._unconfirmed < _MOST_BYTES // 2:
                held, self._held = self._held, []
                for client in held:
                    client.go_on(self._take)

        self._bus.publish(topic, payload, retain=retain, done=taken)

    def _on_message(self, message: BusMessage) -> None:
        topic, payload = message.topic[len(TOPIC) :], message.payload
        found = self.tree.match(topic)
        if not found:
            return
        head, start, key = payload[0], 1, ""
        if head & _QUEUED:
            start = 2 + payload[1]
            key = payload[2:start].decode()
        qos = head & 3
        passed_on = Message(topic, payload[start:], qos, key)
        self._delivered.add(len(found))
        for session, granted in found:
            if not (qos and granted):
                self.deliver(session, passed_on, 0)
            elif not key or not (session.behind or key in session.taken):
                self.deliver(session, passed_on, min(qos, granted))
            else:
                session.miss(passed_on)

    def _on_lost(self, _: BusMessage) -> None:
        """Make good what can be, and end sessions that have lost messages with QoS 1 or 2."""
        self._worker.asyncio.create_task(self._refresh())
        for client in tuple(self.clients.values()):
            session = client.session
            if session is not None and any(session.filters.values()):
                if session.clean or not client.admitted:
                    client.connection.close()
                else:
                    self.refill(session)

    async def _refresh(self) -> None:
        """Learn of all sessions anew; end those of this worker that the bus has forgotten."""
        await self._stored.refresh()
        for client in tuple(self.clients.values()):
            session = client.session
            persists = session is not None and not session.clean
            if persists and client.admitted and client.client_id not in self._stored.known:
                client.connection.close()

    def _refilled(self, session: Session, number: int, found: dict[str, Message] | None) -> None:
        client = self.clients.get(session.client_id)
        if client is None or client.session is not session or number != session.reads:
            return
        if found is None:
            self._worker.call_later(AGAIN_SECONDS, lambda: self.refill(session))
        else:
            self.take_queue(session, found)


def retained_message(message: BusMessage) -> Message | None:
    """Return a message of the bus as one that was retained; None if it only clears the topic."""
    payload = message.payload
    start = 2 + payload[1] if payload[0] & _QUEUED else 1
    if len(payload) == start:
        return None
    topic = message.topic[len(TOPIC) :]
    return Message(topic, payload[start:], payload[0] & 3, retain=True)
