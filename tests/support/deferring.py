"""A protocol whose every line asks for one of the calls that act later, or end a connection."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from host import Connection, Host, Worker, hookimpl


class Deferring:
    def __init__(self) -> None:
        self._calls: dict[str, Callable[[Connection, str], object]] = {
            "abort": lambda connection, _: (
                connection.write(b"half an answer"),
                connection.abort(),
            ),
            "crash": lambda _connection, _words: os._exit(1),
            "expire": lambda connection, words: connection.expire(float(words)),
            "file": self._file,
            "later": lambda connection, words: connection.call_later(
                float(words), lambda each: each.write(b"late\n")
            ),
            "lost": lambda connection, _: self._answer(connection),
            "origin": lambda connection, _: connection.write(f"{connection.origin}\n".encode()),
            "single": lambda connection, words: connection.write(bytes(int(words))),
            "stop": lambda connection, words: self._host.stop(words),
            "thread": self._thread,
            "twice": lambda connection, words: connection.write(
                bytes(int(words)), bytes(int(words))
            ),
        }

    @hookimpl
    def on_host_start(self, host: Host) -> None:
        self._host = host

    @hookimpl
    def on_worker_start(self, worker: Worker) -> None:
        self._worker = worker

    @hookimpl
    def on_child_exit(self) -> None:
        self._host.stop("enough is enough")

    @hookimpl
    def on_readable(self, connection: Connection) -> None:
        buffer = bytearray(4096)
        size = connection.read_into(buffer)
        for line in buffer[:size].decode().splitlines():
            word, _, rest = line.partition(" ")
            self._calls[word](connection, rest)

    def _file(self, connection: Connection, path: str) -> None:
        connection.write(b"begin ")
        with open(path, "rb") as file:
            connection.send_file(file)
        connection.write(b" end")

    def _thread(self, connection: Connection, _words: str) -> None:
        connection.begin_answer()
        self._answer(connection, connection.end_answer)

    def _answer(
        self, connection: Connection, answered: Callable[[], object] = lambda: None
    ) -> None:
        """Have a thread answer once the peer has finished sending, as far as it has."""

        def answer() -> None:
            connection.write(b"from a thread")
            answered()

        def wait() -> None:
            self._worker.call_from_thread(lambda: look(100))

        def look(turns: int) -> None:
            if connection.eof or connection.closed or not turns:
                answer()
            else:
                self._worker.call_later(0.02, lambda: look(turns - 1))

        threading.Thread(target=wait).start()
