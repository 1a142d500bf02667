"""How the supervisor re-executes itself: it hands over all that it holds, and calls execve(2)."""

from __future__ import annotations

import json
import os
import resource
import socket
from collections.abc import Callable, Collection, Sequence
from errno import EACCES, EADDRINUSE
from typing import Any, NamedTuple

from host.bus.hub import HubState
from host.bus.supervisor_end import BusRouter
from host.control.server import ControlServer
from host.errors import ListenError
from host.ipc.host_counts import HostCounts
from host.ipc.scoreboard import scoreboard_size
from host.ipc.series import OwnSeries
from host.net.activation import PassedSockets
from host.net.listeners import ListeningSocket
from host.net.shards import ShardGroup
from host.runtime import lineage
from host.runtime.loop import Loop
from host.runtime.privileges import give_up_capabilities
from host.runtime.scheduling import BatchScheduling
from host.runtime.signals import Signals
from host.settings import AppliedSetting, Settings
from host.supervisor.generation import Generation
from host.supervisor.generations import Generations
from host.supervisor.reload import handover, stand_in
from host.supervisor.reload.reloader import Plan, Program, ReloadError
from host.supervisor.reload.sockets import changed_shards, naming_own, open_missing
from host.supervisor.workers.exits import ExitReports
from host.supervisor.workers.handles import WorkerHandle, Workers
from host.telemetry.logs import LogWriter
from host.text import reason

_NOT_ROOT = (
    "this host is not root's (process.user): restart it to add that. If root starts it with "
    'process.keep = ["bind"], reloads can add ports below 1024'
)


_SPARE_BYTES = 8 << 20
"""Address space for what a process maps after its plugins are loaded, besides counters."""


class ReexecParts(NamedTuple):
    """What is handed over, and what must pause during the exec.

    Attributes:
        program: what is executed.
        control: the name and the descriptor of the control socket, if there is one.
        bridge: returns the process that speaks to a broker, if there is one.
        ops: returns the sockets where it is shown how the host is, the process that does, and the
            ends of the socket for its events.
        passed: the sockets that a service manager has passed.
        service: returns how the service manager is told.
        started: when the host was started, in seconds of the loop's clock.
        started_at: the same in seconds since the epoch.
        max_connections: how many connections a worker may hold.
        applied: returns the settings as people see them.
    """

    program: Program
    loop: Loop
    log: LogWriter
    signals: Signals
    batch: BatchScheduling
    router: BusRouter
    workers: Workers
    exits: ExitReports
    generations: Generations
    counts: HostCounts
    bridge: Callable[[], int | None]
    ops: Callable[[], tuple[Sequence[ListeningSocket], int | None, tuple[int, int] | None]]
    control: tuple[str, int] | None
    passed: PassedSockets
    service: Callable[[], handover.Service | None]
    started: float
    started_at: float
    settings: Settings
    max_connections: int
    applied: Callable[[], list[AppliedSetting]]


def start_stand_in(parts: ReexecParts) -> handover.StandIn:
    """Fork the process that hands out connections until the new supervisor does.

    Raises:
        OSError: EAGAIN, ENOMEM, EMFILE.
    """
    serving = parts.generations.serving
    channels = {
        handle.record.pid: handle.channel.fileno()
        for handle in parts.workers
        if handle.generation is serving
    }

    written = os.memfd_create("written", os.MFD_CLOEXEC)

    def close() -> None:
        parts.counts.begin_writing_down(written)
        # Not the pipes of helper processes: that which shows how the host is goes on until this
        # one ends, when the new supervisor has taken over.
        if parts.settings.process.keep:
            give_up_capabilities()
        parts.signals.close()
        parts.loop.close()
        parts.router.close()
        if parts.program.kept is not None:
            os.close(parts.program.kept)

    try:
        pid, pipe = stand_in.start(
            serving, channels, send=parts.workers.send, log=parts.log, close=close
        )
    except OSError:
        os.close(written)
        raise
    return handover.StandIn(pid=pid, pipe=pipe, written=written)


