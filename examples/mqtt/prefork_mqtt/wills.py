"""Wills: kept on the bus, so that those of a worker that dies are published by another one."""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import partial

from host import BUS_LEFT, Message, Worker
from prefork_mqtt.asking import ask, insist
from prefork_mqtt.packets import Publish

_TABLE, _KEY = "mqtt-wills", "mqtt-wills."
_MOST_BYTES = 65_536
_HEAD = struct.Struct(">BH")


class Wills:
    """Keeps the wills of the clients of this worker, and publishes those of workers that have died.

    Args:
        worker: the worker.
        publish: publishes one.
    """

    def __init__(self, worker: Worker, publish: Callable[[Publish], object]) -> None:
        self._worker, self._bus, self._publish = worker, worker.bus, publish
        self._table = worker.bus.table(_TABLE)
        self._keys: dict[str, str] = {}
        self._count = 0
        self._bus.subscribe(BUS_LEFT, self._on_left)

    async def keep(self, client_id: str, will: Publish) -> bool:
        """Keep a will; False if there are too many, or if it is longer than a value of a table."""
        topic = will.topic.encode()
        value = _HEAD.pack(will.qos | will.retain << 2, len(topic)) + topic + will.payload
        if len(value) > _MOST_BYTES:
            return False
        self._count += 1
        self._keys[client_id] = key = f"{self._bus.member}/{self._count}"
        if await ask(self._table.set, key, value):
            return True
        self.drop(client_id)
        return False

    def drop(self, client_id: str) -> None:
        """Forget a will: it was published, or is not to be."""
        insist(self._worker, partial(self._table.delete, self._keys.pop(client_id)))

    def _on_left(self, message: Message) -> None:
        member = message.payload.decode()

        def claimed(owned: bool) -> None:
            if owned:
                self._worker.asyncio.create_task(self._execute(member))

        self._bus.claim(_KEY + member, claimed)

    async def _execute(self, member: str) -> None:
        for name, value in (await ask(self._table.items) or {}).items():
            if name.startswith(f"{member}/"):
                flags, size = _HEAD.unpack_from(value)
                end = _HEAD.size + size
                topic = value[_HEAD.size : end].decode()
                self._publish(Publish(topic, value[end:], flags & 3, bool(flags & 4)))
                insist(self._worker, partial(self._table.delete, name))
        self._bus.release(_KEY + member)
