"""How a re-executed supervisor takes over what the one before has handed over."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from host.bus.supervisor_end import BusRouter
from host.dispatch.sharding import Ownership, ShardTable
from host.interfaces import Listener
from host.ipc.client_counts import ClientCounts
from host.ipc.host_counts import HostCounts
from host.ipc.scoreboard import Scoreboard
from host.ipc.series import SeriesBoard
from host.ipc.series_totals import SeriesTotals
from host.ipc.supervisor_end import SupervisorChannel
from host.ipc.totals import Totals
from host.net.listeners import ListeningSocket
from host.runtime.loop import Loop
from host.runtime.stacks import StackReader
from host.supervisor.dispatch_setup import DispatchSetup
from host.supervisor.generation import Generation
from host.supervisor.generations import Generations
from host.supervisor.reload import handover, stand_in
from host.supervisor.reload.sockets import bound_socket
from host.supervisor.workers.handles import WorkerHandle, Workers
from host.supervisor.workers.states import KillWorker, WorkerRecord, WorkerState
from host.telemetry.emitter import Telemetry

if TYPE_CHECKING:
    from host.supervisor.bridge import Bridge


class TakeoverParts(NamedTuple):
    """The parts of a supervisor that receive what was handed over; `bridge` if it has a broker."""

    loop: Loop
    telemetry: Telemetry
    router: BusRouter
    workers: Workers
    dispatching: DispatchSetup
    bridge: Bridge | None = None


def take_over(
    handed: handover.Handover,
    inherited: Sequence[socket.socket],
    coming: Generation,
    parts: TakeoverParts,
    clients: ClientCounts | None = None,
) -> Generations:
    """Take over generations, workers and the bus; workers are told of no connection yet.

    Args:
        handed: what was handed over.
        inherited: the sockets in it, which the generation that serves will close.
        coming: the generation that is to take over.
        parts: what receives it.
        clients: where the workers that there are count their clients, if they do.
    """
    found = {each.generation: _generation(each, handed, inherited) for each in handed.scores}
    for generation in found.values():
        generation.clients = clients
    parts.router.hub.restore(handed.remote or handed.topics)
    for worker in handed.workers:
        _adopt(worker, found[worker.generation], parts.workers)
    _keep_without_successor([handle.record for handle in parts.workers])
    serving = found.pop(handed.serving.generation)
    parts.dispatching.prepare(serving, handed.serving.wake)
    generations = Generations(
        parts.loop,
        parts.telemetry,
        serving,
        coming=coming,
        older=found.values(),
        accepted=handed.accepted,
        shards=ShardTable({each.fd: Ownership(each.pid, each.releasing) for each in handed.shards}),
    )
    generations.ended = Totals(handed.ended.slots, handed.ended.listeners)
    generations.ended_series = SeriesTotals(handed.ended.series)
    return generations


def end_stand_in(
    handed: handover.Handover, generations: Generations, workers: Workers, counts: HostCounts
) -> None:
    """End the stand-in, if there is one; then let schedulers choose the workers that serve.

    In this order: only when the stand-in has ended it is certain what each worker has been told.

    Args:
        handed: what was handed over.
        generations: those that were taken over.
        workers: their workers.
        counts: goes on with the events that the stand-in has told.
    """
    process = handed.stand_in
    if process is not None:
        stand_in.stop(process.pid, process.pipe)
        counts.add_written(process.written, handed.events)
        os.close(process.written)
    serving = generations.serving
    for handle in workers:
        record = handle.record
        if handle.generation is serving and record.state is WorkerState.READY:
            accepted = generations.accepted.get(record.slot, 0) + handle.served
            serving.add_candidate(handle.row, record.id, accepted)
            generations.handing_out.dispatcher.hold(record.pid, handle.held)


def _generation(
    scores: handover.Scores, handed: handover.Handover, inherited: Sequence[socket.socket]
) -> Generation:
    """Return a generation with its scoreboard and, if it serves, its listening sockets."""
    number = scores.generation
    views = [Listener(index, *each) for index, each in enumerate(scores.listeners)]
    listening: list[ListeningSocket] = []
    if number == handed.serving.generation:
        for view, which in zip(views, handed.serving.sockets, strict=True):
            listening.append(bound_socket(handed.sockets[which], inherited[which], view))
    rows = [each.row for each in handed.workers if each.generation == number]
    generation = Generation(number, views, listening, Scoreboard(len(views), scores.fd), rows)
    if scores.series is not None:
        generation.series.board = SeriesBoard(scores.series.families, scores.series.fd)
    if scores.swapped is not None:
        generation.swapped.board = SeriesBoard(scores.swapped.families, scores.swapped.fd, rows=1)
    return generation


def _keep_without_successor(records: Sequence[WorkerRecord]) -> None:
    """Have a worker stay whose successor had not been started: nobody will start it now."""
    starting = WorkerState.STARTING
    started = {(each.slot, each.generation) for each in records if each.state is starting}
    for record in records:
        if record.retiring and (record.slot, record.generation) not in started:
            record.retiring = False


def _adopt(worker: handover.Worker, generation: Generation, workers: Workers) -> None:
    """Add a worker that was there before the exec."""
    record = WorkerRecord(
        worker.slot,
        worker.pid,
        worker.born,
        WorkerState(worker.state),
        worker.deadline,
        worker.generation,
        was_ready=worker.was_ready,
        expected=worker.expected,
        retiring=worker.retiring,
    )
    if record.state is WorkerState.ENDING:
        kill = KillWorker(record.pid, "it was about to be killed before the reload")
        record.forced_end = ((kill, 0.0),)
    handle = WorkerHandle(
        record,
        generation,
        generation.scoreboard.row(worker.row),
        SupervisorChannel(socket.socket(fileno=worker.control), worker.rest),
        StackReader(worker.stacks),
        worker.served_before,
        held=worker.held,
        plugins=json.loads(worker.plugins),
        clients=worker.clients,
    )
    bus = worker.bus
    if bus is None:
        workers.add(handle, None)
    else:
        workers.add(handle, socket.socket(fileno=bus.fd), (bus.rest, bus.queued, bus.dropped))