def reexec(
    parts: ReexecParts,
    plan: Plan,
    on_certain: Callable[[], object],
    start: Callable[[ReexecParts], handover.StandIn] = start_stand_in,
) -> None:
    """Open what the plan adds, and re-execute this process (execve(2)). Returns by an error only.

    Args:
        parts: what is handed over.
        plan: what the new settings ask for.
        on_certain: called when nothing but the exec itself can fail any more.
        start: starts the stand-in; `start_stand_in` if left out.

    Raises:
        ListenError, ReloadError: a new address or name is refused; nothing has changed.
        OSError: this process cannot be re-executed; nothing has changed.
    """
    before = parts.settings
    existing = [each for one in parts.generations.with_listeners for each in one.sockets]
    causes = (
        plan.process.change_since(before.process),
        plan.bus.change_since(before.bus),
        changed_shards(plan.listen, existing),
        _lack_of_address_space(parts.generations, plan),
    )
    if cause := next(filter(None, causes), ""):
        raise ReloadError(cause)
    opened, opened_ops = _open_added(parts, plan, existing)
    renamed: socket.socket | None = None
    parts.signals.block()
    parts.batch.end()  # the next one begins as this one has begun
    process: handover.StandIn | None = None
    try:
        renamed = _bind_new_name(parts, plan)
        if renamed is not None and plan.control is not None:
            parts = parts._replace(control=(plan.control, renamed.fileno()))
        process = start(parts)
        handed = hand_over(parts, [*existing, *opened], process, opened_ops)
        origin = parts.program.origin
        with origin.resumed(), handed.inheritable(origin.environment) as environment:
            on_certain()
            parts.counts.executing_since = parts.loop.time()
            with origin.with_its_umask():
                os.execve(parts.program.file, parts.program.arguments, environment)
    except BaseException:
        if process is not None:
            stand_in.stop(process.pid, process.pipe)
            os.close(process.written)
        for listener in (*opened, *opened_ops):
            listener.close()
        if renamed is not None:
            renamed.close()
        raise
    finally:  # reached after an error only; the stand-in may have handed out connections meanwhile
        parts.counts.executing_since = 0.0
        parts.signals.unblock()
        parts.batch.begin()
        parts.generations.handing_out.runner.recount()


def _open_added(
    parts: ReexecParts, plan: Plan, existing: Sequence[ListeningSocket]
) -> tuple[list[ListeningSocket], list[ListeningSocket]]:
    """Open what the plan adds to the listeners, and to the addresses where the host is shown.

    Raises:
        ListenError: an address is refused; nothing is left open.
    """
    opened: list[ListeningSocket] = []
    try:
        opened = open_missing(plan.listen, existing, parts.passed)
        with naming_own((), [*existing, *opened]):
            return opened, open_missing(plan.ops, parts.ops()[0], parts.passed)
    except ListenError as error:
        for listener in opened:
            listener.close()
        if error.errno == EACCES and parts.settings.process.user:
            raise ListenError(error.address, EACCES, _NOT_ROOT) from error
        raise


def _bind_new_name(parts: ReexecParts, plan: Plan) -> socket.socket | None:
    """Return the control socket of the name that the plan gives to the host, if that is new.

    Raises:
        ReloadError: another process has it, so the change could not take effect.
    """
    before = parts.settings.name if parts.settings.admin.enabled else None
    if plan.control is None or plan.control == before:
        return None
    try:
        return ControlServer.bind(plan.control)
    except OSError as error:
        cause = reason(error)
        if error.errno == EADDRINUSE:
            cause = f"{ControlServer.owner(plan.control)} has it"
        raise ReloadError(f'the host cannot be called "{plan.control}" (name): {cause}') from None


def hand_over(
    parts: ReexecParts,
    listeners: Sequence[ListeningSocket],
    process: handover.StandIn,
    opened_ops: Sequence[ListeningSocket] = (),
) -> handover.Handover:
    """Return what this supervisor holds, as values; nothing changes.

    Args:
        parts: what holds it.
        listeners: the bound listeners, with those that the new generation alone has.
        process: the stand-in.
        opened_ops: sockets that only the new supervisor shows the host at.
    """
    generations, serving = parts.generations, parts.generations.serving
    sockets = {each.fileno(): each for each in listeners}  # two generations may have one
    numbers = {descriptor: number for number, descriptor in enumerate(sockets)}
    workers = [_worker(handle, parts.router) for handle in parts.workers]
    alive = {worker.generation for worker in workers} | {serving.number}
    return handover.Handover(
        generation=generations.next_number,
        started=parts.started,
        started_at=parts.started_at,
        reloaded=parts.loop.now,
        restarts=parts.exits.restarts,
        accepted=generations.accepted,
        events=parts.counts.events,
        restarts_by_cause=parts.counts.restarts,
        ended=_ended(generations, alive),
        sockets=[_socket(each) for each in sockets.values()],
        passed=list(parts.passed.sockets),
        scores=[_scores(each) for each in generations.all if each.number in alive],
        serving=handover.Serving(
            generation=serving.number,
            wake=generations.handing_out.runner.wake,
            sockets=[numbers[each.fileno()] for each in serving.sockets],
        ),
        workers=workers,
        shards=[
            handover.Shard(fd=shard, pid=owner.pid, releasing=owner.releasing)
            for shard, owner in generations.shards.owners.items()
        ],
        stand_in=process,
        service=parts.service(),
        clients=None if generations.clients is None else generations.clients.fileno(),
        control=parts.control,
        log=parts.log.state(),
        log_descriptor=parts.log.fileno(),
        log_file=parts.log.file.descriptor if parts.log.file else None,
        lineage=lineage.descriptor(),
        kept=parts.program.kept,
        hangs=list(parts.exits.hangs),
        settings=handover.settings_as_text(parts.settings),
        max_connections=parts.max_connections,
        applied=json.dumps(parts.applied()),
        **_beside_workers(parts, opened_ops),
    )


