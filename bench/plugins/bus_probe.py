"""Workers that publish and hear as a client tells them: what `bench.bus` measures.

Each line of a client is a command:

- `hear`: note how long each message takes that any worker publishes from now on;
- `publish COUNT SECONDS BURST`: publish so many messages, a burst of them every so many seconds,
  and say `done`;
- `report`: answer with the times in seconds, as JSON, and forget them;
- `left`: answer with the time when the next member has left;
- `join`: be sent what others say;
- `@…`: say it to all who have joined, on all workers.
"""

from __future__ import annotations

import json
import time
from functools import partial

from host import BUS_LEFT, Connection, Message, Worker, hookimpl

TIMES, TALK = "times", "talk"


class BusProbe:
    """Publishes times, and what clients say."""

    @hookimpl
    def on_worker_start(self, worker: Worker) -> None:
        """Hear what clients say."""
        self._worker = worker
        self._took: list[float] = []
        self._joined: set[Connection] = set()
        self._rest: dict[Connection, bytes] = {}
        worker.bus.subscribe(TALK, self._on_talk)

    @hookimpl
    def on_readable(self, connection: Connection) -> None:
        """Do what each line asks for."""
        *lines, rest = (self._rest.pop(connection, b"") + connection.read()).split(b"\n")
        self._rest[connection] = rest
        for line in lines:
            if line.startswith(b"@"):
                self._worker.bus.publish(TALK, line + b"\n")
                continue
            command, *words = line.decode().split()
            if command == "join":
                self._joined.add(connection)
            elif command == "hear":
                self._worker.bus.subscribe(TIMES, self._on_time, partial(connection.write, b"ok\n"))
            elif command == "publish":
                self._publish(connection, int(words[0]), float(words[1]), int(words[2]))
            elif command == "report":
                connection.write(json.dumps(self._took).encode() + b"\n")
                self._took.clear()
            elif command == "left":
                self._worker.bus.subscribe(BUS_LEFT, partial(self._on_left, connection))

    def _publish(self, connection: Connection, left: int, pause: float, burst: int) -> None:
        if left <= 0:
            connection.write(b"done\n")
            return
        for _ in range(burst):
            self._worker.bus.publish(TIMES, f"{time.monotonic():.9f}".encode().ljust(64))
        more = partial(self._publish, connection, left - burst, pause, burst)
        self._worker.call_later(pause, more)

    def _on_time(self, message: Message) -> None:
        self._took.append(time.monotonic() - float(message.payload))

    def _on_left(self, connection: Connection, _: Message) -> None:
        connection.write(f"{time.monotonic():.9f}\n".encode())

    def _on_talk(self, message: Message) -> None:
        for connection in self._joined:
            connection.write(message.payload)

    @hookimpl
    def on_close(self, connection: Connection) -> None:
        """Forget it."""
        self._joined.discard(connection)
        self._rest.pop(connection, None)
