"""Echo (RFC 862): send back whatever arrives."""

from __future__ import annotations

from host import Connection, hookimpl


class Echo:
    """A protocol without state: the smallest one that there is."""

    @hookimpl
    def on_readable(self, connection: Connection) -> None:
        """Send back what has arrived."""
        connection.write(connection.read())
