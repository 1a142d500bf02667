"""What a worker is given at its start, and who it is."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from host.interfaces import Listener
from host.ipc.client_counts import ClientRow
from host.ipc.host_counts import HostCounts
from host.ipc.scoreboard import Row, Scoreboard
from host.ipc.series import OwnSeries, SeriesBoard
from host.ipc.series_totals import SeriesTotals
from host.ipc.totals import Totals

if TYPE_CHECKING:  # a host without TLS does not import it
    from host.tls.tables import TlsContexts


class WorkerId(NamedTuple):
    """Who a worker is: its slot, its process, its generation."""

    slot: int
    pid: int
    generation: int


class Assignment(NamedTuple):
    """What the supervisor gives a worker; it all comes across the fork.

    Attributes:
        slot: the worker's slot.
        generation: its generation.
        parent: the supervisor's pid.
        control: its end of the control channel; the worker closes it.
        listeners: what plugins see of the listeners.
        sockets: the listening sockets, in the same order; the worker closes its copies to drain.
            Of a UDP listener it is the first one of its group.
        shards: the descriptors of all sockets of each UDP listener, by the listener's number; the
            worker closes its copies.
        scoreboard: the shared counters of its generation.
        row: its own row of them.
        wake: the eventfd that wakes the supervisor.
        bus: its end of the bus channel; the worker closes it.
        node: the name of this host among those on the bus; "" if it is the only one.
        stacks: the pipe that its stacks are printed to when it crashes or hangs.
        clients: its row of the counts of clients; None if no listener limits them.
        series: what is counted of plugins and by them.
        tls: what TLS sessions are made with; None if there are no tables [tls.NAME].
    """

    slot: int
    generation: int
    parent: int
    control: socket.socket
    listeners: tuple[Listener, ...]
    sockets: tuple[socket.socket, ...]
    shards: Mapping[int, tuple[int, ...]]
    scoreboard: Scoreboard
    row: Row
    wake: int
    bus: socket.socket
    node: str
    stacks: int
    clients: ClientRow | None
    series: OwnSeries
    tls: TlsContexts | None = None

    @property
    def streams(self) -> list[socket.socket]:
        """The listening sockets that connections come in on."""
        return [each for number, each in enumerate(self.sockets) if number not in self.shards]


class CountedGeneration(NamedTuple):
    """A generation, as far as its counters go.

    Attributes:
        number: its number.
        listeners: what its rows count for.
        scoreboard: the counters of the host.
        series: what plugins count, and what is counted of them: that of a scheduler that was
            swapped in comes last.
    """

    number: int
    listeners: tuple[Listener, ...]
    scoreboard: Scoreboard
    series: tuple[SeriesBoard, ...]


class OpsAssignment(NamedTuple):
    """What the supervisor gives the process that shows how the host is, across the fork.

    That process is replaced when a generation comes, so it need not hear of any. What one that ends
    has counted last stays in its scoreboard as long as this process has it.

    Attributes:
        parent: the supervisor's pid.
        name, version: those of the host.
        started: when the host was started, in seconds since the epoch.
        sockets: the listening sockets.
        generations: all generations that have workers.
        ended, ended_series: what those before have counted.
        counts: what the supervisor counts, and where this process writes that it is well.
        feed: where it reads the events of the log; the supervisor has the same socket.
        stop: a pipe that has its end when this process is to end; it closes it.
        count_lines_dropped: called with how many lines of the log it has dropped more.
    """

    parent: int
    name: str
    version: str
    started: float
    sockets: tuple[socket.socket, ...]
    generations: tuple[CountedGeneration, ...]
    ended: Totals
    ended_series: SeriesTotals
    counts: HostCounts
    feed: socket.socket | None
    stop: int
    count_lines_dropped: Callable[[int], object]


class BridgeAssignment(NamedTuple):
    """What the supervisor gives the process that speaks to a broker, across the fork.

    Attributes:
        parent: the supervisor's pid.
        sock: its end of the channel to the hub; it closes it.
        stop: a pipe that has its end when this process is to end; it closes it.
        beat: called again and again while it is well.
        count_lines_dropped: called with how many lines of the log it has dropped more.
    """

    parent: int
    sock: socket.socket
    stop: int
    beat: Callable[[], object]
    count_lines_dropped: Callable[[int], object]
