"""What a worker is given at its start, and who it is."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from host.interfaces import Listener
from host.ipc.client_counts import ClientRow
from host.ipc.scoreboard import Row, Scoreboard

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
        stacks: the pipe that its stacks are printed to when it crashes or hangs.
        clients: its row of the counts of clients; None if no listener limits them.
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
    stacks: int
    clients: ClientRow | None
    tls: TlsContexts | None = None

    @property
    def streams(self) -> list[socket.socket]:
        """The listening sockets that connections come in on."""
        return [each for number, each in enumerate(self.sockets) if number not in self.shards]
