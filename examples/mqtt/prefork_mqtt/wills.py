"""Wills: kept on the bus, so that those of a worker that dies are published by another one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from host import BUS_LEFT, BUS_LOST, BUS_TAKEN, Message, Worker
from prefork_mqtt.asking import AGAIN_SECONDS, MOST_BYTES, ask, insist, items_of
from prefork_mqtt.packets import Publish

_TABLE, _KEY = "mqtt-wills", "mqtt-wills."
_SWEEP_SECONDS = 60.0


class Wills:
    """Keeps the wills of the clients of this worker, and publishes those of workers that have died.

    Each worker owns a key of the bus as long as it lives. Who gets it of another one publishes what
    that has left: as soon as it is known to be dead, or later, if whoever did that has died, too.

    Args:
        worker: the worker.
        publish: publishes one, and calls its second argument with whether that is done.
    """

    def __init__(
        self, worker: Worker, publish: Callable[[Publish, Callable[[bool], object]], object]
    ) -> None:
        self._worker, self._bus, self._publish = worker, worker.bus, publish
        self._table = worker.bus.table(_TABLE)
        self._kept: dict[str, tuple[str, bytes]] = {}
        self._count = 0
        self._is_alive = self._is_looking = False

    def start(self) -> None:
        """Begin: it is known which sessions hear what is published."""
        self._bus.subscribe(BUS_LEFT, self._on_left)
        self._bus.subscribe(BUS_LOST, lambda _: self._look_soon())
        self._bus.subscribe(BUS_TAKEN, self._on_taken)
        self._worker.call_every(_SWEEP_SECONDS, self._look_soon)
        self._live()

    async def keep(self, client_id: str, will: Publish) -> bool:
        """Keep a will; False if there are too many, or if it is longer than a value of a table."""
        value = will.pack()
        if len(value) > MOST_BYTES or not self._is_alive:
            return False
        self._count += 1
        key = f"{self._bus.member}/{self._count}"
        self._kept[client_id] = key, value
        if await ask(self._table.set, key, value):
            return True
        self.drop(client_id)
        return False

    def drop(self, client_id: str) -> None:
        """Forget a will: it is not to be published."""
        key, _ = self._kept.pop(client_id)
        self._delete(key)

    def execute(self, client_id: str, will: Publish) -> None:
        """Publish a will, and forget it as soon as that is done."""
        key, _ = self._kept.pop(client_id)

        def published(is_done: bool) -> None:
            if is_done:
                self._delete(key)
            else:
                self._worker.call_later(AGAIN_SECONDS, lambda: self._publish(will, published))

        self._publish(will, published)

    def _delete(self, key: str) -> None:
        insist(self._worker, partial(self._table.delete, key))

    def _live(self) -> None:
        """Own the key that says that this worker lives."""

        def claimed(owned: bool) -> None:
            self._is_alive = owned
            if owned:
                self._look_soon()
            else:
                self._worker.call_later(AGAIN_SECONDS, self._live)

        self._bus.claim(_KEY + self._bus.member, claimed)

    def _on_taken(self, message: Message) -> None:
        if message.payload.decode() == _KEY + self._bus.member:  # it was taken for dead
            self._is_alive = False
            self._live()

    def _on_left(self, message: Message) -> None:
        self._worker.asyncio.create_task(self._inherit(message.payload.decode()))

    def _look_soon(self) -> None:
        if not self._is_looking:
            self._is_looking = True
            self._worker.asyncio.create_task(self._look())

    async def _look(self) -> None:
        """Publish the wills of those that are dead; put back those of this worker that are gone."""
        found = await items_of(self._table)
        self._is_looking = False
        for client_id, (key, value) in self._kept.items():
            if key not in found:
                insist(self._worker, partial(self._put_back, client_id, key, value))
        for member in {name.rpartition("/")[0] for name in found} - {self._bus.member}:
            await self._inherit(member)

    async def _inherit(self, member: str) -> None:
        """Publish what a member has left, if it is dead and nobody else does that."""
        if not await ask(self._bus.claim, _KEY + member):
            return
        for name, value in (await items_of(self._table)).items():
            if name.startswith(f"{member}/") and await ask(self._publish, Publish.unpack(value)):
                self._delete(name)
        self._bus.release(_KEY + member)

    def _put_back(
        self, client_id: str, key: str, value: bytes, done: Callable[[bool | None], object]
    ) -> None:
        """Store a will again, unless it is not kept any more."""
        if self._kept.get(client_id) == (key, value):
            self._table.set(key, value, done)
