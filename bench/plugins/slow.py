"""Echo that says which worker it is, and has a slow handler: the host's side of workload (i)."""

from __future__ import annotations

import time

from host import Connection, Worker, hookimpl

SLOW_SECONDS = 0.1
"""Twice as long as a claim may take before a worker is suspended."""


class Slow:
    """The first byte of an answer is the slot; a message that begins with `S` blocks the worker."""

    @hookimpl
    def on_worker_start(self, worker: Worker) -> None:
        """Learn the slot."""
        self._slot = b"%d" % worker.slot

    @hookimpl
    def on_readable(self, connection: Connection) -> None:
        """Answer, perhaps late."""
        data = connection.read()
        if data[:1] == b"S":
            time.sleep(SLOW_SECONDS)
        connection.write(self._slot + data[1:])
