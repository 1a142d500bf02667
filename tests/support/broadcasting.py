"""A protocol that sends everybody the same, all the time, and answers lines like `echo`.

A peer that begins with `listen` gets a block as often as it takes one; others get their lines back.
"""

from __future__ import annotations

from pydantic import BaseModel

from host import Connection, Worker, hookimpl


class Options(BaseModel):
    block_bytes: int = 10_000
    every_seconds: float = 0.01


class Broadcasting:
    def __init__(self, options: Options) -> None:
        self._block, self._every = bytes(options.block_bytes), options.every_seconds
        self._listeners: set[Connection] = set()

    @hookimpl
    def on_worker_start(self, worker: Worker) -> None:
        def send() -> None:
            for connection in self._listeners:
                if not connection.congested:
                    connection.write(self._block)
            worker.call_later(self._every, send)

        worker.call_later(self._every, send)

    @hookimpl
    def on_readable(self, connection: Connection) -> None:
        data = connection.read()
        if data == b"listen\n":
            self._listeners.add(connection)
        else:
            connection.write(data)

    @hookimpl
    def on_close(self, connection: Connection) -> None:
        self._listeners.discard(connection)
