"""How clients come and go: names, sessions, subscriptions; what has to wait for the bus."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from host import Gauge, Worker
from host import Message as BusMessage
from prefork_mqtt.asking import ask
from prefork_mqtt.broker import Broker, retained_message
from prefork_mqtt.client import Client
from prefork_mqtt.options import Options
from prefork_mqtt.owners import Owners
from prefork_mqtt.packets import Connect, Refusal, RefusedError, connack, suback
from prefork_mqtt.session import Message, Sent, Session
from prefork_mqtt.stored import Record, StoredSessions
from prefork_mqtt.topics import FilterTree
from prefork_mqtt.wills import Wills

Take = Callable[[Client], object]


class Admission:
    """Lets clients in, and takes leave of them.

    Args:
        worker: the worker.
        options: the limits.
        stored: the sessions that persist.
        broker: what passes on messages.
        connected: shows how many clients this worker has.
        take: has the packets of a client taken that was held back.
    """

    def __init__(
        self,
        worker: Worker,
        options: Options,
        stored: StoredSessions,
        broker: Broker,
        connected: Gauge,
        take: Take,
    ) -> None:
        self._options, self._stored, self._broker = options, stored, broker
        self._connected, self._take = connected, take
        self._wills = Wills(worker, broker.publish)
        self._owners = Owners(worker, self._take_over)
        self._started = asyncio.Event()

    async def start(self) -> None:
        """Begin to let clients in, once it is known which sessions there are."""
        await self._stored.start()
        self._wills.start()
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
            self.forget_will(client)
            self._refuse(client, Refusal.UNAVAILABLE)
        except Exception:
            connection.close()
            await self.leave(client)
            raise
        client.admitted = True
        if connection.closed:
            await self.leave(client)
        else:
            client.go_on(self._take)

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
        client_id, will, client.will = client.client_id, client.will, None
        if will is not None:
            self._wills.execute(client_id, will)
        if self._broker.clients.get(client_id) is client:
            del self._broker.clients[client_id]
            self._connected.set(len(self._broker.clients))
        try:
            if session is not None:
                for name in session.filters:
                    self._hear_no_more(session, name)
                if not session.clean:
                    await session.settled()
                    await self._stored.save(session, left=time.time())
        finally:
            self._stored.let_go(client_id)
            self._owners.release(client_id)

    def forget_will(self, client: Client) -> None:
        """Forget what a client wanted to be published if it went without a word."""
        if client.will is not None:
            client.will = None
            self._wills.drop(client.client_id)

    async def subscribe(
        self, client: Client, packet_id: int, requests: list[tuple[str, int | None]]
    ) -> None:
        """Subscribe to filters, and answer; a QoS of None stands for a filter that is refused."""
        session = client.session
        assert session is not None
        granted: list[int | None] = []
        before = dict(session.filters)
        held_back: list[bytes] = []  # what is retained, and live: it follows the answer
        session.write = held_back.append
        for name, qos in requests:
            is_new = name not in session.filters
            has_room = not is_new or len(session.filters) < self._options.max_subscriptions
            if qos is not None and has_room and await self._hear(session, name, qos, replay=True):
                granted.append(qos)
            else:
                granted.append(None)
        is_saved = (
            session.clean or client.session is not session or await self._stored.save(session)
        )
        if client.session is session:
            if not is_saved:
                granted = [None] * len(granted)
                for name in session.filters.keys() - before.keys():
                    self._hear_no_more(session, name)
                session.filters = before
                for name, qos in before.items():
                    self._broker.tree.add(name, session, qos)
            session.write = client.connection.write
            client.connection.write(suback(packet_id, granted), *held_back)

    async def unsubscribe(self, client: Client, names: list[str], answer: bytes) -> None:
        """End subscriptions, and answer."""
        session = client.session
        assert session is not None
        for name in names:
            if session.filters.pop(name, None) is not None:
                self._hear_no_more(session, name)
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
        client.session = session = self._session(client, clean=connect.clean)
        self._broker.clients[client_id] = client
        self._connected.set(len(self._broker.clients))
        for name, qos in (record.filters if record else {}).items():
            if not await self._hear(session, name, qos):
                raise BlockingIOError("the bus is overloaded")
        if connect.will is not None and await self._wills.keep(client_id, connect.will):
            client.will = connect.will
        is_full = record is None and len(self._stored.known) >= self._options.max_sessions
        if client.will is not connect.will or (is_full and not connect.clean):
            raise RefusedError(Refusal.UNAVAILABLE)
        if connect.clean:
            client.connection.write(connack(0))
        elif await self._stored.save(session):
            await self._go_on(client, session, record)
        else:
            raise RefusedError(Refusal.UNAVAILABLE)

    def _session(self, client: Client, *, clean: bool) -> Session:
        """Return a new session of a client."""
        client_id = client.client_id
        session = Session(client_id, self._options, clean=clean)
        session.write = client.connection.write
        if not clean:
            session.behind, session.missed = True, {}  # what is live is in its queue, too
            session.forget = lambda message: self._stored.forget(client_id, message)
        return session

    async def _go_on(self, client: Client, session: Session, record: Record | None) -> None:
        """Have a session that persists go on, with what is in its queue."""

        def read(done: Callable[[bool], object]) -> None:
            def answered(found: dict[str, Message] | None) -> None:
                if found is not None and not client.connection.closed:
                    self._resume(client, session, record, found)
                done(found is not None)

            self._stored.read(client.client_id, answered)

        if not await ask(read):
            raise BlockingIOError("the bus is overloaded")

    def _resume(
        self, client: Client, session: Session, record: Record | None, found: dict[str, Message]
    ) -> None:
        """Tell a client that its session goes on, and send what is in its queue."""
        client.connection.write(connack(0, session_present=record is not None))
        if record is not None:
            session.forget_numbers()
            session.received.update(record.received)
            session.released.update(dict.fromkeys(record.released))
            for packet_id, key, qos in record.sent:
                if key in found:
                    session.sent[packet_id] = Sent(found[key], qos)
        session.go_on()
        self._broker.take_queue(session, found)

    async def _hear(self, session: Session, name: str, qos: int, *, replay: bool = False) -> bool:
        """Subscribe a session; what is retained is sent if it has asked for that."""
        matching: FilterTree[str] = FilterTree()
        matching.add(name, "", 0)

        def on_retained(message: BusMessage) -> None:
            retained = retained_message(message)
            client = self._broker.clients.get(session.client_id)
            is_there = client is not None and client.session is session
            if is_there and retained and matching.match(retained.topic):
                self._broker.deliver(session, retained, min(retained.qos, qos))

        def want(done: Callable[[bool], object]) -> None:
            def ready(is_done: bool) -> None:
                client = self._broker.clients.get(session.client_id)
                if not is_done or client is None or client.session is not session:
                    self._broker.hearing.drop(name)
                    done(False)
                    return
                if name in session.filters:  # it is wanted once for each filter
                    self._broker.hearing.drop(name)
                session.filters[name] = qos
                self._broker.tree.add(name, session, qos)
                done(True)

            self._broker.hearing.want(name, on_retained if replay else None, ready)

        return bool(await ask(want))

    def _hear_no_more(self, session: Session, name: str) -> None:
        self._broker.tree.remove(name, session)
        self._broker.hearing.drop(name)

    def _take_over(self, client_id: str) -> None:
        """Close a connection whose client has connected elsewhere [3.1.4]."""
        if (client := self._broker.clients.get(client_id)) is not None:
            client.connection.close()

    def _refuse(self, client: Client, refusal: Refusal) -> None:
        client.connection.write(connack(refusal))
        client.connection.close()
