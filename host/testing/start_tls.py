"""TLS that begins in the middle of a fake connection: nothing is encrypted, but all else is so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from host.interfaces import CloseReason, TlsInfo
from host.testing.wire import Wire
from host.worker.context import ListenerContext
from host.worker.start_tls import handshaking, has_tls_already

_HANDSHAKE_RECORD = b"\x16"


class FakeHandshakes:
    """The handshakes of one worker that are under way, by the number of their wire.

    Args:
        wires: the wires of its connections.
    """

    def __init__(self, wires: dict[int, Wire]) -> None:
        self._wires = wires
        self._under_way: dict[int, tuple[str, ListenerContext]] = {}

    def starting(self, plain: ListenerContext) -> ListenerContext:
        """Return a context whose connections can begin TLS here."""

        def prepare(connection: Any, name: str, unread: bytes) -> Callable[[], object]:
            return lambda: self._begin(connection, plain, name, unread)

        plain.start_tls = prepare
        return plain

    def name(self, fd: int) -> str | None:
        """Return the table that a connection waits for a handshake with; None if it does not."""
        found = self._under_way.get(fd)
        return found and found[0]

    def finish(self, connection: Any, info: TlsInfo) -> None:
        """Have a connection go on with TLS.

        Raises:
            ValueError: it does not wait for that.
        """
        found = self._under_way.pop(connection.fileno(), None)
        if found is None:
            raise ValueError("no handshake is under way: its plugin has not called start_tls()")
        connection.go_on_with_tls(replace(found[1], start_tls=has_tls_already), info)

    def look(self, connection: Any) -> None:
        """End a connection whose peer has sent something else than its part of a handshake."""
        wire = self._wires.get(connection.fileno())
        if wire is None or self.name(connection.fileno()) is None:
            return
        if wire.finished or wire.broken:
            connection.give_up(CloseReason.TRUNCATED)
        elif wire.arrived[:1] not in (b"", _HANDSHAKE_RECORD):
            connection.give_up(CloseReason.TLS_FAILED)
        wire.arrived.clear()

    def _begin(self, connection: Any, plain: ListenerContext, name: str, unread: bytes) -> None:
        fd = connection.fileno()
        self._under_way[fd] = name, plain
        self._wires[fd].arrived[:0] = unread
        close = plain.close

        def end_and_close(number: int) -> None:
            self._under_way.pop(number, None)
            close(number)

        connection.use(replace(handshaking(plain), close=end_and_close))
        plain.loop.call_from_thread(lambda: self.look(connection))
