"""A connection without a socket: the host's own, with a wire that the test holds the end of."""

from __future__ import annotations

from typing import cast

from host.interfaces import CloseReason, Listener, ProxyHeader, TlsInfo
from host.testing.origins import AGREED, Address, origin_of
from host.testing.proxy_header import Version
from host.testing.wire import Wire
from host.testing.worker import FakeWorker
from host.worker.connection import SocketConnection
from host.worker.context import ListenerContext

PLAIN_LISTENER = Listener(0, "tcp://127.0.0.1:7000", "test")


class FakeConnection(SocketConnection):
    """A connection whose peer is the test.

    Plugins find it to be a `host.Connection` in every respect, since all but the wire is the
    host's own code: it queues, holds back, ends and tells of it as in a real worker.

    Made by a `Harness` it is served by the plugins of that harness. Made by itself it is served
    by nobody, and the test calls the plugin's functions:

        connection = FakeConnection(b"hello")
        echo.on_readable(connection)
        assert connection.take() == b"hello"

    What it has beyond `host.Connection` is the peer's side.

    Args:
        received: what the peer has sent already.
        worker: the worker that it belongs to.
        address: the client's address; a text for a Unix socket; or all that is known of the client.
        tls: whether it has come over TLS, or what was agreed on with it.
        proxy: the version of the PROXY protocol in which a proxy has named this client, or all that
            the proxy has said.
        context: what the connections of a harness's listener share; it has the plugins' hooks.
    """

    __slots__ = ("_wire",)

    def __init__(
        self,
        received: bytes = b"",
        *,
        worker: FakeWorker | None = None,
        address: Address = ("127.0.0.1", 50_211),
        tls: bool | TlsInfo = False,
        proxy: Version | ProxyHeader | None = None,
        context: ListenerContext | None = None,
    ) -> None:
        address = origin_of(address, tls, proxy)
        worker = worker or FakeWorker()
        self._wire = wire = Wire(worker.loop.number())
        wire.announces = context is not None
        wire.arrived += received
        worker.loop.attach(wire.fileno(), wire)
        worker.wires[wire.fileno()] = wire
        context = context or worker.context(PLAIN_LISTENER)
        super().__init__(wire.fileno(), address, worker.serial(), context)
        worker.open_connections.open.add(self)
        self.watch()

    @property
    def fake(self) -> FakeWorker:
        """The worker, with what only tests may call."""
        return cast("FakeWorker", self.worker)

    def feed(self, data: bytes) -> None:
        """Have the peer send `data`."""
        if self._wire.finished:
            raise ValueError("the peer has finished sending")
        self._wire.arrived += data
        self._turn()

    @property
    def awaits_tls(self) -> str | None:
        """The name that the plugin has given to `start_tls`, until the handshake is done."""
        return self.fake.handshakes.name(self.fileno())

    def shake_hands(self, info: TlsInfo = AGREED) -> None:
        """Have the peer do the handshake that the plugin has asked for; `info` is agreed on.

        Until then what the peer feeds is plain text, which ends the connection.

        Raises:
            ValueError: the plugin has not called `start_tls`.
        """
        self._turn()
        self.fake.handshakes.finish(self, info)
        self._turn()

    def feed_eof(self) -> None:
        """Have the peer finish sending; it still takes what is sent to it."""
        self._wire.finished = True
        self._turn()

    def reset(self) -> None:
        """Have the peer reset the connection."""
        self._wire.broken = True
        self._wire.arrived.clear()
        self._wire.sent.clear()
        self._turn()

    @property
    def sent(self) -> bytes:
        """What was sent to the peer and it has not taken yet."""
        self._turn()
        return bytes(self._wire.sent)

    def take(self, limit: int | None = None) -> bytes:
        """Have the peer take up to `limit` bytes (None: all) of what was sent to it."""
        self._turn()
        sent = self._wire.sent
        data = bytes(sent[:limit])
        del sent[:limit]
        self._turn()
        return data

    @property
    def window(self) -> int | None:
        """How many bytes are sent that the peer does not take, as in full socket buffers.

        None, which it is at first, for any number. With 0 nothing at all is sent.
        """
        return self._wire.window

    @window.setter
    def window(self, size: int | None) -> None:
        self._wire.window = size
        self._turn()

    @property
    def unread(self) -> int:
        """How many bytes the peer has sent that the plugin has not read."""
        self._turn()
        return len(self._wire.arrived)

    @property
    def was_reset(self) -> bool:
        """Whether the host has reset the connection: the peer has lost what it had not taken."""
        return self._wire.was_reset

    @property
    def reason(self) -> CloseReason | None:
        """Why the connection has ended; None while it is open."""
        self._turn()
        endings = self.fake.endings.get(self)
        return endings[0] if endings else None

    def _turn(self) -> None:
        self.fake.handshakes.look(self)
        if not self._wire.announces:  # nobody's handler has run that it could be followed up after
            self.follow_up()
        self.fake.run()
