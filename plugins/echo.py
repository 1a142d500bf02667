"""Echo (RFC 862): send back whatever arrives, over connections and as datagrams."""

from __future__ import annotations

from host import Connection, Datagram, hookimpl


class Echo:
    """A protocol without state: the smallest one that there is."""

    @hookimpl
    def on_readable(self, connection: Connection) -> None:
        """Send back what has arrived."""
        connection.write(connection.read())

    @hookimpl
    def on_datagram(self, datagram: Datagram) -> None:
        """Send it back."""
        datagram.reply(datagram.data)
