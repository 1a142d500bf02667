"""A protocol that answers each line with who serves it: `SLOT PID ACTIVE LINE`.

It has no on_drain: its connections live until their peers close them.
"""

from __future__ import annotations

from host import Connection, hookimpl


class Whoami:
    @hookimpl
    def on_readable(self, connection: Connection) -> None:
        *lines, rest = ((connection.data or b"") + connection.read()).split(b"\n")
        connection.data = rest
        worker = connection.worker
        for line in lines:
            active = len(worker.connections)
            connection.write(b"%d %d %d %s\n" % (worker.slot, worker.pid, active, line))
