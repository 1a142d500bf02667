"""A protocol in which all clients of all hosts hear each line that one of them sends."""

from __future__ import annotations

from host import Connection, Message, Worker, hookimpl

TOPIC = "shouted"


class Shouting:
    """A client is welcomed when its worker hears the topic: from then on it misses no line."""

    def __init__(self) -> None:
        self.hears = False

    @hookimpl
    def on_worker_start(self, worker: Worker) -> None:
        def hear(message: Message) -> None:
            for connection in worker.connections:
                connection.write(message.payload)

        def welcome_all() -> None:
            self.hears = True
            for connection in worker.connections:
                connection.write(b"welcome\n")

        worker.bus.subscribe(TOPIC, hear, welcome_all)

    @hookimpl
    def on_accept(self, connection: Connection) -> None:
        if self.hears:
            connection.write(b"welcome\n")

    @hookimpl
    def on_readable(self, connection: Connection) -> None:
        *lines, _rest = connection.read().split(b"\n")
        for line in lines:
            connection.worker.bus.publish(TOPIC, line + b"\n")
