"""Makes the parts of a supervisor out of what it is given and what was handed over to it."""

from __future__ import annotations

import functools
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from host.bus.supervisor_end import BusRouter
from host.control.server import ControlServer
from host.dispatch.dispatcher import DispatchPolicy, Scheduler
from host.ipc.client_counts import ClientCounts
from host.ipc.host_counts import HostCounts
from host.net.listeners import ListeningSocket
from host.plugin.binding import HostHooks
from host.plugin.circuit_breaker import CircuitBreaker
from host.plugin.failures import Failures
from host.plugin.interference import Keeping
from host.runtime import lineage
from host.runtime.loop import Loop
from host.runtime.steps import Steps
from host.settings import Settings
from host.supervisor.certificates import CertificateRotation, RotationParts
from host.supervisor.command_handlers import CommandHandlers, CommandParts, Stop
from host.supervisor.dependencies import Dependencies
from host.supervisor.dispatch_setup import DispatchSetup
from host.supervisor.generation import Generation
from host.supervisor.generations import Generations
from host.supervisor.helpers import Helpers
from host.supervisor.lifecycle import LifecycleParts, WorkerLifecycle
from host.supervisor.ops import NOTHING_BEFORE, Ops, OpsBefore
from host.supervisor.orphans import Orphans
from host.supervisor.reload.reexec import ReexecParts, reexec
from host.supervisor.reload.reloader import Program, Reloader
from host.supervisor.reload.takeover import TakeoverParts, take_over
from host.supervisor.repair import Repair
from host.supervisor.service_manager import ServiceManager
from host.supervisor.shard_dealing import ShardDealer
from host.supervisor.shutdown import Shutdown
from host.supervisor.status import HostState
from host.supervisor.workers.exits import ExitReports
from host.supervisor.workers.handles import Workers
from host.supervisor.workers.last_call import LastCall
from host.supervisor.workers.pool import Pool
from host.supervisor.workers.queries import WorkerQueries
from host.supervisor.workers.states import PoolPolicy
from host.telemetry.emitter import Telemetry

if TYPE_CHECKING:
    from host.supervisor.bridge import Bridge


def _pool_policy(settings: Settings, generation: Generation) -> PoolPolicy:
    lifecycle = settings.lifecycle
    return PoolPolicy(
        workers=settings.workers,
        respawn=settings.respawn,
        start_timeout=lifecycle.start_timeout_seconds,
        drain_timeout=lifecycle.drain_timeout_seconds,
        pause_max=lifecycle.respawn_backoff_max_seconds,
        generation=generation.number,
    )


def make_dispatching(
    settings: Settings,
    dependencies: Dependencies,
    loop: Loop,
    hooks: HostHooks,
    workers: Workers,
    failures: Failures,
) -> DispatchSetup:
    """Make what readies each generation to hand out its connections."""
    missed_claim = settings.dispatch.missed_claim_ms / 1000
    policy = DispatchPolicy(dependencies.max_connections, missed_claim)
    telemetry = dependencies.telemetry
    return DispatchSetup(loop, telemetry, hooks.schedulers, policy, workers.send, failures)


def make_generations(
    sockets: Sequence[ListeningSocket],
    dependencies: Dependencies,
    parts: TakeoverParts,
    *,
    counts_clients: bool,
) -> Generations:
    """Make the generation of these sockets; after an exec, with all that were there before.

    Args:
        sockets: its listening sockets.
        dependencies: what was handed over.
        parts: what receives it.
        counts_clients: whether its workers count their clients.

    Raises:
        LimitsError: there is no address space for these counts.
    """
    handed, views = dependencies.handed, [listener.view for listener in sockets]
    clients = None
    if handed is not None and handed.clients is not None:
        rows = [each.clients for each in handed.workers if each.clients is not None]
        clients = ClientCounts(handed.clients, rows)
    elif counts_clients:
        clients = ClientCounts()
    mine = Generation(handed.generation if handed else 0, views, sockets)
    mine.clients = clients if counts_clients else None
    mine.began = handed.reloaded if handed else time.monotonic()
    if not dependencies.failed:
        # One eventfd for all generations: who frees a place in an older one wakes this supervisor.
        parts.dispatching.prepare(mine, None if handed is None else os.dup(handed.serving.wake))
    if handed is None:
        generations = Generations(parts.loop, parts.telemetry, mine)
    else:
        generations = take_over(handed, dependencies.inherited, mine, parts, clients)
    ShardDealer(parts.loop, generations, parts.workers.send)
    return generations


