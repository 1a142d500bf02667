"""One small level-triggered epoll loop: descriptors, deadlines, and calls from other threads."""

from __future__ import annotations

import heapq
import math
import os
import select
import time
from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Protocol

from host.runtime import forks

Handler = Callable[[int], object]
"""Called with the epoll event mask of its descriptor."""

Poll = Callable[[float | None, int], list[tuple[int, int]]]
"""Waits for events, at most so many seconds, and returns at most so many of them."""

READ = select.EPOLLIN
WRITE = select.EPOLLOUT
EDGE = select.EPOLLET


_NEVER = math.inf
_FEW_CANCELLED = 64
_CALLS_SECONDS = 0.001
"""How long calls are made before events are looked for again: many connections may have more to do
than they got done in their turn, and somebody new must not wait for all of them. It is the same
with timers that are due at the same time."""
_MOST_UNTIMED = 8
"""How many timers are run at most before the clock is looked at again: so many that are slow may
follow fast ones."""


class Poller(Protocol):
    """What a connection needs of the loop."""

    @property
    def now(self) -> float:
        """The clock at the start of the present turn, in seconds."""

    def call_at(self, when: float, function: Callable[[], object]) -> TimerHandle:
        """Call `function` once at `when`."""

    def add(self, fd: int, events: int, handler: Handler) -> None:
        """Watch `fd`."""

    def modify(self, fd: int, events: int) -> None:
        """Change what `fd` is watched for."""

    def remove(self, fd: int) -> None:
        """Stop watching `fd`."""

    def call_from_thread(self, function: Callable[[], object]) -> None:
        """Call `function` in the next turn."""


class PollerFor:
    """What connections of a kind need of the loop; a subclass says how they are watched.

    Args:
        loop: the loop that does the rest.
    """

    def __init__(self, loop: Poller) -> None:
        self._loop = loop

    @property
    def now(self) -> float:
        """The clock at the start of the present turn, in seconds."""
        return self._loop.now

    def call_at(self, when: float, function: Callable[[], object]) -> TimerHandle:
        """Call `function` once at `when`."""
        return self._loop.call_at(when, function)

    def call_from_thread(self, function: Callable[[], object]) -> None:
        """Call `function` in the next turn."""
        self._loop.call_from_thread(function)


def _nothing() -> None:
    """Stand in for a turn hook that nobody has set."""


class TimerHandle:
    """A call that is due at `when` (seconds of the loop's clock).

    Args:
        cancelled: called when the call is cancelled.
    """

    __slots__ = ("_cancelled", "function", "when")

    def __init__(
        self,
        when: float,
        function: Callable[[], object],
        cancelled: Callable[[], object] = _nothing,
    ) -> None:
        self.when, self._cancelled = when, cancelled
        self.function: Callable[[], object] | None = function

    def cancel(self) -> None:
        """Forget the call; harmless if it was made already."""
        if self.function is not None:
            self.function = None
            self._cancelled()


