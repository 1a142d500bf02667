"""What all connections of one listener in one worker share."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from host.interfaces import CloseReason, Listener, Worker
from host.ipc.scoreboard import Cells
from host.net.sockets import pending_error
from host.runtime.loop import Poller
from host.telemetry.emitter import ReportFailure

FEW_BYTES = 448
"""With its head a bytes object of that size is one of CPython's small ones (up to 512 bytes), which
are had and given back several times faster."""


@dataclass(slots=True)
class ListenerContext:
    """What all connections of one listener in one worker share.

    Connections are `Any` here, since their class knows this one.

    Attributes:
        on_readable: the bound hook of the listener's plugin.
        on_accept, on_close, on_drain: bound hooks; they isolate failures and say whether there
            were none. The first two are None if nobody hears them.
        blame: names the plugin that an exception of `on_readable` comes from.
        report: tells of a failed hook: plugin, hook, error, the hook's arguments.
        touched: connections to which something has happened that their event's handling does not
            see to: writes by others or after a flush, the end. The worker settles them at the end
            of the turn.
        stalled: connections whose peer does not take what is sent, and since when.
        connections: all that are open in this worker.
        on_end: called with a connection that has ended, before its plugins hear of it.
        cells, call_cell: the scoreboard's cells, and which of them says what is being called.
        few: how much is read first as long as no more comes.
        read, write, close, error: what is done with descriptors: read(2), write(2), close(2), and
            what error waits on one (0 for none).
    """

    listener: Listener
    worker: Worker
    loop: Poller
    on_accept: Callable[[Any], bool] | None
    on_readable: Callable[[Any], object]
    on_close: Callable[[Any, CloseReason], object] | None
    on_drain: Callable[[Any, float], object]
    blame: Callable[[BaseException], str]
    report: ReportFailure
    on_end: Callable[[Any, CloseReason], None]
    connections: set[Any]
    touched: list[Any]
    stalled: dict[Any, float]
    read_size: int = 65_536
    high_water: int = 262_144
    low_water: int = 65_536
    max_unsent: int = 16_777_216
    cells: Cells = field(default_factory=lambda: [0])
    call_cell: int = 0
    read: Callable[[int, int], bytes] = os.read
    write: Callable[[int, bytes | memoryview], int] = os.write
    close: Callable[[int], None] = os.close
    error: Callable[[int], int] = pending_error
    few: int = field(init=False)

    def __post_init__(self) -> None:
        """Work out what follows from the rest."""
        self.few = min(FEW_BYTES, self.read_size)
