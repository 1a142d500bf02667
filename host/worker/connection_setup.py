"""Readies a worker for the connections of its listeners: contexts, TLS, and who is asked first."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from host.interfaces import CloseReason, Listener, Worker
from host.ipc.assignment import Assignment
from host.ipc.doing import noting
from host.ipc.recent import RecentWriter
from host.ipc.scoreboard import BYTES_IN, BYTES_OUT, CURRENT_CALL, OPEN
from host.plugin.binding import ListenerHooks
from host.plugin.isolation import no_plugins
from host.runtime.loop import Loop
from host.settings import Settings
from host.telemetry.emitter import ReportFailure, Telemetry
from host.worker.acceptor import Acceptor
from host.worker.access import AccessRules
from host.worker.capacity import Capacity
from host.worker.client_limits import ClientLimit, client_limit
from host.worker.closing import log_closed
from host.worker.context import ListenerContext, OpenConnections
from host.worker.counting import counting_bytes, counting_ends
from host.worker.losses import ListenerLosses
from host.worker.noting import noting_ends
from host.worker.open_counts import counting_close

if TYPE_CHECKING:  # a worker that does not need them does not import them
    from host.worker.admission import Admission
    from host.worker.tls_setup import TlsSetup


@dataclass(slots=True, kw_only=True, eq=False)
class ConnectionSetup:
    """Makes what serves the connections of a worker, by its settings.

    Attributes:
        assignment: what the supervisor has given to the worker.
        settings: the settings of the host.
        worker: what plugins see of the worker.
        loop: the worker's loop.
        connections: the worker's connections.
        capacity: told of connections that end.
        report: told of failures of plugins.
        telemetry: told of events.
        bind: binds the hooks of a protocol plugin.
        recent: writes down what happens.
        contexts: what the connections of each listener share, by its number; after them come those
            of the plugins that clients of TLS can ask for. `make_contexts` makes them.
        tls: the TLS of the worker; None if its settings have none.
    """

    assignment: Assignment
    settings: Settings
    worker: Worker
    loop: Loop
    connections: OpenConnections
    capacity: Capacity
    report: ReportFailure
    telemetry: Telemetry
    bind: Callable[[str], ListenerHooks]
    recent: RecentWriter
    contexts: list[ListenerContext] = field(init=False, default_factory=list)
    tls: TlsSetup | None = field(init=False, default=None)
    _limits: list[ClientLimit | None] = field(init=False)

    def __post_init__(self) -> None:
        """Find out what one client may do at each listener; None if it may do anything."""
        settings, row = self.settings, self.assignment.clients
        self._limits = [
            None if row is None else client_limit(settings.limits, listen, row)
            for listen in settings.listens
        ]

    def make_contexts(self) -> list[ListenerContext]:
        """Return the contexts of all listeners, and of the plugins that clients can ask for."""
        self.contexts = list(map(self._context, self.assignment.listeners))
        if self.assignment.tls is not None:
            from host.worker.tls_setup import TlsSetup  # noqa: PLC0415  (by then it is imported)

            self.tls = TlsSetup(self.assignment.tls, self.settings, self.loop, self._counting)
            self.tls.take_over(self.contexts, self._context)
        return self.contexts

    def make_acceptor(self) -> Acceptor:
        """Return what accepts the connections, which counts them where there is a number of places.

        Its contexts are those that were made before.
        """
        assignment, loop = self.assignment, self.loop
        sockets, row = assignment.sockets, assignment.row
        acceptor = Acceptor(sockets, self.contexts, row, loop, self.telemetry, self.capacity)
        acceptor.note = self.recent.note
        for number, listen in enumerate(self.settings.listens):
            if listen.max_connections:
                acceptor.count_open(number, row.cell(number, OPEN))
        return acceptor

    def make_admission(self, acceptor: Acceptor) -> Admission | None:
        """Have connections asked first where the settings want it; None if they never do."""
        assignment, loop, tls = self.assignment, self.loop, self.tls
        rules = list(map(AccessRules, self.settings.listens, self._limits))
        if all(each.is_open for each in rules) and tls is None:
            return None
        # By then they are imported.
        from host.worker.admission import Admission  # noqa: PLC0415
        from host.worker.refusals import Refusals, closers  # noqa: PLC0415

        closes = [
            closers(context.close, listen.refuse)
            for context, listen in zip(self.contexts, self.settings.listens, strict=False)
        ]
        row, slot, capacity = assignment.row, assignment.slot, self.capacity
        refusals = Refusals(assignment.listeners, closes, row, slot, loop, self.telemetry, capacity)
        refusals.note = self.recent.note
        pending, limits = self.connections.pending, self.settings.limits
        admission = Admission(rules, acceptor.begin, loop, refusals, capacity, pending, limits)
        admission.tls = tls
        if tls is not None:
            tls.tell_refusals(refusals)
        for number, each in enumerate(rules):
            has_tls = tls is not None and number in tls
            if has_tls or not each.is_open:
                waits = has_tls or each.versions is not None
                acceptor.ask_first(number, admission.begin, admission.is_full if waits else None)
        return admission

    def _context(self, listener: Listener) -> ListenerContext:
        row, telemetry, hooks = self.assignment.row, self.telemetry, self.bind(listener.plugin)
        access, slot = self.settings.log.access, self.assignment.slot
        context = ListenerContext(
            listener,
            worker=self.worker,
            loop=self.loop,
            on_accept=None if hooks.on_accept is no_plugins else hooks.on_accept,
            on_readable=hooks.on_readable,
            on_close=None if hooks.on_close is no_plugins else hooks.on_close,
            on_drain=hooks.on_drain,
            on_tls=hooks.on_tls,
            blame=hooks.blame,
            report=self.report,
            on_end=self._ending(listener),
            close=self._closing(listener),
            limits=self.settings.connection,
            losses=ListenerLosses(listener, row, self.loop.time, telemetry, slot),
            log_closed=functools.partial(log_closed, telemetry, self.loop) if access else None,
            connections=self.connections,
            cells=row.cells,
            call_cell=row.index(CURRENT_CALL),
            bytes_in_cell=row.cell(listener.index, BYTES_IN),
            bytes_out_cell=row.cell(listener.index, BYTES_OUT),
            note_doing=noting(row),
        )
        return self._counting(context)

    def _counting(self, context: ListenerContext) -> ListenerContext:
        """Have each byte counted at once, if the host is shown."""
        return counting_bytes(self.assignment.row, context) if self.settings.ops.listen else context

    def _ending(self, listener: Listener) -> Callable[[Any, CloseReason], None]:
        """Return what counts the ends of connections, and writes them down."""
        on_end = noting_ends(self.capacity.connection_ended, self.recent.note, listener.index)
        if not self.settings.ops.listen:
            return on_end
        return counting_ends(on_end, self.assignment.row, listener.index)

    def _closing(self, listener: Listener) -> Callable[[int], None]:
        """Return what closes the descriptors of a listener, and takes them off its counts."""
        row, clients = self.assignment.row, self._limits[listener.index]
        close: Callable[[int], None] = os.close
        if self.settings.listens[listener.index].max_connections:
            close = counting_close(close, row.cells, row.cell(listener.index, OPEN))
        return close if clients is None else clients.closing(close)
