"""How clients come and go: names, sessions, subscriptions; what has to wait for the bus."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial

from host import Worker
from host.plugins.coordination import Obligations, Owners, ask
from prefork_mqtt.broker import Broker
from prefork_mqtt.client import Client
from prefork_mqtt.options import Options
from prefork_mqtt.packets import Connect, Publish, Refusal, RefusedError, connack, suback
from prefork_mqtt.session import RELEASED, Message, Sent, Session
from prefork_mqtt.stored import Record, StoredSessions


class Admission:
    """Lets clients in, and takes leave of them.

    Args:
        worker: the worker.
        options: the limits.
        stored: the sessions that persist.
        broker: what passes on messages.

    Attributes:
        wills: what is published for clients that go without a word.
    """

    def __init__(
        self, worker: Worker, options: Options, stored: StoredSessions, broker: Broker
    ) -> None:
        self._options, self._stored, self._broker = options, stored, broker
        self.wills = Obligations(worker, "mqtt-wills", self._publish_will)
        self._owners = Owners(worker, "mqtt-client", self._take_over)
        self._started = asyncio.Event()

    async def start(self) -> None:
        """Begin to let clients in, once it is known which sessions there are."""
        await self._stored.table.start()
        self.wills.start()
        self._started.set()

    async def expire(self) -> None:
        """Remove sessions whose clients have been away for too long."""
        await self._stored.expire(self._options.session_expiry_seconds, self._owners.if_free)

    async def let_in(self, client: Client, connect: Connect) -> None:
        """Let a client in, or tell it why not. Its packets are held back meanwhile."""
        client_id, connection = client.client_id, client.connection
        if not await self._take_name(client):
            self._refuse(client, Refusal.UNAVAILABLE)
            return
        if connection.closed:
            self._owners.release(client_id)
            return
        try:
            await self._open(client, connect)
        except (RefusedError, BlockingIOError):
            self.wills.drop(client_id)
            self._refuse(client, Refusal.UNAVAILABLE)
        except Exception:
            connection.close()
            await self.leave(client)
            raise
        client.admitted = True
        if client.connection.closed:
            await self.leave(client)
        client.receiver.release()

    async def _take_name(self, client: Client) -> bool:
        """Own the name of a client; False if that takes too long, or is not its turn any more."""
        seconds = self._options.takeover_seconds
        try:
            async with asyncio.timeout(seconds):
                await self._started.wait()
        except TimeoutError:
            return False
        return await self._owners.take(client.client_id, seconds)

    async def leave(self, client: Client) -> None:
        """Take leave of a client whose connection has ended: it was let in, or nearly."""
        session, client.session = client.session, None
        client_id = client.client_id
        self.wills.execute(client_id)
        try:
            if session is not None:
                self._broker.leave(client, session)
            if session is not None and not session.clean:
                await session.settled.wait()
                await self._stored.save(session, left=time.time())
        finally:
            if session is not None:
                session.window.clear()
            self._stored.table.let_go(client_id)
            self._owners.release(client_id)

    async def subscribe(
        self, client: Client, packet_id: int, requests: list[tuple[str, int | None]]
    ) -> None:
        """Subscribe to filters, and answer; a QoS of None stands for a filter that is refused."""
        session = client.session
        assert session is not None
        granted: list[int | None] = []
        before = dict(session.filters)
        held_back: list[bytes] = []  # what is retained, and live: it follows the answer
        room = self._options.max_queued_bytes

        def hold_back(data: bytes) -> None:
            nonlocal room
            held_back.append(data)
            if (room := room - len(data)) < 0:
                client.connection.close()

        session.write = hold_back
        for name, qos in requests:
            is_new = name not in session.filters
            has_room = not is_new or len(session.filters) < self._options.max_subscriptions
            replay = partial(self._broker.replay, session, qos or 0)
            is_granted = (
                qos is not None
                and has_room
                and await ask(self._broker.topics.add, session, name, qos, replay)
            )
            granted.append(qos if is_granted else None)
        is_saved = (
            session.clean or client.session is not session or await self._stored.save(session)
        )
        if client.session is session:
            if not is_saved:
                granted = [None] * len(granted)
                self._broker.topics.restore(session, before)
            session.write = client.connection.write
            client.connection.write(suback(packet_id, granted), *held_back)

    async def unsubscribe(self, client: Client, names: list[str], answer: bytes) -> None:
        """End subscriptions, and answer."""
        session = client.session
        assert session is not None
        for name in names:
            self._broker.topics.remove(session, name)
        if not session.clean:
            await self._stored.save(session)
        client.connection.write(answer)

    async def _open(self, client: Client, connect: Connect) -> None:
        """Give a client the session that it has had, or a new one.

        Raises:
            RefusedError: there are too many sessions, or wills.
            BlockingIOError: the bus is overloaded.
        """
        client_id = client.client_id
        record = await self._stored.load(client_id)
        if record is not None and connect.clean:
            await self._stored.remove(client_id)
            record = None
        session = self._session(client, clean=connect.clean)
        self._broker.join(client, session)
        for name, qos in (record.filters if record else {}).items():
            if not await ask(self._broker.topics.add, session, name, qos, None):
                raise BlockingIOError("the bus is overloaded")
        will = connect.will
        is_kept = will is None or await self.wills.keep(client_id, will.pack())
        is_full = record is None and len(self._stored.table.copy) >= self._options.max_sessions
        if not is_kept or (is_full and not connect.clean):
            raise RefusedError(Refusal.UNAVAILABLE)
        if connect.clean:
            _greet(client, session)
        elif await self._stored.save(session):
            await self._go_on(client, session, record)
        else:
            raise RefusedError(Refusal.UNAVAILABLE)

    def _session(self, client: Client, *, clean: bool) -> Session:
        """Return a new session of a client."""
        client_id = client.client_id
        session = Session(client_id, self._options, clean=clean)
        if not clean:
            session.behind, session.missed = True, {}  # what is live is in its queue, too
            session.forget = partial(self._stored.queues.remove, client_id)
        return session

    async def _go_on(self, client: Client, session: Session, record: Record | None) -> None:
        """Have a session that persists go on, with what is in its queue."""

        def resume(done: Callable[[bool], object], found: dict[str, Message] | None) -> None:
            if found is not None and not client.connection.closed:
                self._resume(client, session, record, found)
            done(found is not None)

        if not await ask(lambda done: self._stored.read(client.client_id, partial(resume, done))):
            raise BlockingIOError("the bus is overloaded")

    def _resume(
        self, client: Client, session: Session, record: Record | None, found: dict[str, Message]
    ) -> None:
        """Tell a client that its session goes on, and send what is in its queue."""
        _greet(client, session, session_present=record is not None)
        if record is not None:
            session.received.update(record.received)
            sent = {
                packet_id: Sent(found[key], qos) if qos else RELEASED
                for packet_id, key, qos in record.sent
                if key in found or not qos
            }
            session.resume(sent, is_complete=bool(record.left))  # else its worker has died
        self._broker.take_queue(session, found)

    def _publish_will(self, packed: bytes, done: Callable[[bool], object]) -> None:
        self._broker.publish(Publish.unpack(packed), done)

    def _take_over(self, client_id: str) -> None:
        """Close a connection whose client has connected elsewhere [3.1.4]."""
        if (client := self._broker.clients.get(client_id)) is not None:
            if client.connection.closed:  # and does not read what is queued for it
                client.connection.abort()
            client.connection.close()

    def _refuse(self, client: Client, refusal: Refusal) -> None:
        client.connection.write(connack(refusal))
        client.connection.close()


def _greet(client: Client, session: Session, *, session_present: bool = False) -> None:
    """Let a client in; what is live reaches it from now on, since this comes first [3.2.0]."""
    client.connection.write(connack(0, session_present=session_present))
    session.write = client.connection.write