def _beside_workers(parts: ReexecParts, opened_ops: Sequence[ListeningSocket]) -> dict[str, Any]:
    """Return what is handed over of the processes beside the workers, and of the bus."""
    ops, helper, feed = parts.ops()
    known = parts.router.hub.state()
    is_embedded = isinstance(known, HubState)
    return {
        "ops": [_socket(each) for each in (*ops, *opened_ops)],
        "ops_before": len(ops),
        "helper": helper,
        "feed": feed,
        "topics": known if is_embedded else None,
        "remote": None if is_embedded else known,
        "bridge": parts.bridge(),
    }


def _lack_of_address_space(generations: Generations, plan: Plan) -> str:
    """Return why the next process could not map all counters, or "".

    It could not do without those of workers that serve, and nobody could go back to this one.
    """
    most, _ = resource.getrlimit(resource.RLIMIT_AS)
    if most == resource.RLIM_INFINITY or not plan.address_space:
        return ""
    boards = [each.scoreboard.size for each in generations.all]
    boards += [board.size for each in generations.all for board in each.boards]
    if generations.clients is not None:
        boards.append(generations.clients.size)
    needed = sum(boards) + scoreboard_size(len(plan.listen)) + plan.address_space + _SPARE_BYTES
    if needed <= most:
        return ""
    return (
        f"it needs {needed >> 20} MiB of address space to begin, with the counters of"
        f" {len(generations.all)} generations that have workers, and {most >> 20} MiB are allowed"
        " (RLIMIT_AS, ulimit -v)"
    )


def _ended(generations: Generations, alive: Collection[int]) -> handover.Ended:
    """Return what was counted by all generations whose scoreboards are not handed over."""
    ended, series = generations.ended.copy(), generations.ended_series.copy()
    for each in generations.all:
        if each.number not in alive:
            ended.add(each.scoreboard, each.listeners)
            for board in each.boards:
                series.add(board, each.scoreboard)
    counted = [
        family._replace(counts=[each for each in family.counts if any(each.words)])
        for family in series
    ]
    return handover.Ended(slots=list(ended.slots), listeners=list(ended.listeners), series=counted)


def _socket(listener: ListeningSocket) -> handover.Socket:
    return handover.Socket(
        fd=listener.fileno(),
        others=list(listener.shards[1:]) if isinstance(listener, ShardGroup) else [],
        configured=listener.configured,
        max_rate=listener.max_rate,
        max_connections=listener.max_connections,
        address=listener.view.address,
        file=listener.file,
        source=listener.source,
    )


def _scores(generation: Generation) -> handover.Scores:
    return handover.Scores(
        generation=generation.number,
        fd=generation.scoreboard.fileno(),
        series=_series(generation.series),
        swapped=_series(generation.swapped),
        listeners=[(view.address, view.plugin) for view in generation.listeners],
    )


def _worker(handle: WorkerHandle, router: BusRouter) -> handover.Worker:
    record = handle.record
    bus = router.state(record.pid)
    return handover.Worker(
        slot=record.slot,
        pid=record.pid,
        generation=record.generation,
        row=handle.row.number,
        born=record.born,
        state=record.state.value,
        deadline=record.deadline,
        was_ready=record.was_ready,
        expected=record.expected,
        retiring=record.retiring,
        served_before=handle.served_before,
        control=handle.channel.fileno(),
        rest=handle.channel.rest,
        stacks=handle.stack_reader.fileno(),
        bus=None
        if bus is None
        else handover.Bus(fd=bus[0], rest=bus[1][0], queued=bus[1][1], dropped=bus[1][2]),
        held=handle.held,
        clients=handle.clients,
        plugins=json.dumps(handle.plugins),
    )


def _series(own: OwnSeries) -> handover.Series | None:
    if own.board is None:
        return None
    return handover.Series(fd=own.board.fileno(), families=list(own.board.families))
