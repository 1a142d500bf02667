"""The process that shows how the host is: what it is given, and when there is another one."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterable, Sequence

from host.ipc.assignment import CountedGeneration, OpsAssignment
from host.net.listeners import ListeningSocket
from host.settings import Lifecycle
from host.supervisor.helper import Helper, HelperProcess
from host.supervisor.status import HostState
from host.telemetry.emitter import Telemetry


class Ops:
    """Has one process show how the host is, if there are addresses for that.

    The sockets stay bound over its death and over a reload, so that who asks meanwhile waits.

    Args:
        state: what is known of the host.
        telemetry: told of the process.
        limits: when it counts as hung, and how long it takes at most until there is another one.
        sockets: the bound listeners; none if nothing is to be shown. This object closes them.
        run: what the process does; None if there is to be none.
        close: closes, in the process, what the supervisor alone uses.
        before: the pid of the one that the supervisor before an exec has started, if there was one.
    """

    def __init__(
        self,
        state: HostState,
        telemetry: Telemetry,
        limits: Lifecycle,
        sockets: Sequence[ListeningSocket],
        run: Callable[[OpsAssignment], int] | None,
        *,
        close: Callable[[], object],
        before: int | None = None,
    ) -> None:
        self._state, self.sockets, self._run = state, tuple(sockets), run
        helper = Helper(
            "ops.listen",
            run=self._be_helper,
            close=close,
            last_beat=lambda: state.counts.beat,
        )
        self._helper = HelperProcess(helper, state.loop, telemetry, limits, before)
        self.handle_exit = self._helper.handle_exit
        self.check_health = self._helper.check_health

    @property
    def pid(self) -> int | None:
        """The process; None if there is none at the moment."""
        return self._helper.pid

    def knows(self, pid: int) -> bool:
        """Tell whether a child is such a process: this one's, or that of before an exec."""
        return self._helper.knows(pid)

    def start(self) -> None:
        """Start the process, if there is to be one."""
        if self.sockets and self._run is not None:
            self._helper.start()

    def reopen_log(self) -> None:
        """Have the process write to what has the path of the log file now."""
        self._helper.signal(signal.SIGUSR1)

    def end(self) -> None:
        """End the process and close the sockets: the host ends."""
        self._helper.end()
        for listener in self.sockets:
            listener.close()

    def close_in_child(self) -> None:
        """Close what is the supervisor's and the process's own, in another child."""
        self._helper.close_in_child()
        for listener in self.sockets:
            listener.close_in_fork()

    def _be_helper(self, pipe: int) -> int:
        """Be that process; `pipe` has its end when it is to end."""
        assert self._run is not None  # see `start`
        return self._run(self._assignment(pipe))

    def _assignment(self, pipe: int) -> OpsAssignment:
        state = self._state
        return OpsAssignment(
            parent=state.pid,
            name=state.name,
            version=state.version,
            started=time.time() - (state.loop.time() - state.started),
            sockets=tuple(each.sock for each in self.sockets),
            generations=tuple(_counted(state)),
            ended=state.generations.ended,
            ended_series=state.generations.ended_series,
            counts=state.counts,
            stop=pipe,
        )


def _counted(state: HostState) -> Iterable[CountedGeneration]:
    for each in state.generations.all:
        yield CountedGeneration(each.number, each.listeners, each.scoreboard, each.series.board)
