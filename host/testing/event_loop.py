"""The asyncio event loop of a fake worker: its time is the test's, and nothing in it is real."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable
from typing import Any, cast

from host.asyncio import HostEventLoop
from host.asyncio.event_loop import Failed
from host.errors import RealWorkerNeededError
from host.interfaces import Listener
from host.runtime.loop import Loop
from host.testing.loop import FakeLoop


class FakeEventLoop(HostEventLoop):
    """The event loop that a worker has, with the loop of a test in place of the host's.

    Tasks, timers and callbacks run in turns of the test's loop. What runs in an executor is done by
    the test's own thread, in a turn. There are no sockets, files or processes to wait for.

    Args:
        loop: the loop of the test.
        report: told of callbacks and tasks that have failed.
        listeners: returns the listeners of a plugin.
    """

    def __init__(
        self,
        loop: FakeLoop,
        report: Callable[[Failed], object],
        listeners: Callable[[object], Iterable[Listener]],
    ) -> None:
        def listening(owner: object) -> Iterable[tuple[Listener, socket.socket]]:
            return ((each, cast("socket.socket", _BoundSocket())) for each in listeners(owner))

        self._fake = loop
        super().__init__(cast("Loop", _HostLoop(loop)), report=report, listening=listening)

    def __del__(self) -> None:
        """Do nothing: there is nothing that had to be closed."""

    def take_turn(self) -> bool:
        """Run what is ready, at the end of a turn of the test's loop; tell whether anything was."""
        if self.is_running() or self.is_closed() or not self.has_work():
            return False
        self.stop()
        self._within(None, self.run_forever)
        return True

    def within(self, function: Callable[..., Any], *args: object) -> Any:
        """Call a function as it is called in a worker: while this event loop runs."""
        return self._within(self, function, *args)

    def _within(
        self, running: FakeEventLoop | None, function: Callable[..., Any], *args: object
    ) -> Any:
        """Call a function while another event loop is the one that runs, or none."""
        before = asyncio._get_running_loop()
        asyncio._set_running_loop(running)
        try:
            return function(*args)
        finally:
            asyncio._set_running_loop(before)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Any, *args: Any, **how: Any
    ) -> asyncio.TimerHandle:
        """Call a function when the test's clock is at `when`."""
        handle = super().call_at(when, callback, *args, **how)
        self._fake.call_at(when, _nothing)  # the clock stops there on its way
        return handle

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """Call a function in the next turn, unless nobody waits for it any more."""
        future = self.create_future()

        def work() -> None:
            if future.cancelled():
                return
            try:
                result = func(*args)
            except Exception as error:
                future.set_exception(error)
            else:
                future.set_result(result)

        self.call_soon(work)
        return future

    async def subprocess_exec(self, *_args: Any, **_options: Any) -> Any:
        """Refuse: there is nothing that it could be waited by."""
        raise RealWorkerNeededError

    async def subprocess_shell(self, *_args: Any, **_options: Any) -> Any:
        """Refuse: there is nothing that it could be waited by."""
        raise RealWorkerNeededError

    def _make_self_pipe(self) -> None:
        """Make none: nobody waits."""

    def _close_self_pipe(self) -> None:
        """Close none."""

    def _write_to_self(self) -> None:
        """Wake nobody."""


class _HostLoop:
    """What the event loop asks of the host's loop."""

    stopping = False

    def __init__(self, fake: FakeLoop) -> None:
        self._fake = fake

    @property
    def now(self) -> float:
        return self._fake.now

    def time(self) -> float:
        return self._fake.now

    def add(self, _fd: int, _events: int, _handler: object) -> None:
        raise RealWorkerNeededError

    def run_once(self, timeout: float | None) -> None:
        """Run what can be run now; if that was nothing, let time pass up to the next timer.

        Raises:
            AssertionError: there is none.
        """
        if timeout == 0 or self._fake.run():
            return
        if not self._fake.advance_to_next():
            raise AssertionError("a coroutine waits for what never comes in this test")


class _BoundSocket:
    """A listening socket as far as it is looked at."""

    family, type, proto = socket.AF_INET, socket.SOCK_STREAM, 0

    def getsockname(self) -> tuple[str, int]:
        return ("127.0.0.1", 7000)

    def fileno(self) -> int:
        return -1


def _nothing() -> None:
    """Be called for the time's sake alone."""
