"""A helper process beside the workers: started, looked after, replaced when it ends, and ended."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import NamedTuple

from host.runtime import processes
from host.runtime.loop import Loop
from host.settings import Lifecycle
from host.telemetry.emitter import Telemetry
from host.telemetry.events import HELPER_ENDED, HELPER_STARTED
from host.text import reason

_FIRST_PAUSE_SECONDS = 0.1
_STEADY_SECONDS = 10.0
"""A process that has lived for so long is replaced at once when it ends."""
_SHORTEST_HANG_SECONDS = 2.0
"""Some beats of such a process, whatever the settings say of workers."""
_END_SECONDS = 2.0
"""How long it may take to end when it is told to; then it is killed."""


class Helper(NamedTuple):
    """What a helper process is.

    Attributes:
        name: what it is for, in the log.
        run: what it does in its process, given the pipe that has its end when it is to end; returns
            the exit code.
        close: closes, in the child, what the supervisor alone uses.
        last_beat: returns when it was last well, in seconds of the loop's clock.
        patience: how many times as long as a worker it may not be well: one that is nice waits for
            a CPU where others are busy.
        opened: what is open while it is forked, such as its end of a channel; it may raise OSError.
    """

    name: str
    run: Callable[[int], int]
    close: Callable[[], object]
    last_beat: Callable[[], float]
    opened: Callable[[], AbstractContextManager[object]] = nullcontext
    patience: float = 1.0


class HelperProcess:
    """A process that the supervisor can do without: its death costs a restart and nothing else.

    It hears that it is to end by the end of a pipe, so it does also when the supervisor dies or
    executes itself anew: then the next supervisor starts its own, and reaps this one.

    Args:
        helper: what it is.
        loop, telemetry: those of the supervisor.
        limits: how long it may not be well before it is killed, and how long it takes at most until
            it is started again.
        before: the one of the supervisor before an exec, if there was one.

    Attributes:
        pid: its process id; None if there is none at the moment.
    """

    def __init__(
        self,
        helper: Helper,
        loop: Loop,
        telemetry: Telemetry,
        limits: Lifecycle,
        before: int | None = None,
    ) -> None:
        self._helper, self._loop, self._telemetry = helper, loop, telemetry
        self._limits = limits
        self._before, self._before_until = before, loop.now + _END_SECONDS
        self.pid: int | None = None
        self._pipe = -1
        self._born = 0.0
        self._pause = 0.0
        self._ending = self._replacing = self._hung = False

    def start(self) -> None:
        """Start it; if it cannot be, that is tried again later."""
        if self._ending or self.pid is not None:
            return
        try:
            reader, self._pipe = os.pipe()
        except OSError as error:  # EMFILE, ENFILE
            self._again(0, f"there is no pipe for it: {reason(error)}")
            return
        writer = self._pipe

        def child() -> int:
            os.close(writer)
            self._helper.close()
            return self._helper.run(reader)

        try:
            with self._helper.opened():
                self.pid = processes.fork(child)
        except OSError as error:  # EAGAIN, ENOMEM
            self._leave_pipe()
            self._again(0, f"it cannot be forked: {reason(error)}")
            return
        finally:
            os.close(reader)
        self._born = self._loop.now
        self._telemetry.emit(HELPER_STARTED, name=self._helper.name, pid=self.pid)

    def knows(self, pid: int) -> bool:
        """Tell whether a child is this process, or the one of before an exec."""
        return pid in (self.pid, self._before)

    def handle_exit(self, ended: processes.Exit) -> bool:
        """Start another one if it is this process that has ended; False if it is another."""
        if ended.pid == self._before:
            self._before = None
            return True
        if ended.pid != self.pid:
            return False
        self.pid = None
        self._leave_pipe()
        if self._replacing:
            self._replacing = False
            self.start()
        elif not self._ending:
            hung, self._hung = self._hung, False
            self._again(ended.pid, f"it hung: {ended}" if hung else str(ended))
        return True

    def replace(self) -> None:
        """Have it end as at the end of the host, and start another one then."""
        if self.pid is not None:
            self._replacing = True
            self._leave_pipe()

    def signal(self, number: int) -> None:
        """Send it a signal, if there is one."""
        if self.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def check_health(self) -> None:
        """Kill it if it hangs; `handle_exit` starts another one."""
        now = self._loop.now
        if self._before is not None and now >= self._before_until:
            _kill(self._before)
        if self.pid is None:
            return
        if processes.is_lost(self.pid):  # a plugin has taken its exit code (waitpid)
            self.handle_exit(processes.Exit(self.pid, None, None))
        elif self._is_hung(now - max(self._born, self._helper.last_beat())):
            self._hung = True
            _kill(self.pid)

    def _is_hung(self, seconds: float) -> bool:
        """Tell whether it hangs that was not well for so long; never if the settings say so."""
        limit = self._limits.hang_seconds
        return bool(limit) and seconds > max(limit, _SHORTEST_HANG_SECONDS) * self._helper.patience

    def end(self) -> None:
        """End it, and wait until it has: the host ends, and no loop reaps it any more."""
        self._ending = True
        self._leave_pipe()
        for pid in (self.pid, self._before):
            if pid is not None:
                with suppress(OSError):  # somebody else has reaped it
                    processes.wait(pid, _END_SECONDS)
        self.pid = self._before = None

    def close_in_child(self) -> None:
        """Close what is the supervisor's of it, in another child: else it would never end."""
        self._leave_pipe()

    def _leave_pipe(self) -> None:
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1

    def _again(self, pid: int, cause: str) -> None:
        """Start it again, at once if it has lived long, else after a pause that doubles."""
        if pid and self._loop.now - self._born >= _STEADY_SECONDS:
            self._pause = 0.0
        seconds, self._pause = self._pause, max(2 * self._pause, _FIRST_PAUSE_SECONDS)
        self._pause = min(self._pause, self._limits.respawn_backoff_max_seconds)
        self._telemetry.emit(
            HELPER_ENDED, name=self._helper.name, pid=pid, cause=cause, seconds=round(seconds, 1)
        )
        self._loop.call_at(self._loop.now + seconds, self.start)


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
