"""The plugin: cuts packets, and does what each of them asks for."""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Coroutine
from functools import lru_cache, partial
from typing import Any

from host import Connection, Counter, Gauge, Host, Worker, hookimpl
from host.plugins.framing import FrameError, FrameSyntaxError, Receiver, VarintFramer
from prefork_mqtt.admission import Admission
from prefork_mqtt.broker import Broker
from prefork_mqtt.client import Client
from prefork_mqtt.options import Options
from prefork_mqtt.packets import (
    Kind,
    Refusal,
    RefusedError,
    connack,
    kind_of,
    numbered,
    read_connect,
    read_packet_id,
    read_publish,
    read_subscribe,
    read_unsubscribe,
)
from prefork_mqtt.rules import Rules, Specs
from prefork_mqtt.session import Session
from prefork_mqtt.stored import StoredSessions
from prefork_mqtt.sys_topics import publish_sys_topics

_CONFIRMATIONS = range(Kind.PUBACK, Kind.PUBCOMP + 1)
_MAX_CLIENT_ID_BYTES, _MOST_REMEMBERED = 256, 5000
_KEEP_ALIVE = 1.5
_SWEEP_SECONDS, _MOST_DRAIN_SECONDS = 60.0, 2.0
_MOST_RECEIVED = 1000
"""So many messages with QoS 2 a client may have sent without their PUBREL."""
_REASONS = ("overload", "slow", "queue_full", "not_allowed")


