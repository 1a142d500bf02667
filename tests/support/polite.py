"""A protocol like `whoami` that says `bye` when its worker drains, and leaves closing to the peer.

So nobody who closes on `bye` ever loses an answer. A line `die` ends the worker at once.
"""

from __future__ import annotations

import os

from host import Connection, hookimpl


class Polite:
    @hookimpl
    def on_readable(self, connection: Connection) -> None:
        *lines, rest = ((connection.data or b"") + connection.read()).split(b"\n")
        connection.data = rest
        worker = connection.worker
        for line in lines:
            if line == b"die":
                os._exit(3)
            active = len(worker.connections)
            connection.write(b"%d %d %d %s\n" % (worker.slot, worker.pid, active, line))

    @hookimpl
    def on_drain(self, connection: Connection) -> None:
        connection.write(b"bye\n")
