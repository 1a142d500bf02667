"""The process that shows how the host is: what it is given, and when there is another one."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from host.ipc.assignment import CountedGeneration, OpsAssignment
from host.net.listeners import ListeningSocket
from host.settings import Lifecycle
from host.supervisor.helper import Helper, HelperProcess
from host.supervisor.status import HostState
from host.telemetry.emitter import Telemetry
from host.telemetry.feed import EventFeed

_PATIENCE = 4.0
"""Where all CPUs are busy it has a tenth of what a worker has: it may be well, and wait for one."""


class OpsBefore(NamedTuple):
    """What the supervisor before an exec has handed over.

    Attributes:
        pid: the process that shows how the host is; None if there is none.
        feed: the descriptors of the socket for events, the one to read from first.
    """

    pid: int | None
    feed: tuple[int, int] | None


NOTHING_BEFORE = OpsBefore(None, None)


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
        before: what the supervisor before an exec has handed over; this object closes it.
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
        before: OpsBefore = NOTHING_BEFORE,
    ) -> None:
        self._state, self.sockets, self._run = state, tuple(sockets), run
        helper = Helper(
            "ops.listen",
            run=self._be_helper,
            close=close,
            last_beat=lambda: state.counts.beat,
            patience=_PATIENCE,
        )
        self._helper = HelperProcess(helper, state.loop, telemetry, limits, before.pid)
        self._feed = tuple(socket.socket(fileno=each) for each in before.feed or ())
        if self.sockets and run is not None and not self._feed:
            self._feed = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        elif not self.sockets:
            self._close_feed()
        if self._feed:
            telemetry.subscribe(EventFeed(self._feed[1]))
        self.handle_exit = self._helper.handle_exit
        self.check_health = self._helper.check_health

    @property
    def pid(self) -> int | None:
        """The process; None if there is none at the moment."""
        return self._helper.pid

    @property
    def feed(self) -> tuple[int, int] | None:
        """The descriptors of the socket for events, the one to read from first; None for none."""
        return (self._feed[0].fileno(), self._feed[1].fileno()) if self._feed else None

    def _close_feed(self) -> None:
        for each in self._feed:
            each.close()
        self._feed = ()

    def knows(self, pid: int) -> bool:
        """Tell whether a child is such a process: this one's, or that of before an exec."""
        return self._helper.knows(pid)

    def start(self) -> None:
        """Start the process, if there is to be one."""
        if self.sockets and self._run is not None:
            self._helper.start()

    def renew(self) -> None:
        """Have another process show what was not there to be shown when this one began."""
        self._helper.replace()

    def reopen_log(self) -> None:
        """Have the process write to what has the path of the log file now."""
        self._helper.signal(signal.SIGUSR1)

    def end(self) -> None:
        """End the process and close the sockets: the host ends."""
        self._helper.end()
        self._close_feed()
        for listener in self.sockets:
            listener.close()

    def close_in_child(self) -> None:
        """Close what is the supervisor's and the process's own, in another child.

        It sends events through the other end of the socket for them.
        """
        self._helper.close_in_child()
        for reader in self._feed[:1]:
            reader.close()
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
            started=state.started_at,
            sockets=tuple(each.sock for each in self.sockets),
            generations=tuple(_counted(state)),
            ended=state.generations.ended,
            ended_series=state.generations.ended_series,
            counts=state.counts,
            feed=self._feed[0] if self._feed else None,
            stop=pipe,
            count_lines_dropped=state.counts.count_lines_dropped_by_ops,
        )


def _counted(state: HostState) -> Iterable[CountedGeneration]:
    for each in state.generations.all:
        yield CountedGeneration(each.number, each.listeners, each.scoreboard, each.boards)