def make_rotation(
    dependencies: Dependencies,
    parts: TakeoverParts,
    generations: Generations,
    queries: WorkerQueries,
) -> CertificateRotation:
    """Make what looks after the certificates, if there are any."""
    handed = dependencies.handed
    before = frozenset(handed.settings_before.tls) if handed else frozenset()
    return CertificateRotation(
        dependencies.tls,
        RotationParts(parts.loop, parts.telemetry, generations, parts.workers, queries, before),
    )


def make_state(
    settings: Settings,
    dependencies: Dependencies,
    breaker: CircuitBreaker,
    parts: TakeoverParts,
    generations: Generations,
    shutdown: Shutdown,
    certificates: CertificateRotation,
) -> HostState:
    """Make what knows of the workers; it goes on with what was handed over."""
    counts = make_counts(dependencies)
    handed, workers = dependencies.handed, parts.workers
    policy = _pool_policy(settings, generations.current)
    pool = Pool(policy, [handle.record for handle in workers])
    last_call = LastCall(dependencies.registry.calls)
    exits = ExitReports(parts.loop, workers, parts.telemetry, last_call, counts)
    if handed is not None:
        exits.restore(handed.restarts, handed.hangs)
    began = generations.current.began
    return HostState(
        name=settings.name,
        version=dependencies.version,
        pid=os.getpid(),
        started=handed.started if handed else began,
        started_at=handed.started_at if handed else time.time() - (parts.loop.time() - began),
        loop=parts.loop,
        breaker=breaker,
        pool=pool,
        workers=workers,
        exits=exits,
        generations=generations,
        shutdown=shutdown,
        certificates=certificates,
        counts=counts,
        bridge=parts.bridge,
    )


def make_counts(dependencies: Dependencies) -> HostCounts:
    """Make what counts events, restarts and dropped lines; it goes on with what was handed over."""
    handed = dependencies.handed
    counts = HostCounts(handed.events, handed.restarts_by_cause) if handed else HostCounts()
    dependencies.telemetry.subscribe(counts.count_event)
    dependencies.log.count_dropped(counts.count_lines_dropped)
    return counts


def make_service_manager(state: HostState, dependencies: Dependencies) -> ServiceManager:
    """Make what tells the service manager; it goes on with what was handed over."""
    handed, telemetry = dependencies.handed, dependencies.telemetry
    before = handed.service if handed else None
    return ServiceManager(dependencies.notifier, telemetry, state, before, dependencies.stored)


def make_reloader(
    state: HostState,
    settings: Settings,
    dependencies: Dependencies,
    router: BusRouter,
    service: ServiceManager,
    ops: Ops,
) -> Reloader:
    """Make what reloads, with all that it hands over to the process that it becomes."""
    control = dependencies.control
    program = Program(sys.executable, sys.orig_argv, dependencies.origin, dependencies.kept)
    parts = ReexecParts(
        program=program,
        loop=state.loop,
        log=dependencies.log,
        signals=dependencies.signals,
        batch=dependencies.batch,
        router=router,
        workers=state.workers,
        exits=state.exits,
        generations=state.generations,
        counts=state.counts,
        bridge=lambda: state.bridge.pid if state.bridge else None,
        ops=lambda: (ops.sockets, ops.pid, ops.feed),
        control=(state.name, control.fileno()) if control else None,
        passed=dependencies.passed,
        service=service.hand_over,
        started=state.started,
        started_at=state.started_at,
        settings=settings,
        max_connections=dependencies.max_connections,
        applied=dependencies.applied,
    )
    return Reloader(
        state.loop,
        dependencies.telemetry,
        state.pool,
        state.generations,
        program,
        patience=settings.lifecycle.start_timeout_seconds,
        reexec=functools.partial(reexec, parts),
    )


