"""A protocol that has its worker publish messages: `publish COUNT BYTES`, answered with what was
taken; `heard` and `lost` are answered with how many messages the worker has heard and missed."""

from __future__ import annotations

from host import BUS_LOST, Connection, Message, Worker, hookimpl

TOPIC = "published"


class Publishing:
    def __init__(self) -> None:
        self.is_ready = False
        self.heard = self.lost = 0

    @hookimpl
    def on_worker_start(self, worker: Worker) -> None:
        def hear(_message: Message) -> None:
            self.heard += 1

        def lose(message: Message) -> None:
            self.lost += int(message.payload)

        def begin() -> None:
            self.is_ready = True
            for connection in worker.connections:
                connection.write(b"%d\n" % worker.slot)

        worker.bus.subscribe(BUS_LOST, lose)
        worker.bus.subscribe(TOPIC, hear, begin)

    @hookimpl
    def on_accept(self, connection: Connection) -> None:
        if self.is_ready:
            connection.write(b"%d\n" % connection.worker.slot)

    @hookimpl
    def on_readable(self, connection: Connection) -> None:
        words = connection.read().split()  # a line at a time
        if words[0] == b"publish":
            payload, publish = bytes(int(words[2])), connection.worker.bus.publish
            connection.write(b"%d\n" % sum(publish(TOPIC, payload) for _ in range(int(words[1]))))
        else:
            connection.write(b"%d\n" % (self.lost if words[0] == b"lost" else self.heard))
