"""Protocols that are wrong in what only real hosts, or faults of them, bring to light.

What is right is: each line comes back in capitals.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from host import Connection, Worker, hookimpl
from support.deviants import Right


class Waits(Right):
    """Reads on until a line is whole, and lets nobody else have a turn meanwhile."""

    @hookimpl
    def on_readable(self, connection: Connection) -> None:
        data = connection.read()
        while data and not data.endswith(b"\n"):
            data += connection.read()
        self.answer(connection, data)


class Blocks(Right):
    """Calls what takes minutes."""

    def reply(self, connection: Connection, line: bytes) -> None:
        time.sleep(600)


class IgnoresHalfClose(Right):
    """Answers a little later, and does not see that a peer has finished sending meanwhile."""

    def reply(self, connection: Connection, line: bytes) -> None:
        connection.worker.call_later(0.001, lambda: connection.write(line.upper() + b"\n"))


class LosesTheLine(Right):
    """Forgets the beginning of a line when its worker goes away."""

    @hookimpl
    def on_drain(self, connection: Connection) -> None:
        super().on_accept(connection)


class CutsShort(Right):
    """Says something that is no goodbye when its worker goes away."""

    @hookimpl
    def on_drain(self, connection: Connection) -> None:
        connection.write(b"ERROR\n")
        connection.close()


class LeavesALock(Right):
    """Has a file that only one worker may have, and removes it only if it ends in peace."""

    @hookimpl
    def on_worker_start(self, worker: Worker) -> None:
        self.path = Path(os.environ["CHAOTIC_FOLDER"], str(os.getppid()))
        self.path.touch(exist_ok=False)

    @hookimpl
    def on_worker_stop(self) -> None:
        self.path.unlink()


class LeaksDescriptors(Right):
    """Opens a file for each connection, and leaves it open."""

    @hookimpl
    def on_accept(self, connection: Connection) -> None:
        super().on_accept(connection)
        os.open("/dev/null", os.O_RDONLY)


class NeedsDescriptors(Right):
    """Opens a file for each line, and answers with an error when that cannot be."""

    def reply(self, connection: Connection, line: bytes) -> None:
        try:
            os.close(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            connection.write(b"ERROR\n")
        else:
            super().reply(connection, line)
