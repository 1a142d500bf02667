"""A protocol that answers a number with so many bytes, in pieces of 64 KiB."""

from __future__ import annotations

from host import Connection, hookimpl


class Bulk:
    @hookimpl
    def on_readable(self, connection: Connection) -> None:
        line = connection.read().strip()
        if not line:
            return
        left = int(line)
        while left > 0 and not connection.closed:
            piece = bytes(min(left, 65_536))
            connection.write(piece)
            left -= len(piece)
