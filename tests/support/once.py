"""Protocols with conversations that can be held once only: names to register, a stop."""

from __future__ import annotations

from host import Connection, Host, hookimpl
from support.deviants import Right


class Names(Right):
    """A name can be registered once, over all connections."""

    def __init__(self) -> None:
        self.taken: set[bytes] = set()

    def reply(self, connection: Connection, line: bytes) -> None:
        connection.write(b"taken\n" if line in self.taken else b"yours\n")
        self.taken.add(line)


class Hasty(Names):
    """Registers what one read gives, as if it were a line."""

    @hookimpl
    def on_readable(self, connection: Connection) -> None:
        if data := connection.read():
            self.reply(connection, data.rstrip(b"\n"))


class Stops(Right):
    """Stops the host at a word, and takes nobody new from then on."""

    @hookimpl
    def on_host_start(self, host: Host) -> None:
        self.host = host
        self.stopped = False

    @hookimpl
    def on_accept(self, connection: Connection) -> None:
        super().on_accept(connection)
        if self.stopped:
            connection.close()

    def reply(self, connection: Connection, line: bytes) -> None:
        if line == b"stop":
            self.stopped = True
            connection.write(b"stopping\n")
            self.host.stop("a peer asked for it")
        else:
            super().reply(connection, line)
