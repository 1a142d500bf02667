"""A protocol like `whoami` whose lines can hang it.

`loop` is a loop for ever, `c` a call of C that does not give up the interpreter, `busy` half a
second of work, `short` 5 ms; after these, as after any other line, comes an answer.
"""

from __future__ import annotations

import re
import time

from host import Connection, hookimpl

BUSY_SECONDS = 0.5
SHORT_SECONDS = 0.005


class Stuck:
    @hookimpl
    def on_readable(self, connection: Connection) -> None:
        *lines, rest = ((connection.data or b"") + connection.read()).split(b"\n")
        connection.data = rest
        worker = connection.worker
        for line in lines:
            if line == b"loop":
                while True:
                    pass
            elif line == b"c":
                # Catastrophic backtracking: years, within one call that no thread interrupts.
                re.match("(a+)+$", "a" * 60 + "b")
            elif line == b"busy":
                until = time.monotonic() + BUSY_SECONDS
                while time.monotonic() < until:
                    pass
            elif line == b"short":
                time.sleep(SHORT_SECONDS)
            active = len(worker.connections)
            connection.write(b"%d %d %d %s\n" % (worker.slot, worker.pid, active, line))
