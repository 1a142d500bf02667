"""Carries dispatch out: watches the listeners, does the passes, sends the notifications."""

from __future__ import annotations

import errno
import functools
import math
import os
from collections.abc import Callable, Sequence
from contextlib import suppress

from host.dispatch.dispatcher import Dispatcher
from host.ipc.protocol import notification
from host.ipc.scoreboard import Scoreboard
from host.net.listeners import ListeningSocket
from host.runtime.loop import EDGE, READ, Loop, TimerHandle

Send = Callable[[int, bytes], bool]
_ASK_AGAIN_SECONDS = 0.01
_NO_SOCKET = (errno.EBADF, errno.ENOTSOCK)
"""A plugin has closed the listener by its number: to ask again would help nobody."""


class DispatchRunner:
    """Does a pass whenever something may have changed.

    That is: on an edge of a listener, when the supervisor says so (`run_all`), when a worker
    wakes the supervisor, and when the missed-claim timer fires.

    Args:
        listeners: the bound listeners.
        send: sends bytes to the worker with this pid without waiting; False if they were not taken.
        blind: some listener's queue length is not known: then every claim brings the next pass.
        wake: the eventfd of passes before an exec or fork; else one is made. `close` closes it.

    Attributes:
        wake: the eventfd by which workers wake the supervisor.
    """

    def __init__(
        self,
        loop: Loop,
        dispatcher: Dispatcher,
        scoreboard: Scoreboard,
        listeners: Sequence[ListeningSocket],
        *,
        send: Send,
        blind: bool,
        wake: int | None = None,
    ) -> None:
        self._loop, self._dispatcher, self._scoreboard = loop, dispatcher, scoreboard
        self._indexes = tuple(listener.view.index for listener in listeners)
        self._listeners = tuple(listeners)
        self._send, self.blind = send, blind
        self._timer: TimerHandle | None = None
        self._planned = math.inf  # when the timer is due
        self._going = False
        self._starved: bool | None = None  # the mark in the scoreboard; None if another has set it
        if wake is None:
            wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.wake = wake

    def start(self) -> None:
        """Begin to watch the listeners."""
        self._going = True
        self._loop.add(self.wake, READ, self._on_wake)
        for listener in self._listeners:
            on_edge = functools.partial(self.run, listener.view.index)
            self._loop.add(listener.fileno(), READ | EDGE, on_edge)

    def stop(self) -> None:
        """Do no more passes, and watch nothing any more."""
        if self._going:
            self._going = False
            self._loop.remove(self.wake)
            for listener in self._listeners:
                if listener.fileno() >= 0:
                    self._loop.remove(listener.fileno())

    def close(self) -> None:
        """Close the eventfd."""
        os.close(self.wake)

    def run(self, listener: int, _mask: int = 0) -> None:
        """Do one pass for a listener, and another one for whatever could not be sent."""
        dispatcher, sent = self._dispatcher, False
        while not sent:
            sent = True
            try:
                planned = dispatcher.plan(listener, self._loop.now)
            except OSError as error:  # no queue's length was told: ENOBUFS (netlink(7))
                if error.errno in _NO_SOCKET:
                    raise
                again = self._loop.now + _ASK_AGAIN_SECONDS
                self._loop.call_at(again, functools.partial(self.run_again, listener))
                return
            for worker, count in planned:
                if not self._send(worker.pid, notification(listener, count)):
                    dispatcher.unsent(worker, listener, count)
                    sent = False
        starved = dispatcher.starved or self.blind
        if starved is not self._starved:
            self._scoreboard.starved = self._starved = starved
        self._arm()

    def run_again(self, listener: int) -> None:
        """Do another pass for a listener, unless passes have ended."""
        if self._going:
            self.run(listener)

    def recount(self) -> None:
        """Go on after another process has done passes on the same scoreboard."""
        self._starved = None
        self._dispatcher.recount()
        self.run_all()

    def run_all(self) -> None:
        """Do a pass for each listener."""
        if self._going:
            for listener in self._indexes:
                self.run(listener)

    def quiet(self, listeners: Sequence[int] | None = None) -> bool:
        """Do a pass for each listener; tell whether nobody waits and nothing is under way.

        Args:
            listeners: which of them are looked at; all if it is left out.
        """
        self._dispatcher.check(self._loop.now)
        self.run_all()
        return self._dispatcher.quiet(self._indexes if listeners is None else listeners)

    def _on_wake(self, _mask: int) -> None:
        with suppress(BlockingIOError):
            os.eventfd_read(self.wake)
        self._dispatcher.check(self._loop.now)
        self.run_all()

    def _arm(self) -> None:
        """Have the missed-claim timer run as long as there is something to look after."""
        due = self._dispatcher.next_check(self._loop.now, self._planned)
        if due is None or self._planned <= due:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._planned, self._timer = due, self._loop.call_at(due, self._check)

    def _check(self) -> None:
        self._planned, self._timer = math.inf, None
        if not self._going:
            return
        if self._dispatcher.check(self._loop.now):
            self.run_all()
        else:
            for listener in self._dispatcher.waiting:
                self.run(listener)
        self._arm()
