"""Names that one worker has at a time, such as those of users or devices."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from host import BUS_LEFT, BUS_TAKEN, Message, Worker
from host.plugins.coordination.asking import AGAIN_SECONDS, ask


class Owners:
    """Takes names and gives them up: the last one that asks for a name has it.

    Each name is a key of the bus, so it has one owner over all workers and hosts, as far as the bus
    promises that. An owner that is asked gives the name up in its own time: it takes leave of its
    connection, stores what is to be stored, and calls `release`.

        owners = Owners(worker, "users", give_up)  # which closes its connection
        if await owners.take(name, seconds=5):
            ...
            owners.release(name)

    Args:
        worker: the worker.
        kind: what the names are of: begins the keys and topics that are used.
        give_up: called with a name that this worker must release, since it is wanted elsewhere. It
            may be one whose `take` has not returned, or that `if_free` holds: do nothing then, the
            question comes again after a second.
    """

    def __init__(self, worker: Worker, kind: str, give_up: Callable[[str], object]) -> None:
        self._bus, self._give_up = worker.bus, give_up
        self._prefix, self._wanted, self._released = f"{kind}.", f"{kind}-wanted", f"{kind}-free"
        self._owned: set[str] = set()
        self._waiting: dict[str, asyncio.Event] = {}
        self._bus.subscribe(self._wanted, self._on_wanted)
        self._bus.subscribe(self._released, lambda message: self._tell(message.payload.decode()))
        self._bus.subscribe(BUS_LEFT, self._on_left)
        self._bus.subscribe(BUS_TAKEN, self._on_taken)

    async def take(self, name: str, seconds: float) -> bool:
        """Own a name; who owns it gives it up, also if that is this worker.

        Args:
            name: the name.
            seconds: how long to wait for it.

        Returns:
            False if that was not done in time, or if the name was asked for once more on this
            worker meanwhile: the last one is the one that counts. With a broker that is away it
            may take as long as the bus gives a claim.
        """
        loop = asyncio.get_running_loop()
        deadline, freed = loop.time() + seconds, asyncio.Event()
        self._tell(name)  # who has waited so far sees that it is another one's turn
        self._waiting[name] = freed
        try:
            while not await self._claim(name):
                if self._waiting.get(name) is not freed:
                    return False
                self._bus.publish(self._wanted, name.encode())
                left = deadline - loop.time()
                if left <= 0:
                    return False
                await _wait(freed, min(left, AGAIN_SECONDS))  # it may have lost the question
                freed.clear()
            return True
        finally:
            if self._waiting.get(name) is freed:
                del self._waiting[name]

    @asynccontextmanager
    async def if_free(self, name: str) -> AsyncIterator[bool]:
        """Own a name that is nobody's, as long as the context lasts; tell whether it is so."""
        is_owner = await self._claim(name)
        try:
            yield is_owner
        finally:
            if is_owner:
                self.release(name)

    def release(self, name: str) -> None:
        """Give up a name."""
        self._owned.discard(name)
        self._bus.release(self._prefix + name)
        self._bus.publish(self._released, name.encode())

    async def _claim(self, name: str) -> bool:
        is_wanted, is_owner = True, False

        def claimed(done: Callable[[bool], object]) -> None:
            def answered(owned: bool) -> None:
                nonlocal is_owner
                if owned and is_wanted:  # known at once, for a question that follows
                    self._owned.add(name)
                    is_owner = True
                elif owned:
                    self.release(name)
                done(owned)

            self._bus.claim(self._prefix + name, answered)

        if name in self._owned:  # also if another host has got it: leave is still to be taken
            return False
        try:
            return bool(await ask(claimed))
        except asyncio.CancelledError:  # else nobody would give it up
            is_wanted = False
            if is_owner:
                self.release(name)
            raise

    def _on_wanted(self, message: Message) -> None:
        self._give_up_if_owned(message.payload.decode())

    def _on_taken(self, message: Message) -> None:
        """Give up a name that another host has got while this one was cut off."""
        key = message.payload.decode()
        if key.startswith(self._prefix):
            self._give_up_if_owned(key.removeprefix(self._prefix))

    def _give_up_if_owned(self, name: str) -> None:
        if name in self._owned:
            self._give_up(name)

    def _on_left(self, _: Message) -> None:
        for freed in self._waiting.values():
            freed.set()

    def _tell(self, name: str) -> None:
        if (freed := self._waiting.get(name)) is not None:
            freed.set()


async def _wait(event: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)
