"""A connection, and the client that it belongs to once that has said who it is."""

from __future__ import annotations

from dataclasses import dataclass, field

from host import Connection
from host.plugins.framing import Receiver
from prefork_mqtt.session import Session


@dataclass(slots=True, eq=False)
class Client:
    """What the plugin knows of a connection.

    Attributes:
        connection: the connection.
        receiver: takes its packets.
        client_id: the client; "" before its CONNECT.
        username: the name that it has logged in with.
        admitted: whether it was let in, or turned away.
        session: its session; None before it is let in, and after it has left.
    """

    connection: Connection
    receiver: Receiver = field(init=False)
    client_id: str = ""
    username: str | None = None
    admitted: bool = False
    session: Session | None = None
