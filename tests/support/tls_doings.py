"""A protocol that does on a line's word what a connection can do, for clients with TLS."""

from __future__ import annotations

import tempfile

from host import Connection, Worker, hookimpl

MIB = 1 << 20


class TlsDoings:
    """Does what the first line of a connection says; what follows it is for that alone."""

    @hookimpl
    def on_worker_start(self, worker: Worker) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed when the worker stops
        for _ in range(4):
            self._file.write(bytes(range(256)) * (MIB // 256))
        self._file.flush()
        self._into: set[str] = set()

    @hookimpl
    def on_worker_stop(self, worker: Worker) -> None:
        self._file.close()

    @hookimpl
    def on_readable(self, connection: Connection) -> None:
        if connection.id in self._into:
            buffer = bytearray(1000)
            size = connection.read_into(buffer)
            connection.write(buffer[:size])
            return
        word, _, rest = connection.read().partition(b"\n")
        match word:
            case b"file":
                connection.write(b"before")
                connection.send_file(self._file, 100, 3 * MIB)
                connection.write(b"after")
            case b"into":
                self._into.add(connection.id)
                connection.write(b"go")
            case b"abort":
                connection.abort()
            case b"pause":
                connection.pause_reading()
                connection.write(b"paused")
                connection.call_later(0.2, self._go_on)
            case b"writable":
                connection.write(bytes(2 * MIB))
                connection.call_when_writable(lambda one: one.write(b"writable"))
            case b"much":
                connection.write(bytes(4 * MIB))
            case b"pieces":
                for _ in range(64):
                    connection.write(bytes(MIB // 4))
            case _:
                connection.write(word + rest)

    @staticmethod
    def _go_on(connection: Connection) -> None:
        connection.write(b"resumed")
        connection.resume_reading()

    @hookimpl
    def on_close(self, connection: Connection) -> None:
        self._into.discard(connection.id)
