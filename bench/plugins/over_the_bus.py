"""Echo that goes over the bus to all workers and back: what `bench.capacity.hub` measures."""

from __future__ import annotations

from host import Connection, Message, Worker, hookimpl

TOPIC = "topic"


class OverTheBus:
    """Publishes what comes; the worker whose connection it is answers when it hears it."""

    @hookimpl
    def on_worker_start(self, worker: Worker) -> None:
        """Hear what any worker publishes."""
        self._worker = worker
        self._open: dict[bytes, Connection] = {}
        worker.bus.subscribe(TOPIC, self._on_message)

    @hookimpl
    def on_readable(self, connection: Connection) -> None:
        """Publish."""
        if data := connection.read():
            name = f"{self._worker.bus.member} {connection.id}\n".encode()
            self._open[name] = connection
            self._worker.bus.publish(TOPIC, name + data)

    def _on_message(self, message: Message) -> None:
        name, end, data = message.payload.partition(b"\n")
        if connection := self._open.get(name + end):
            connection.write(data)

    @hookimpl
    def on_close(self, connection: Connection) -> None:
        """Forget it."""
        self._open.pop(f"{self._worker.bus.member} {connection.id}\n".encode(), None)
