"""A connection, and the client that it belongs to once that has said who it is."""

from __future__ import annotations

from collections.abc import Callable

from host import Connection
from host.plugins.framing import VarintFramer
from prefork_mqtt.packets import Publish
from prefork_mqtt.session import Session


class Client:
    """What the plugin knows of a connection.

    Args:
        connection: the connection.
        max_packet_bytes: the longest packet.

    Attributes:
        framer: cuts its packets.
        client_id: the client; "" before its CONNECT.
        username: the name that it has logged in with.
        admitted: whether it was let in, or turned away.
        session: its session; None before it is let in, and after it has left.
        will: what is published if it goes without a DISCONNECT.
        seconds: how long nothing may come from it; None for ever.
    """

    __slots__ = (
        "_holds",
        "admitted",
        "client_id",
        "connection",
        "framer",
        "seconds",
        "session",
        "username",
        "will",
    )

    def __init__(self, connection: Connection, max_packet_bytes: int) -> None:
        self.connection = connection
        self.framer = VarintFramer(before=1, longest=4, max_bytes=max_packet_bytes)
        self.client_id, self.admitted = "", False
        self.username: str | None = None
        self.session: Session | None = None
        self.will: Publish | None = None
        self.seconds: float | None = None
        self._holds = 0

    @property
    def held(self) -> bool:
        """Whether its packets wait."""
        return self._holds > 0

    def hold(self) -> None:
        """Let its packets wait until `go_on` has been called as often."""
        self._holds += 1
        if self._holds == 1:
            self.connection.pause_reading()
            self.connection.expire(None)

    def go_on(self, take: Callable[[Client], object]) -> None:
        """Have its packets taken again; `take` is called with those that have come."""
        self._holds -= 1
        if not self._holds and not self.connection.closed:
            self.connection.resume_reading()
            self.connection.expire(self.seconds)
            self.connection.call_next_turn(lambda _: take(self))