class Mqtt:
    """The protocol plugin."""

    hookspecs = Specs

    def __init__(self, options: Options) -> None:
        self._options = options
        self._fits = lru_cache(_MOST_REMEMBERED)(partial(_fits, options))
        self._rules: Rules
        self._received: Counter
        self._delivered: Counter
        self._dropped: Counter
        self._connected: Gauge
        self._worker: Worker
        self._broker: Broker
        self._admission: Admission

    @hookimpl
    def on_host_start(self, host: Host) -> None:
        """Bind the plugins that check logins and topics, and declare what is counted."""
        self._rules = Rules(host, self._options.logins, self._options.permissions)
        metrics = host.metrics
        self._received = metrics.counter("received_messages", "Messages that clients published.")
        self._delivered = metrics.counter("delivered_messages", "Messages that clients were sent.")
        self._connected = metrics.gauge("clients", "Clients that are connected.")
        self._dropped = metrics.counter(
            "dropped_messages", "Messages that were dropped.", {"reason": _REASONS}
        )

    @hookimpl
    def on_worker_start(self, worker: Worker) -> None:
        """Begin to hear the other workers."""
        self._worker, stored = worker, StoredSessions(worker)
        self._broker = Broker(worker, stored, self._dropped, self._delivered, self._connected)
        self._admission = Admission(worker, self._options, stored, self._broker)
        tasks = worker.asyncio
        tasks.create_task(self._admission.start())
        worker.call_every(_SWEEP_SECONDS, lambda: tasks.create_task(self._admission.expire()))
        if self._options.sys_seconds:
            numbers = {
                "clients/connected": self._connected.total,
                "messages/received": self._received.total,
                "messages/sent": self._delivered.total,
                "messages/dropped": lambda: sum(map(self._dropped.total, _REASONS)),
            }
            publish = partial(self._broker.publish, done=None)
            publish_sys_topics(worker, self._options.sys_seconds, numbers, publish)

    @hookimpl
    def on_accept(self, connection: Connection) -> None:
        """Wait for the CONNECT, for a while."""
        connection.data = client = Client(connection)
        framer = VarintFramer(before=1, longest=4, max_bytes=self._options.max_packet_bytes)
        handle, refuse = partial(self._handle, client), partial(self._refuse, client)
        client.receiver = Receiver(connection, framer, handle, refuse)
        connection.expire(self._options.connect_seconds)

    @hookimpl
    def on_readable(self, connection: Connection) -> None:
        """Take the packets that have come."""
        connection.data.receiver.feed(connection.read())

    @hookimpl
    def on_drain(self, connection: Connection, deadline: float) -> None:
        """Close, not all at the same moment: everybody connects again at once."""
        seconds = min(_MOST_DRAIN_SECONDS, (deadline - time.monotonic()) / 2)
        connection.call_later(max(0.0, random.uniform(0, seconds)), lambda _: connection.close())

    @hookimpl
    def on_close(self, connection: Connection) -> None:
        """Take leave of the client."""
        client, connection.data = connection.data, None  # else only the collector frees them
        if client is None:
            return
        client.receiver.end()
        if client.session is not None and client.admitted:
            self._worker.asyncio.create_task(self._admission.leave(client))

    def _refuse(self, client: Client, error: FrameError) -> None:
        """Close a connection [4.8], and say why if a client can be told that."""
        if isinstance(error, RefusedError):
            client.connection.write(connack(error.refusal))
        client.connection.close()

    def _handle(self, client: Client, packet: bytes) -> None:
        session, kind = client.session, kind_of(packet)
        if session is None:
            if kind != Kind.CONNECT:
                raise FrameSyntaxError("the first packet is no CONNECT")
            self._connect(client, packet)
        elif kind == Kind.PUBLISH:
            self._publish(client, session, packet)
        elif kind in _CONFIRMATIONS:
            self._confirm(client, session, kind, read_packet_id(packet))
        elif kind == Kind.SUBSCRIBE:
            self._subscribe(client, packet)
        elif kind == Kind.UNSUBSCRIBE:
            packet_id, names = read_unsubscribe(packet)
            answer = numbered(Kind.UNSUBACK, packet_id)
            self._wait_for(client, self._admission.unsubscribe(client, names, answer))
        elif kind == Kind.PINGREQ and len(packet) == 1:
            client.connection.write(bytes((Kind.PINGRESP << 4, 0)))
        elif kind == Kind.DISCONNECT and len(packet) == 1:
            self._admission.wills.drop(client.client_id)
            client.connection.close()
        else:
            raise FrameSyntaxError(f"a packet of type {kind} is out of place")

    def _connect(self, client: Client, packet: bytes) -> None:
        """Have a client let in, if it may."""
        connect, connection = read_connect(packet), client.connection
        client.client_id = connect.client_id or f"auto-{secrets.token_hex(16)}"
        client.username = connect.username
        if len(connect.client_id.encode()) > _MAX_CLIENT_ID_BYTES:
            raise RefusedError(Refusal.IDENTIFIER)
        login = connect.client_id, connect.username, connect.password
        if not self._rules.let_in(connection, login):
            raise RefusedError(Refusal.LOGIN)
        if connect.will is not None and not self._may(client, connect.will.topic, publishes=True):
            raise RefusedError(Refusal.NOT_AUTHORIZED)
        connection.expire(None)
        client.receiver.idle_seconds = connect.keep_alive * _KEEP_ALIVE or None
        client.receiver.hold()
        self._worker.asyncio.create_task(self._admission.let_in(client, connect))

    def _publish(self, client: Client, session: Session, packet: bytes) -> None:
        """Publish a message; it is confirmed when the bus has it [4.3]."""
        message, connection = read_publish(packet), client.connection
        _, _, qos, _, packet_id = message
        self._received.add()
        answer = numbered(Kind.PUBACK if qos == 1 else Kind.PUBREC, packet_id) if qos else b""
        if qos == 2 and packet_id in session.received:  # it has come before
            connection.write(answer)
        elif not self._may(client, message.topic, publishes=True):
            self._dropped.add(1, "not_allowed")  # and confirmed all the same [3.3.5]
            connection.write(answer)
        elif not qos:
            self._broker.publish(message, None, client)
        elif qos == 1:
            self._broker.publish(message, partial(_answer, client, session, answer), client)
        elif len(session.received) + len(session.receiving) >= _MOST_RECEIVED:
            connection.close()
        elif packet_id not in session.receiving:  # else it is answered when the first one is
            session.begin_receiving(packet_id)
            done = partial(_received, client, session, packet_id, answer)
            self._broker.publish(message, done, client)

    def _may(self, client: Client, topic: str, *, publishes: bool) -> bool:
        """Tell whether a client may publish to a topic, or subscribe with a filter."""
        return (
            len(topic) <= self._options.max_topic_bytes  # else it is not remembered
            and self._fits(topic)
            and self._rules.allow(client.client_id, client.username, topic, publishes=publishes)
        )

    def _confirm(self, client: Client, session: Session, kind: int, packet_id: int) -> None:
        if kind == Kind.PUBACK:
            session.confirm(packet_id)
        elif kind == Kind.PUBREL:
            session.received.discard(packet_id)
            client.connection.write(numbered(Kind.PUBCOMP, packet_id))
        elif kind == Kind.PUBREC:
            session.receive(packet_id)
        else:
            session.complete(packet_id)
        is_read = session.missed is not None
        if session.behind and not (session.window.waiting or session.clean or is_read):
            self._broker.refill(session)

    def _subscribe(self, client: Client, packet: bytes) -> None:
        packet_id, requests = read_subscribe(packet)
        granted = [
            (name, qos if self._may(client, name, publishes=False) else None)
            for name, qos in requests
        ]
        self._wait_for(client, self._admission.subscribe(client, packet_id, granted))

    def _wait_for(self, client: Client, coroutine: Coroutine[Any, Any, None]) -> None:
        """Hold a client's packets back until a coroutine is done."""
        client.receiver.hold()
        task = self._worker.asyncio.create_task(coroutine)
        task.add_done_callback(lambda _: client.receiver.release())


def _fits(options: Options, topic: str) -> bool:
    """Tell whether a topic or a filter is within the limits."""
    levels = topic.count("/") + 1
    return len(topic.encode()) <= options.max_topic_bytes and levels <= options.max_topic_levels


def _received(
    client: Client, session: Session, packet_id: int, answer: bytes, is_done: bool
) -> None:
    """Note what became of a message with QoS 2, also if the client has gone."""
    session.end_receiving(packet_id, is_done=is_done)
    _answer(client, session, answer, is_done)


def _answer(client: Client, session: Session, answer: bytes, is_done: bool) -> None:
    """Confirm a message that the bus has; else have the client send it again."""
    if client.session is not session:
        return
    if is_done:
        client.connection.write(answer)
    else:
        client.connection.close()
