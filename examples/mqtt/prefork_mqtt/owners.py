"""Each client has one connection: the worker that has it owns its name on the bus."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from host import BUS_LEFT, BUS_TAKEN, Message, Worker
from prefork_mqtt.asking import ask

_KEY = "mqtt.client."
_TAKEOVER, _RELEASED = "mqtt-takeover", "mqtt-released"
_AGAIN_SECONDS = 1.0
"""How often a worker is asked again: it may have lost the question."""


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
        self._freed: dict[str, set[asyncio.Event]] = {}
        self._bus.subscribe(_TAKEOVER, self._on_takeover)
        self._bus.subscribe(_RELEASED, lambda message: self._tell(message.payload.decode()))
        self._bus.subscribe(BUS_LEFT, self._on_left)
        self._bus.subscribe(BUS_TAKEN, self._on_taken)

    async def take(self, client_id: str, seconds: float, is_wanted: Callable[[], bool]) -> bool:
        """Own a client; who owns it gives it up.

        Args:
            client_id: the client.
            seconds: how long is waited for that.
            is_wanted: whether it is still wanted: else whoever wants it now would lose it.

        Returns:
            False if that has not been done in time, or is not wanted any more.
        """
        loop = asyncio.get_running_loop()
        deadline, freed = loop.time() + seconds, asyncio.Event()
        self._freed.setdefault(client_id, set()).add(freed)
        try:
            while not await self._claim(client_id):
                self._bus.publish(_TAKEOVER, client_id.encode())
                left = deadline - loop.time()
                if left <= 0 or not is_wanted():
                    return False
                await _wait(freed, min(left, _AGAIN_SECONDS))
                freed.clear()
            return True
        finally:
            waiting = self._freed[client_id]
            waiting.discard(freed)
            if not waiting:
                del self._freed[client_id]

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

        return bool(await ask(claimed))

    def _on_takeover(self, message: Message) -> None:
        client_id = message.payload.decode()
        if client_id in self._owned:
            self._take_over(client_id)

    def _on_taken(self, message: Message) -> None:
        """Give up a client that another host has got while this one was cut off."""
        client_id = message.payload.decode().removeprefix(_KEY)
        if client_id in self._owned:
            self._take_over(client_id)

    def _on_left(self, _: Message) -> None:
        for client_id in self._freed:
            self._tell(client_id)

    def _tell(self, client_id: str) -> None:
        for freed in self._freed.get(client_id, ()):
            freed.set()


async def _wait(event: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)
