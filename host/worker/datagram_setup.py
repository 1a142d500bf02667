"""Readies a worker to read the shards of UDP listeners that it has inherited."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

from host.interfaces import Listener, Worker
from host.ipc.assignment import Assignment
from host.ipc.current_peer import place_of
from host.ipc.scoreboard import (
    BYTES_IN,
    BYTES_OUT,
    CURRENT_CALL,
    DATAGRAMS,
    DROPPED_REPLIES,
    REFUSED_REPLIES,
    REPLIES,
)
from host.net.shards import open_shards
from host.plugin.binding import ListenerHooks
from host.runtime.loop import Loop
from host.settings import Settings
from host.settings.address import parse
from host.telemetry.emitter import ReportFailure, Telemetry
from host.telemetry.events import REPLIES_REFUSED
from host.worker.access import AccessRules
from host.worker.datagram_admission import DatagramAdmission, datagram_rate
from host.worker.datagram_counting import DatagramCounts
from host.worker.datagrams import (
    Datagram,
    DatagramCells,
    DatagramContext,
    ShardReader,
    receive_at_any,
    receive_from,
)
from host.worker.shards import Shard

_TELL_AGAIN_SECONDS = 10.0
_COUNT_SECONDS = 0.1
"""So old are the counters of the scoreboard at most, unless the host is shown."""


class DatagramSetup:
    """Makes what reads the shards, listener by listener.

    Args:
        worker: what plugins see of the worker.
        assignment: what the supervisor has given to it.
        loop: tells the time.
        report: told of failures of plugins.
        telemetry: told of replies that are refused, now and then.
    """

    def __init__(
        self,
        worker: Worker,
        assignment: Assignment,
        loop: Loop,
        report: ReportFailure,
        telemetry: Telemetry,
    ) -> None:
        self._worker, self._assignment, self._loop = worker, assignment, loop
        self._report, self._telemetry = report, telemetry
        self._silent_until: dict[int, float] = {}
        self._shards: dict[int, Shard] = {}
        self.contexts: list[DatagramContext] = []

    def make_shards(
        self, bind: Callable[[str], ListenerHooks], settings: Settings
    ) -> dict[int, Shard]:
        """Return all shards, by their descriptors.

        Args:
            bind: binds the hooks of a protocol plugin.
            settings: the settings of the host.
        """
        for listener in self._assignment.listeners:
            if listener.index in self._assignment.shards:
                self._add(listener, bind(listener.plugin), settings)
        return self._shards

    def _add(self, listener: Listener, hooks: ListenerHooks, settings: Settings) -> None:
        """Make the shards of one listener."""
        if hooks.on_datagram is None:
            return
        row, number = self._assignment.row, listener.index
        counts = DatagramCounts(row, number) if settings.ops.listen else None
        context = self._context(listener, hooks, settings)
        if counts is not None:
            context.counters, context.is_counting = counts.cells, True  # nothing is left to write
            context.on_refused = counts.refusing(context.on_refused)
        self.contexts.append(context)
        meet = receive_at_any if parse(listener.address).is_wildcard else receive_from
        first, others = self._assignment.sockets[number], self._assignment.shards[number][1:]
        for sock in open_shards(first, others):
            receive, send = meet(sock)
            if counts is not None:
                receive, send = counts.receiving(receive), counts.sending(send)
            self._shards[sock.fileno()] = Shard(sock, ShardReader(receive, send, context))

    def _context(
        self, listener: Listener, hooks: ListenerHooks, settings: Settings
    ) -> DatagramContext:
        """Return what the datagrams of one listener share; counts are written now and then."""
        assert hooks.on_datagram is not None  # see `_add`
        listen, row = settings.listen[listener.index], self._assignment.row
        clients = self._assignment.clients
        admission = DatagramAdmission(
            AccessRules(listen),
            datagram_rate(settings.limits, clients),
            clients,
            functools.partial(row.add, listener.index),
        )
        return DatagramContext(
            listener,
            worker=self._worker,
            on_datagram=hooks.on_datagram,
            blame=hooks.blame,
            report=self._report,
            factor=listen.reply_factor or math.inf,
            admits=None if admission.is_open else admission.admits,
            on_refused=self._tell_refused,
            call_soon=self._call_soon,
            cells=row.cells,
            call_cell=row.index(CURRENT_CALL),
            peer_place=place_of(row),
            counters=DatagramCells(
                received=row.cell(listener.index, DATAGRAMS),
                bytes_in=row.cell(listener.index, BYTES_IN),
                replies=row.cell(listener.index, REPLIES),
                bytes_out=row.cell(listener.index, BYTES_OUT),
                dropped=row.cell(listener.index, DROPPED_REPLIES),
                refused=row.cell(listener.index, REFUSED_REPLIES),
            ),
        )

    def _call_soon(self, function: Callable[[], None]) -> None:
        self._loop.call_at(self._loop.now + _COUNT_SECONDS, function)

    def _tell_refused(self, datagram: Datagram, size: int) -> None:
        """Tell of a reply that was too long, at most once in a while for each listener."""
        number, now = datagram.listener.index, self._loop.now
        if now < self._silent_until.get(number, 0.0):
            return
        self._silent_until[number] = now + _TELL_AGAIN_SECONDS
        self._telemetry.emit(
            REPLIES_REFUSED,
            address=datagram.listener.address,
            peer=datagram.peer,
            size=size,
            asked=len(datagram.data),
        )
