"""Switches the collector off in its worker, and says what it would have had to find."""

from __future__ import annotations

import collections
import gc

from host import Connection, Worker, hookimpl


class Collecting:
    """Answers whatever is sent with the kinds of objects that only the collector frees."""

    @hookimpl
    def on_worker_start(self, worker: Worker) -> None:
        """Begin without any."""
        del worker
        gc.collect()
        gc.disable()

    @hookimpl
    def on_readable(self, connection: Connection) -> None:
        """Look for them."""
        connection.read()
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        gc.set_debug(0)
        kinds = collections.Counter(type(each).__qualname__ for each in gc.garbage)
        gc.garbage.clear()
        gc.collect()
        connection.write(repr(dict(kinds)).encode() + b"\n")
