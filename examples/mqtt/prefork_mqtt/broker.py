"""Messages: from a client of this worker onto the bus, and from there to clients of this worker."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from host import BUS_LOST, Counter, Gauge, Worker
from host import Message as BusMessage
from host.plugins.coordination import AGAIN_SECONDS, BoundedPublisher, WildcardSubscriptions
from prefork_mqtt.client import Client
from prefork_mqtt.packets import Publish, publish_head
from prefork_mqtt.session import Message, Sent, Session
from prefork_mqtt.stored import StoredSessions

TOPIC = "mqtt."
"""How the topics of the bus begin that stand for topics of clients."""
_QUEUED = 8
"""A bit of the first byte of a message of the bus, beside its QoS: its key in queues follows."""
_HEADS = b"\0", b"\1", b"\2"


class Broker:
    """Passes on messages in one worker.

    Args:
        worker: the worker.
        stored: the sessions that persist.
        dropped: counts messages that were dropped, by reason.
        delivered: counts messages that were sent to clients.
        connected: shows how many clients this worker has.

    Attributes:
        topics: the filters of all clients that are connected to this worker.
        clients: those clients, by their names.
    """

    def __init__(
        self,
        worker: Worker,
        stored: StoredSessions,
        dropped: Counter,
        delivered: Counter,
        connected: Gauge,
    ) -> None:
        self._worker, self._stored, self._connected = worker, stored, connected
        self._dropped, self._delivered = dropped, delivered
        self._publisher = BoundedPublisher(worker.bus)
        self.topics = WildcardSubscriptions[Session](worker.bus, TOPIC, self._on_message)
        self.clients: dict[str, Client] = {}
        worker.bus.subscribe(BUS_LOST, self._on_lost)

    def join(self, client: Client, session: Session) -> None:
        """Begin to pass on messages to a client."""
        client.session, self.clients[client.client_id] = session, client
        session.filters = self.topics.join(session)
        self._connected.set(len(self.clients))

    def leave(self, client: Client, session: Session) -> None:
        """Pass on nothing to a client any more."""
        del self.clients[client.client_id]
        self.topics.leave(session)
        self._connected.set(len(self.clients))

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
        head, queues = _HEADS[qos], []
        if qos and done is not None and self._stored.filters:
            queues = [each for each, _ in self._stored.filters.match(topic)]
            if queues:
                data = publish._replace(retain=False).pack()
                key = self._stored.queues.key(data)
                head = bytes((qos | _QUEUED, len(key))) + key.encode()
                done = self._enqueue(queues, key, data, done)
        taken = self._publisher.publish(
            TOPIC + topic, head + payload, retain=retain, done=done, copies=len(queues)
        )
        if not taken and done is None:
            self._dropped.add(1, "overload")
        if client is not None:
            self._publisher.hold(client.receiver)

    def deliver(self, session: Session, message: Message, qos: int) -> None:
        """Send a message to a client, as soon as it has confirmed enough of those before."""
        if not qos:
            self._delivered.add(self._write(session, message.packet(0)))
            return
        if not session.clean and not message.key:  # its publisher's worker has not known of it
            message = self._stored.enqueue(session.client_id, message)
            if session.behind:  # it is read from there
                session.miss(message)
                return
        # `Sent` itself is a function of Python: that takes twice as long.
        if session.window.add(tuple.__new__(Sent, (message, qos))):
            self._delivered.add()
        elif session.clean:  # the only way to tell it that something is lost
            self._dropped.add(1, "slow")
            self.clients[session.client_id].connection.close()
        else:
            session.behind = True

    def replay(self, session: Session, qos: int, message: BusMessage) -> None:
        """Send a client a message that was retained; nothing if that only clears the topic."""
        payload = message.payload
        start = 2 + payload[1] if payload[0] & _QUEUED else 1
        if len(payload) > start:
            topic, granted = message.topic[len(TOPIC) :], min(payload[0] & 3, qos)
            retained = Message(topic, payload[start:], payload[0] & 3, retain=True)
            self.deliver(session, retained, granted)

    def refill(self, session: Session) -> None:
        """Have what a session that persists lacks read from its queue."""
        session.behind = True
        session.missed = session.missed or {}
        session.reads += 1
        self._stored.read(session.client_id, partial(self._refilled, session, session.reads))

    def take_queue(self, session: Session, found: dict[str, Message]) -> None:
        """Send a session what is in its queue, and live messages from then on."""
        known = {sent.message.key for sent in session.window.unconfirmed()}
        session.taken, session.behind = set(found), False
        all_of_it = found | (session.missed or {})
        session.missed = None
        for key, message in sorted(all_of_it.items()):
            if message is None:
                continue
            qos = dict(self.topics.tree.match(message.topic)).get(session)
            if not qos:
                if qos is not None:  # else it has unsubscribed
                    self.deliver(session, message, 0)
                session.forget(key)
            elif key not in known and not session.behind:
                self.deliver(session, message, min(message.qos, qos))

    def _enqueue(
        self, queues: list[str], key: str, data: bytes, done: Callable[[bool], object]
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
            self._stored.queues.put(each, key, data, enqueued)
        return answered

    def _on_message(self, message: BusMessage) -> None:
        topic, payload = message.topic[len(TOPIC) :], message.payload
        found = self.topics.tree.match(topic)
        if not found:
            return
        head, start, key = payload[0], 1, ""
        if not head:  # QoS 0: all are sent the same bytes, and nothing is kept
            packet = publish_head(topic, len(payload) - 1, 0, retain=False) + payload[1:]
            self._delivered.add(sum([self._write(session, packet) for session, _ in found]))
            return
        if head & _QUEUED:
            start = 2 + payload[1]
            key = payload[2:start].decode()
        qos = head & 3
        passed_on = Message(topic, payload[start:], qos, key)
        for session, granted in found:
            if not (qos and granted):
                self.deliver(session, passed_on, 0)
            elif not key or not (session.behind or key in session.taken):
                self.deliver(session, passed_on, qos if qos < granted else granted)
            else:
                session.miss(passed_on)

    def _write(self, session: Session, packet: bytes) -> bool:
        """Send a message with QoS 0, unless too much waits for the client; return whether."""
        if self.clients[session.client_id].connection.congested:
            self._dropped.add(1, "slow")
            return False
        session.write(packet)
        return True

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
        await self._stored.table.refresh()
        for client in tuple(self.clients.values()):
            session = client.session
            persists = session is not None and not session.clean
            if persists and client.admitted and client.client_id not in self._stored.table.copy:
                client.connection.close()

    def _refilled(self, session: Session, number: int, found: dict[str, Message] | None) -> None:
        client = self.clients.get(session.client_id)
        if client is None or client.session is not session or number != session.reads:
            return
        if found is None:
            self._worker.call_later(AGAIN_SECONDS, lambda: self.refill(session))
        else:
            self.take_queue(session, found)
