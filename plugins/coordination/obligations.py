"""What is still to be done, by another worker if this one dies."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from host import BUS_LEFT, BUS_LOST, BUS_TAKEN, Message, Worker
from host.plugins.coordination.asking import AGAIN_SECONDS, ask, insist, items_of

_MOST_BYTES = 65_536
"""The longest value of a table."""
_SWEEP_SECONDS = 60.0
_ALIVE_SECONDS = 5.0
"""How long a worker that is not known to live may take for its key."""
_END_SECONDS = 1.0
"""How long an answer is waited for while the worker ends: half of what its tasks have."""


class Obligations:
    """Keeps what this worker has to do in the end, and does what workers that died had to.

    It is made in `on_worker_start`, since it uses `worker.asyncio`.

    Each worker owns a key of the bus as long as it lives. Who gets it of another one does what that
    has left: as soon as it is known to be dead, or later, if whoever did that has died, too. So
    each is done at least once; twice if a worker dies while it does it, or is taken for dead.

        obligations = Obligations(worker, "unpaid", pay)
        obligations.start()
        await obligations.keep(order, value)
        obligations.drop(order)     # it is not to be done any more
        obligations.execute(order)  # it is to be done now

    Args:
        worker: the worker.
        kind: what they are: the table and the keys that are used have this name.
        execute: does one, given its value, and calls its second argument with whether it is done;
            if it is not, it is called again: after a second, or after a minute at most for one of a
            worker that has died.
    """

    def __init__(
        self,
        worker: Worker,
        kind: str,
        execute: Callable[[bytes, Callable[[bool], object]], object],
    ) -> None:
        self._worker, self._bus, self._execute = worker, worker.bus, execute
        self._loop, self._tasks = worker.asyncio, set[asyncio.Task[None]]()
        self._table, self._prefix = worker.bus.table(kind), f"{kind}."
        self._kept: dict[str, tuple[str, bytes]] = {}
        self._own = f"{self._bus.member}/{time.time_ns():x}."  # members may have their names again
        self._count = 0
        self._alive = asyncio.Event()
        self._is_looking = False

    def start(self) -> None:
        """Begin, as soon as the worker can execute some."""
        self._bus.subscribe(BUS_LEFT, self._on_left)
        self._bus.subscribe(BUS_LOST, lambda _: self._look_soon())
        self._bus.subscribe(BUS_TAKEN, self._on_taken)
        self._worker.call_every(_SWEEP_SECONDS, self._look_soon)
        self._live()

    async def keep(self, name: str, value: bytes) -> bool:
        """Keep one. It may be dropped or executed already while this has not returned.

        Args:
            name: what this worker calls it; one that has the same name must be gone.
            value: what `execute` needs.

        Returns:
            False if it is not kept: there are too many, it has more than 64 KiB, the bus does not
            know what became of it, or for seconds already not that this worker lives.
        """
        try:
            async with asyncio.timeout(_ALIVE_SECONDS):
                await self._alive.wait()
        except TimeoutError:
            return False
        if len(value) > _MOST_BYTES:
            return False
        self._count += 1
        key = f"{self._own}{self._count}"
        self._kept[name] = key, value
        if await ask(self._table.set, key, value):
            return True
        if self._kept.get(name) == (key, value):  # else it was dropped, and perhaps another kept
            self.drop(name)
        return False

    def drop(self, name: str) -> None:
        """Forget one; harmless if there is none."""
        if name in self._kept:
            self._delete(self._kept.pop(name)[0])

    def execute(self, name: str) -> None:
        """Do one, and forget it as soon as that is done; harmless if there is none."""
        if name in self._kept:
            key, value = self._kept.pop(name)
            answer = self._begin(key, value)
            if not (answer.done() and answer.result()):
                self._run(self._finish(key, value, answer))

    def _begin(self, key: str, value: bytes) -> asyncio.Future[bool]:
        """Execute one, and forget it when it is done; return what is told of that."""
        answer: asyncio.Future[bool] = self._loop.create_future()

        def executed(is_done: bool) -> None:
            if not answer.done():
                answer.set_result(is_done)
                if is_done:
                    self._delete(key)

        self._execute(value, executed)
        return answer

    async def _finish(self, key: str, value: bytes, answer: asyncio.Future[bool]) -> None:
        """Try one again until it is done.

        A worker that ends cancels its tasks, which have a moment then: for the answer to come.
        """
        try:
            while not await asyncio.shield(answer):
                await asyncio.sleep(AGAIN_SECONDS)
                answer = self._begin(key, value)
        except asyncio.CancelledError:
            await asyncio.wait([answer], timeout=_END_SECONDS)
            raise

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)  # the event loop does not keep it
        task.add_done_callback(self._tasks.discard)

    def _delete(self, key: str) -> None:
        insist(self._worker, partial(self._table.delete, key))

    def _live(self) -> None:
        """Own the key that says that this worker lives."""

        def claimed(owned: bool) -> None:
            if owned:
                self._alive.set()
                self._look_soon()
            else:
                self._worker.call_later(AGAIN_SECONDS, self._live)

        self._bus.claim(self._prefix + self._bus.member, claimed)

    def _on_taken(self, message: Message) -> None:
        if message.payload.decode() == self._prefix + self._bus.member:  # it was taken for dead
            self._alive.clear()
            self._live()

    def _on_left(self, message: Message) -> None:
        self._run(self._inherit(message.payload.decode()))

    def _look_soon(self) -> None:
        if not self._is_looking:
            self._is_looking = True
            self._run(self._look())

    async def _look(self) -> None:
        """Do what is left of those that are dead; put back what is gone of this worker's."""
        found = await items_of(self._table)
        self._is_looking = False
        for name, (key, value) in self._kept.items():
            if key not in found:
                insist(self._worker, partial(self._put_back, name, key, value))
        left = {name for name in found if not name.startswith(self._own)}
        for member in {name.rpartition("/")[0] for name in left}:
            await self._inherit(member)

    async def _inherit(self, member: str) -> None:
        """Do what a member has left, if it is dead and nobody else does that.

        That may be an earlier one with the name of this worker, whose key this worker owns.
        """
        is_other = member != self._bus.member
        if is_other and not await ask(self._bus.claim, self._prefix + member):
            return
        for name, value in (await items_of(self._table)).items():
            is_left = name.startswith(f"{member}/") and not name.startswith(self._own)
            if is_left and await ask(self._execute, value):
                self._delete(name)
        if is_other:
            self._bus.release(self._prefix + member)

    def _put_back(
        self, name: str, key: str, value: bytes, done: Callable[[bool | None], object]
    ) -> None:
        """Store one again, unless it is not kept any more."""
        if self._kept.get(name) == (key, value):
            self._table.set(key, value, done)
