"""What is kept of a connection, and how a command is written down."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from host import Connection
from host.plugins.framing import RespFramer
from prefork_resp.replies import NULLS

Words = Sequence[bytes]
"""The words of a request, the command's name first."""
Function = Callable[["Session", Words], bytes]
"""Carries out a command; returns the whole reply, or raises CommandError."""
ANY_NUMBER = 2**31


class Command(NamedTuple):
    """A command.

    Attributes:
        fewest: how many words a request has at least, the name included.
        most: how many it has at most.
        function: carries it out.
        keys: how many keys follow the name: 0, 1, or -1 for all that follows.
    """

    fewest: int
    most: int
    function: Function
    keys: int = 0


Table = Mapping[bytes, Command]
"""Commands by their names, in capitals."""
QuickTable = Mapping[bytes, tuple[int, int, Function]]
"""The first three attributes of commands by their names, in capitals and in small letters."""


class Session:
    """A client.

    Args:
        connection: its connection.
        number: its number, which no other client of the host has.
        framer: cuts its requests.
        table: the commands that it may give.

    Attributes:
        version: of the protocol, 2 or 3.
        null: what stands for nothing in that version.
        name: what it calls itself.
        channels, patterns: what it has subscribed to; the values mean nothing, the order does.
        ahead: the requests that were cut and are not answered yet, while some are answered.
        left: those that were put aside until the replies so far are on their way.
        quits: whether it is closed as soon as the replies so far are written.
        ending: whether it is closed as soon as all that has come is answered.
    """

    __slots__ = (
        "ahead",
        "channels",
        "connection",
        "ending",
        "framer",
        "left",
        "name",
        "null",
        "number",
        "patterns",
        "quits",
        "table",
        "version",
    )

    def __init__(
        self, connection: Connection, number: int, framer: RespFramer, table: QuickTable
    ) -> None:
        self.connection, self.number, self.framer, self.table = connection, number, framer, table
        self.name = b""
        self.channels: dict[bytes, None] = {}
        self.patterns: dict[bytes, None] = {}
        self.ahead: Iterator[Words] = iter(())
        self.left: list[Words] = []
        self.quits = self.ending = False
        self.speak(2)

    @property
    def only_listens(self) -> bool:
        """Whether what is sent to it could be taken for a reply: only RESP3 tells them apart."""
        return self.version == 2 and bool(self.channels or self.patterns)

    def speak(self, version: int) -> None:
        """Go on in this version of the protocol."""
        self.version, self.null = version, NULLS[version]

    def pause(self) -> None:
        """Put the requests that are ahead aside: the host looks at the connection before them."""
        self.left = list(self.ahead)

    def quit(self) -> None:
        """Answer no more requests than the present one, and close."""
        self.pause()
        self.left = []
        self.quits = True