def make_bridge(settings: Settings, loop: Loop, telemetry: Telemetry) -> Bridge | None:
    """Make what has a process speak to the broker, if there is one."""
    if settings.bus.is_embedded:
        return None
    # A host without a broker imports nothing of it.
    from host.supervisor.bridge import Bridge  # noqa: PLC0415

    return Bridge(loop, telemetry, settings.bus, settings.lifecycle)


def make_ops(
    state: HostState,
    settings: Settings,
    dependencies: Dependencies,
    close: Callable[[], object],
) -> Ops:
    """Make what has a process show how the host is; `close` closes in it what is not its own."""
    handed = dependencies.handed
    return Ops(
        state,
        dependencies.telemetry,
        settings.lifecycle,
        dependencies.ops,
        dependencies.run_ops,
        close=close,
        before=OpsBefore(handed.helper, handed.feed) if handed else NOTHING_BEFORE,
    )


def make_helpers(
    state: HostState, dependencies: Dependencies, ops: Ops, close: Callable[[], object]
) -> Helpers:
    """Make what looks after the processes beside the workers.

    Args:
        state: what is known of the host.
        dependencies: what they do, and what was handed over.
        ops: the one of them that shows how the host is.
        close: closes, in the one that speaks to a broker, what is not its own.
    """
    bridge, handed = state.bridge, dependencies.handed
    if bridge is not None:

        def close_others() -> None:
            ops.close_in_child()
            close()

        before = handed.bridge if handed else None
        bridge.prepare(state.pid, dependencies.run_bridge, state.counts, close_others, before)
    return Helpers(ops, bridge)


def begin_repair(
    repair: Repair, loop: Loop, generations: Generations, dependencies: Dependencies
) -> None:
    """Take this process as it should be, and the descriptors that it cannot be without."""
    serving = generations.serving
    own = [loop.fileno(), generations.handing_out.runner.wake, lineage.descriptor()]
    own += [each.fileno() for each in serving.streams]
    kept = [each for each in own if each is not None]
    repair.begin(Keeping(kept, dependencies.keeping().do_essentials))


def make_orphans(
    state: HostState, dependencies: Dependencies, reloader: Reloader, helpers: Helpers
) -> Orphans:
    """Make what looks after processes that plugins leave behind."""
    return Orphans(
        state.loop,
        dependencies.telemetry,
        state.workers,
        lambda pid: reloader.rehearses(pid) or helpers.knows(pid),
        state.generations.current.number,
        dependencies.registry.in_workers,
    )


def lifecycle_parts(
    state: HostState,
    telemetry: Telemetry,
    hooks: HostHooks,
    queries: WorkerQueries,
    orphans: Orphans,
    repair: Repair,
) -> LifecycleParts:
    """Collect what the life of the workers is made of."""
    return LifecycleParts(
        loop=state.loop,
        telemetry=telemetry,
        hooks=hooks,
        pool=state.pool,
        workers=state.workers,
        generations=state.generations,
        exits=state.exits,
        queries=queries,
        shutdown=state.shutdown,
        orphans=orphans,
        glance=repair.glance,
        check_descriptors=repair.check_descriptors,
    )


def open_control(
    state: HostState,
    dependencies: Dependencies,
    lifecycle: WorkerLifecycle,
    queries: WorkerQueries,
    reloader: Reloader,
    load: Callable[[str], Steps[Sequence[tuple[str, Scheduler]]]],
    stop: Stop,
) -> ControlServer | None:
    """Serve the control socket, if there is one; the server closes it."""
    if dependencies.control is None:
        return None
    telemetry, applied = dependencies.telemetry, dependencies.applied
    parts = CommandParts(telemetry, state, lifecycle, queries, reloader, load, stop, applied)
    handle = CommandHandlers(parts).handle
    return ControlServer(state.loop, telemetry, dependencies.control, handle)
