"""What a plugin puts off for a connection: calls that come later, time-outs, and answers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from host.hookspecs import on_readable
from host.interfaces import CloseReason, Timer
from host.ipc.current_call import CallKind, kind_of
from host.runtime.loop import TimerHandle
from host.worker.closing import ClosingPart
from host.worker.context import PendingAnswers
from host.worker.timers import ConnectionTimers

_ON_READABLE = kind_of(on_readable)


class LaterPart(ClosingPart):
    """The calls that a plugin has asked for: when there is room, in the next turn, after a time.

    They are plugin code of this connection like `on_readable`, and go with it.
    """

    __slots__ = ("_next_turn", "_when_writable")

    _next_turn: Callable[[Any], object] | None  # while it is set nothing is read
    _when_writable: Callable[[Any], object] | None

    def call_when_writable(self, function: Callable[[Any], object]) -> None:
        """Call `function` once what is unsent is below the low-water mark."""
        self._when_writable = function
        self._attention = True
        self._context.touched.append(self)

    def call_next_turn(self, function: Callable[[Any], object]) -> None:
        """Call `function` in the next turn; nothing is read before."""
        context = self._context
        if self._next_turn is None:
            context.loop.call_from_thread(self._call_for_next_turn)
        self._next_turn = function
        self._attention = True
        context.touched.append(self)

    def call_later(self, seconds: float, function: Callable[[Any], object]) -> Timer:
        """Call `function` once after `seconds`, unless the connection is closing by then."""
        when = self._context.loop.now + seconds
        if self._ended:
            return TimerHandle(when, self.follow_up)  # nobody calls it
        return self._begin_timers().call_at(when, lambda: self.call_if_open(function))

    def expire(self, seconds: float | None) -> None:
        """Close after `seconds`, instead of when was said before; None: do not."""
        context = self._context
        if seconds is not None and seconds != seconds:  # noqa: PLR0124  (NaN is not itself)
            raise ValueError("a connection cannot expire after nan seconds")
        timers = context.timers.get(self)
        if timers is None:
            if seconds is None or self._ended:
                return
            timers = self._begin_timers()
        timers.expires = expires = math.inf if seconds is None else context.loop.now + seconds
        if expires < timers.looks:
            timers.look_at(expires)

    def begin_answer(self) -> None:
        """Say that an answer is still to come, which the peer's end does not make useless."""
        if not self._ended:
            self._context.answering.setdefault(self, PendingAnswers()).count += 1

    def end_answer(self) -> None:
        """Say that one of them has come."""
        pending = self._context.answering.get(self)
        if pending is not None:
            pending.count -= 1
            if not pending.count:
                del self._context.answering[self]
                if pending.timer is not None:
                    pending.timer.cancel()
                self._look_again()

    def call_at_end(self, function: Callable[[], object]) -> None:
        """Call `function`, once, if the connection ends before all its answers have come.

        One is to come already. The function may be given again and again: it is called once.
        """
        pending = self._context.answering.get(self)
        if pending is not None:
            pending.at_end[function] = None

    def _waits_for_answers(self) -> bool:
        """Tell whether a peer that has finished sending is still to be answered, within a time."""
        pending = self._context.answering.get(self)
        if pending is None or pending.is_late:
            return False
        if pending.timer is None:

            def stop_waiting() -> None:
                pending.is_late = True  # it stays, since its end calls who is to be told
                self._look_again()

            when = self._context.loop.now + self._context.limits.answer_timeout_seconds
            pending.timer = self._begin_timers().call_at(when, stop_waiting)
        return True

    def _look_again(self) -> None:
        """Have this connection followed up in this turn: it may have nothing to wait for."""
        self._attention = True
        self._context.touched.append(self)

    def _handle(self, called: CallKind, function: Callable[..., Any], *args: object) -> Any:
        """Call a plugin for this connection, and send what it has written."""
        self._write_call(called)
        try:
            return function(self, *args)
        finally:
            self.flush()

    def _call_if_writable(self) -> None:
        function = self._when_writable
        if function is None or self._closing is not None or self.unsent > self._context.low_water:
            return
        self._when_writable = None
        self._call_later_part(function)

    def _call_for_next_turn(self) -> None:
        """Call what was to be called in this turn, and read again unless it asks once more."""
        function, self._next_turn = self._next_turn, None
        if function is not None and self._closing is None:
            self.last_active = self._context.loop.now
            self._attention = True
            self._call_later_part(function)
            self.follow_up()

    def _call_later_part(self, function: Callable[..., object], *args: object) -> None:
        """Call what goes on with the work of `on_readable`."""
        try:
            self._handle(_ON_READABLE, function, *args)
        except BaseException as error:
            self.fail(error)

    def call_if_open(self, function: Callable[..., object], *args: object) -> None:
        """Call what a timer or a task is for, unless the connection is closing."""
        if self._closing is None:
            self._call_later_part(function, *args)

    def _begin_timers(self) -> ConnectionTimers:
        """Return this connection's timers."""
        context = self._context
        timers = context.timers.get(self)
        if timers is None:
            timers = ConnectionTimers(context.loop, lambda: self.finish(CloseReason.TIMEOUT))
            context.timers[self] = timers
        return timers
