"""Each client has one connection: the worker that has it owns its name on the bus."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from host import BUS_LEFT, BUS_TAKEN, Message, Worker
from prefork_mqtt.asking import AGAIN_SECONDS, ask

_KEY = "mqtt.client."
_TAKEOVER, _RELEASED = "mqtt-takeover", "mqtt-released"


class Owners:
    """Takes names of clients and gives them up.

    Args:
        worker: the worker.
        take_over: called with a client that this worker must give up, since it has connected
            elsewhere.
    """

    def __init__(self, worker: Worker, take_over: Callable[[str], object]) -> None:
        self._bus, self._take_over = worker.bus, take_over
        self._owned: set[str] = set()
        self._waiting: dict[str, asyncio.Event] = {}
        self._bus.subscribe(_TAKEOVER, self._on_takeover)
        self._bus.subscribe(_RELEASED, lambda message: self._tell(message.payload.decode()))
        self._bus.subscribe(BUS_LEFT, self._on_left)
        self._bus.subscribe(BUS_TAKEN, self._on_taken)

    async def take(self, client_id: str, seconds: float) -> bool:
        """Own a client; who owns it gives it up.

        Returns:
            False if that was not done in time, or if the client has connected once more meanwhile:
            the last connection is the one that counts.
        """
        loop = asyncio.get_running_loop()
        deadline, freed = loop.time() + seconds, asyncio.Event()
        self._tell(client_id)  # who has waited so far sees that it is another one's turn
        self._waiting[client_id] = freed
        try:
            while not await self._claim(client_id):
                if self._waiting.get(client_id) is not freed:
                    return False
                self._bus.publish(_TAKEOVER, client_id.encode())
                left = deadline - loop.time()
                if left <= 0:
                    return False
                await _wait(freed, min(left, AGAIN_SECONDS))  # it may have lost the question
                freed.clear()
            return True
        finally:
            if self._waiting.get(client_id) is freed:
                del self._waiting[client_id]

    @asynccontextmanager
    async def if_free(self, client_id: str) -> AsyncIterator[bool]:
        """Own a client that is nobody's, as long as the context lasts; tell whether it is so."""
        is_owner = await self._claim(client_id)
        try:
            yield is_owner
        finally:
            if is_owner:
                self.release(client_id)

    def release(self, client_id: str) -> None:
        """Give up a client."""
        self._owned.discard(client_id)
        self._bus.release(_KEY + client_id)
        self._bus.publish(_RELEASED, client_id.encode())

    async def _claim(self, client_id: str) -> bool:
        def claimed(done: Callable[[bool], object]) -> None:
            def answered(owned: bool) -> None:
                if owned:  # known at once, for a question that follows
                    self._owned.add(client_id)
                done(owned)

            self._bus.claim(_KEY + client_id, answered)

        # Of one that another host has got meanwhile, this worker still has to take leave.
        return client_id not in self._owned and bool(await ask(claimed))

    def _on_takeover(self, message: Message) -> None:
        self._give_up(message.payload.decode())

    def _on_taken(self, message: Message) -> None:
        """Give up a client that another host has got while this one was cut off."""
        self._give_up(message.payload.decode().removeprefix(_KEY))

    def _give_up(self, client_id: str) -> None:
        if client_id in self._owned:
            self._take_over(client_id)

    def _on_left(self, _: Message) -> None:
        for freed in self._waiting.values():
            freed.set()

    def _tell(self, client_id: str) -> None:
        if (freed := self._waiting.get(client_id)) is not None:
            freed.set()


async def _wait(event: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)