class Loop:
    """Waits for events and calls what belongs to them, one after the other.

    An epoll instance watches open file descriptions, not numbers (epoll(7)): one created before
    a fork would be shared with the child. So a process makes its loop after the fork, and takes
    a descriptor out with `remove` before closing it. The loop never closes what was added.

    Two events of one batch may concern a number that was closed and given to a new file in
    between. Handlers therefore treat the mask as a hint and ask the descriptor itself.

    Attributes:
        now: the clock at the start of the present turn, in seconds.
        on_wake: called at the start of each turn that has something to do.
        on_rest: called at the end of each turn, before the loop waits again.

    Args:
        max_events: how many events one epoll wait may return.
        clock: the monotonic clock.
    """

    __slots__ = (
        "_calls",
        "_cancelled",
        "_clock",
        "_due",
        "_epoll",
        "_handlers",
        "_max_events",
        "_order",
        "_poll",
        "_stopping",
        "_timers",
        "_wake",
        "now",
        "on_turn_begin",
        "on_turn_end",
    )

    def __init__(
        self, max_events: int = 10_000, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._epoll = select.epoll()
        self._poll: Poll = self._epoll.poll
        self._handlers: dict[int, Handler] = {}
        self._timers: list[tuple[float, int, TimerHandle]] = []
        self._due = _NEVER  # when the first of them is
        self._cancelled = 0  # of the timers in the heap
        self._order = count()
        self._calls: deque[Callable[[], object]] = deque()
        self._max_events = max_events
        self._clock = clock
        self._stopping = False
        self.now = clock()
        self.on_turn_begin: Callable[[], object] = _nothing
        self.on_turn_end: Callable[[], object] = _nothing
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.add(self._wake, READ, self._run_calls)

    def fileno(self) -> int:
        """Return the epoll descriptor: readable when a turn has something to do."""
        return self._epoll.fileno()

    def add(self, fd: int, events: int, handler: Handler) -> None:
        """Watch `fd`; `handler` is called with the mask of each event.

        Raises:
            OSError: ENOSPC at the limit of watches (epoll_ctl(2)), EPERM for a regular file.
        """
        self._epoll.register(fd, events)
        self._handlers[fd] = handler

    def modify(self, fd: int, events: int) -> None:
        """Change what `fd` is watched for; 0 leaves errors and hang-ups alone."""
        self._epoll.modify(fd, events)

    def remove(self, fd: int) -> None:
        """Stop watching `fd`. Call it before closing the descriptor."""
        if self._handlers.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def call_at(self, when: float, function: Callable[[], object]) -> TimerHandle:
        """Call `function` once at `when`, in seconds of the loop's clock.

        Raises:
            ValueError: `when` is not a number (NaN), which cannot be put in order.
        """
        if math.isnan(when):
            raise ValueError("a call cannot be due at nan")
        timer = TimerHandle(when, function, self._note_cancelled)
        heapq.heappush(self._timers, (when, next(self._order), timer))
        self._due = min(self._due, when)
        return timer

    def call_later(self, seconds: float, function: Callable[[], object]) -> TimerHandle:
        """Call `function` once, so many seconds from this very moment: `now` may be old."""
        return self.call_at(self._clock() + seconds, function)

    def call_from_thread(self, function: Callable[[], object]) -> None:
        """Call `function` in the next turn, or in a later one if the calls before it take long.

        Safe in any thread; nothing else here is.
        """
        self._calls.append(function)
        try:
            os.eventfd_write(self._wake, 1)
        except (OSError, ValueError):
            if self._wake >= 0:  # else the loop is closed: nothing is called any more
                raise

    def observe(self, wrap: Callable[[Poll], Poll]) -> None:
        """Wait by means of what `wrap` makes of the wait; call it before the first turn."""
        self._poll = wrap(self._poll)

    def time(self) -> float:
        """Return what the clock says at this very moment."""
        return self._clock()

    def refresh(self) -> None:
        """Read the clock anew: before the first turn, `now` may be old."""
        self.now = self._clock()

    def stop(self) -> None:
        """Make `run` return at the end of the present turn."""
        self._stopping = True

    @property
    def stopping(self) -> bool:
        """Whether `stop` was called."""
        return self._stopping

    def run(self) -> None:
        """Take turns until `stop` is called."""
        while not self._stopping:
            self.run_once()
        forks.exit_if_plugin_fork()

    def run_once(self, timeout: float | None = None) -> None:
        """Wait for events, at most `timeout` seconds (None: as long as it takes); handle them."""
        due, clock, poll = self._due, self._clock, self._poll
        if due is not _NEVER:
            wait = max(0.0, due - clock())
            if timeout is None or wait < timeout:
                timeout = wait
        events = poll(timeout, self._max_events)
        self.now = clock()
        if not events and due <= self.now:
            # A wait that a signal (SIGCONT) interrupts when its time is up has asked nobody: what
            # has arrived meanwhile comes before the timers that would act on its absence.
            events = poll(0, self._max_events)
        on_turn_begin = self.on_turn_begin
        on_turn_begin()
        handlers = self._handlers
        for fd, mask in events:
            try:
                handler = handlers[fd]
            except KeyError:  # removed by what was called for an event before it
                continue
            handler(mask)
        if self._due <= self.now:
            self._run_timers()
        on_turn_end = self.on_turn_end  # not sooner: what was called may have changed it
        on_turn_end()

    def close_in_fork(self) -> None:
        """Handle nothing any more, in a child that a plugin has forked."""
        self._handlers.clear()
        self._timers.clear()
        self._due = _NEVER
        self._calls.clear()
        self.on_turn_begin = self.on_turn_end = _nothing
        self._epoll.close()
        self._stopping = True

    def close(self) -> None:
        """Close the epoll instance and the wake-up descriptor."""
        self._handlers.clear()
        self._epoll.close()
        # A thread may call yet: the number can be somebody else's as soon as it is closed.
        wake, self._wake = self._wake, -1
        os.close(wake)

    def _note_cancelled(self) -> None:
        """Drop cancelled timers once they are most of the heap: they may be due in hours."""
        self._cancelled += 1
        if self._cancelled > _FEW_CANCELLED and self._cancelled * 2 > len(self._timers):
            self._timers[:] = [entry for entry in self._timers if entry[2].function is not None]
            heapq.heapify(self._timers)
            self._cancelled = 0
        self._find_due()

    def _find_due(self) -> None:
        """Find out when the next timer is due, leaving out those that were cancelled."""
        timers = self._timers
        while timers and timers[0][2].function is None:
            heapq.heappop(timers)
            self._cancelled -= 1
        self._due = timers[0][0] if timers else _NEVER

    def _run_timers(self) -> None:
        timers, now = self._timers, self.now
        until = next(self._order)  # what is made here waits for the next turn, also if it is due
        made, look, enough = 0, 2, _NEVER
        while timers and timers[0][0] <= now and timers[0][1] < until:
            timer = heapq.heappop(timers)[2]
            function, timer.function = timer.function, None
            if function is None:
                self._cancelled -= 1
                continue
            function()
            made += 1
            if made == look:  # not for one that is alone: that is most often so
                moment = self._clock()
                if moment >= enough:
                    break
                if enough is _NEVER:
                    enough = moment + _CALLS_SECONDS
                # `min` would cost as much as the clock.
                look += made if made < _MOST_UNTIMED else _MOST_UNTIMED
        self._find_due()

    def _run_calls(self, _mask: int) -> None:
        os.eventfd_read(self._wake)
        calls, until = self._calls, self._clock() + _CALLS_SECONDS
        for _ in range(len(calls)):
            calls.popleft()()
            if self._clock() >= until:
                break
        if calls:
            os.eventfd_write(self._wake, 1)
