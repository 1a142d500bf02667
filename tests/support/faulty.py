"""A protocol that serves like `whoami` and misbehaves in one hook, in a way that options choose.

In on_accept it does so for every second connection of a worker, in on_readable when a line says
`poison`, in all other hooks each time.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel

from host import (
    ChildExit,
    CloseReason,
    Connection,
    Host,
    Listener,
    Worker,
    WorkerView,
    hookimpl,
)


class Options(BaseModel):
    hook: str
    how: Literal["raise", "exit", "os_exit", "hang", "abort", "kill"] = "raise"


class Faulty:
    def __init__(self, options: Options) -> None:
        self._hook, self._how = options.hook, options.how
        self._accepted = 0

    def _misbehave(self, hook: str) -> None:
        if hook != self._hook:
            return
        match self._how:
            case "raise":
                raise RuntimeError(f"misbehaving in {hook}")
            case "exit":
                sys.exit(3)
            case "os_exit":
                os._exit(3)
            case "hang":
                while True:
                    time.monotonic()
            case "abort":
                os.abort()
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)

    @hookimpl
    def on_host_start(self, host: Host) -> None:
        self._misbehave("on_host_start")

    @hookimpl
    def on_worker_start(self, worker: Worker) -> None:
        self._misbehave("on_worker_start")

    @hookimpl
    def on_accept(self, connection: Connection) -> None:
        self._accepted += 1
        if self._accepted % 2 == 0:
            self._misbehave("on_accept")

    @hookimpl
    def on_readable(self, connection: Connection) -> None:
        *lines, rest = ((connection.data or b"") + connection.read()).split(b"\n")
        connection.data = rest
        worker = connection.worker
        for line in lines:
            if b"poison" in line:
                # Tells the client that it is about to happen; sent at once.
                connection.write(b"%d %d\n" % (worker.slot, worker.pid))
                connection.flush()
                self._misbehave("on_readable")
            else:
                active = len(worker.connections)
                connection.write(b"%d %d %d %s\n" % (worker.slot, worker.pid, active, line))

    @hookimpl
    def on_close(self, connection: Connection, reason: CloseReason) -> None:
        self._misbehave("on_close")

    @hookimpl
    def on_drain(self, connection: Connection, deadline: float) -> None:
        self._misbehave("on_drain")

    @hookimpl
    def on_worker_stop(self, worker: Worker) -> None:
        self._misbehave("on_worker_stop")

    @hookimpl
    def on_child_exit(self, child: ChildExit) -> None:
        self._misbehave("on_child_exit")

    @hookimpl
    def choose_worker(self, listener: Listener, workers: Sequence[WorkerView]) -> WorkerView | None:
        self._misbehave("choose_worker")
        return None
