"""A table of the bus of which each worker has a copy."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from functools import partial

from host import Message, Worker
from host.plugins.coordination.asking import AGAIN_SECONDS, ask

_MOST_BYTES = 65_536
"""The longest value of a table."""

OnChange = Callable[[str, bytes | None, bytes | None], object]


class ReplicatedTable:
    """Reads and changes a table; each worker knows all of it, or the part that it needs.

    Each key is changed by one worker at a time, such as the one that `Owners` says owns it. Who has
    lost it to another owner without knowing changes nothing: the table has another value by then
    than what was loaded.

        value = await sessions.load(name)
        is_done = await sessions.change(name, value + b"more")
        sessions.let_go(name)

    Args:
        worker: the worker.
        name: the name of the table.
        shared: returns what the copies have of a value. Others are told only if that has changed.
        on_change: called with a key, and with what its copy had and has now, None for nothing. It
            may be called with what is known already.

    Attributes:
        copy: what is shared of each value, by its key.
    """

    def __init__(
        self, worker: Worker, name: str, shared: Callable[[bytes], bytes], on_change: OnChange
    ) -> None:
        self._bus, self._table, self._topic = worker.bus, worker.bus.table(name), f"{name}-changes"
        self._shared, self._on_change = shared, on_change
        self._loaded: dict[str, bytes | None] = {}
        self._last_time = 0
        self.copy: dict[str, bytes] = {}

    async def start(self) -> None:
        """Learn all of the table, and of each change from then on."""
        self._bus.subscribe(self._topic, self._on_message)
        await self.refresh()

    async def refresh(self) -> dict[str, bytes]:
        """Learn all of the table anew, as soon as the bus knows it, and return all values.

        That is for `BUS_LOST`, and for each minute or so: a worker that dies when it has changed a
        key tells nobody of it.
        """

        def read(done: Callable[[dict[str, bytes] | None], object]) -> None:
            def answered(items: dict[str, bytes] | None) -> None:
                try:
                    if items is not None:
                        items = {key: _unstamped(each) for key, each in items.items()}
                        self._learn(items)
                finally:
                    done(items)

            self._table.items(answered)

        while (found := await ask(read)) is None:
            await asyncio.sleep(AGAIN_SECONDS)
        return dict(found)

    async def load(self, key: str) -> bytes | None:
        """Return the value of a key that this worker is to change; None if there is none.

        Raises:
            BlockingIOError: the bus does not know it now.
        """
        known, stamped = await ask(self._table.get, key)
        if not known:
            raise BlockingIOError("the bus does not know what a table has")
        self._loaded[key] = stamped
        return None if stamped is None else _unstamped(stamped)

    async def change(self, key: str, value: bytes | None) -> bool:
        """Change a key that was loaded, and return when that has its place in what all are told.

        A key has one change at a time: of two of one worker the second may be refused.

        Args:
            key: the key.
            value: its new value, about 65,500 bytes at most; None if it is to have none.

        Returns:
            False if that was refused: there is no room, it is too long, or somebody else has
            changed the key, or a broker that has lost some of its data knows another value of it.
        """
        stamped = None if value is None else self._stamp() + value
        if stamped is not None and len(stamped) > _MOST_BYTES:
            return False
        change = partial(self._table.compare_and_set, key, self._loaded.get(key), stamped)
        known = self.copy.get(key)  # a refresh may find what nobody else has heard of yet
        while (is_done := await ask(change)) is None:  # too much waits, or the broker knows nothing
            await asyncio.sleep(AGAIN_SECONDS)
        if not is_done:
            return False
        self._loaded[key] = stamped
        shared = None if value is None else self._shared(value)
        if shared == known:
            return True
        self._apply(key, shared)
        told = _pack(key, shared)
        while not await ask(lambda done: self._bus.publish(self._topic, told, done=done)):
            await asyncio.sleep(AGAIN_SECONDS)  # others must know of it
        return True

    def let_go(self, key: str) -> None:
        """Note that this worker does not change a key any more; harmless if it did not."""
        self._loaded.pop(key, None)

    def _stamp(self) -> bytes:
        """Return what no other value begins with.

        So a change that has waited long takes the place of none but the one it was made for.
        """
        self._last_time = max(time.time_ns(), self._last_time + 1)
        return f"{self._last_time:016x}.{self._bus.member}\n".encode()

    def _learn(self, items: Mapping[str, bytes]) -> None:
        for key in self.copy.keys() - items.keys():
            self._apply(key, None)
        for key, value in items.items():
            if (shared := self._shared(value)) != self.copy.get(key):
                self._apply(key, shared)

    def _on_message(self, message: Message) -> None:
        self._apply(*_unpack(message.payload))

    def _apply(self, key: str, shared: bytes | None) -> None:
        before = self.copy.pop(key, None)
        if shared is not None:
            self.copy[key] = shared
        self._on_change(key, before, shared)


def _unstamped(stamped: bytes) -> bytes:
    return stamped.partition(b"\n")[2]


def _pack(key: str, shared: bytes | None) -> bytes:
    """Return a change as it is told: the length of the key, the key, and what is shared."""
    name = key.encode()
    kind = b"-" if shared is None else b"+"
    return len(name).to_bytes(2, "big") + name + kind + (shared or b"")


def _unpack(told: bytes) -> tuple[str, bytes | None]:
    end = 2 + int.from_bytes(told[:2], "big")
    return told[2:end].decode(), None if told[end : end + 1] == b"-" else told[end + 1 :]
