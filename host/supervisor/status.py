"""What a running host tells about itself: the results of `status` and `generations`."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from host.ipc.host_counts import HostCounts
from host.ipc.scoreboard import ACTIVE, OF_DATAGRAMS, OF_TASKS, TASKS_RUNNING, TASKS_WAITING
from host.net.shards import ShardGroup, ShardQueues
from host.plugin.circuit_breaker import CircuitBreaker
from host.runtime.loop import Loop
from host.runtime.processes import resident_bytes
from host.runtime.steps import Steps
from host.runtime.usage import cpu_seconds, read_calls
from host.supervisor.certificates import CertificateRotation
from host.supervisor.generation import Generation
from host.supervisor.generations import Generations
from host.supervisor.shutdown import Shutdown
from host.supervisor.sums import connection_counts, sum_up, tasks_of_slots, totals
from host.supervisor.workers.exits import ExitReports
from host.supervisor.workers.handles import WorkerHandle, Workers
from host.supervisor.workers.pool import GRACE_SECONDS, Pool
from host.supervisor.workers.states import WorkerState

if TYPE_CHECKING:  # a host without a broker does not import it
    from host.supervisor.bridge import Bridge

_NOW = {"waiting": TASKS_WAITING, "running": TASKS_RUNNING}
"""What is counted of tasks of one worker; the rest is counted of its slot, over all generations."""


class HostState(NamedTuple):
    """What is known of a host, in the objects that know it.

    Attributes:
        started: when the host was started, in seconds of the loop's clock; a reload keeps it.
        started_at: the same in seconds since the epoch, whatever the clock is set to later.
    """

    name: str
    version: str
    pid: int
    started: float
    started_at: float
    loop: Loop
    breaker: CircuitBreaker
    pool: Pool
    workers: Workers
    exits: ExitReports
    generations: Generations
    shutdown: Shutdown
    certificates: CertificateRotation
    counts: HostCounts
    bridge: Bridge | None = None


def status(host: HostState) -> Steps[dict[str, Any]]:
    """Return the whole state of the host; the supervisor knows it, and asks no worker.

    A step looks at one worker, which takes 0.1 ms, or at one row of the scoreboard.
    """
    workers = []
    for handle in _in_order(host.workers):
        if host.workers.get(handle.record.pid) is handle:  # it may have ended meanwhile
            shards = host.generations.shards.owned(handle.record.pid)
            workers.append(_worker(handle, host.loop.now) | {"shards": shards})
        yield
    sums = yield from sum_up(host.generations)
    tasks = tasks_of_slots(sums)
    for worker in workers:
        worker["tasks"] |= tasks.get(worker["slot"]) or dict.fromkeys(OF_TASKS, 0)
    now, outcome, serving = host.loop.now, host.generations.outcome, host.generations.serving
    return {
        "name": host.name,
        "version": host.version,
        "pid": host.pid,
        "generation": serving.number,
        "uptime_seconds": round(now - host.started, 3),
        "cpu_seconds": cpu_seconds(host.pid),
        "state": _state(host),
        "ready": not (reason := not_ready(host)),
        "not_ready": reason,
        "workers_wanted": host.pool.workers,
        "schedulers": [name for name, _ in host.generations.handing_out.dispatcher.schedulers],
        "workers": workers,
        "tasks": _tasks_of_all(workers, tasks.values()),
        "listeners": _listeners(serving),
        "certificates": host.certificates.listing(),
        "plugins": host.breaker.state(),
        "bus": None if host.bridge is None else host.bridge.state(),
        "last_reload": None
        if outcome is None
        else {
            "generation": outcome.generation,
            "outcome": outcome.state,
            "reason": outcome.reason,
            "seconds_ago": round(now - outcome.time, 3),
        },
        "hangs": [
            {key: value for key, value in hang.items() if key != "at"}
            | {"seconds_ago": round(now - hang["at"], 3)}
            for hang in host.exits.hangs
        ],
        "restarts": host.exits.restarts,
        "totals": totals(sums, host.counts),
    }


def generations(host: HostState) -> dict[str, Any]:
    """Return the state of each generation that has anything open, oldest first."""
    return {"generations": [_generation(host, each) for each in host.generations.all]}


def _generation(host: HostState, generation: Generation) -> dict[str, Any]:
    handles = [handle for handle in host.workers if handle.generation is generation]
    seconds_left = None
    if generation is host.generations.serving:
        state = "serving"
    elif generation is host.generations.coming:
        state = "failed" if host.pool.given_up else "starting"
    else:
        state = "draining"
        deadlines = [each.record.deadline for each in handles if each.record.deadline is not None]
        if deadlines:
            seconds = max(deadlines) - GRACE_SECONDS - host.loop.now
            seconds_left = round(max(0.0, seconds), 3)
    return {
        "generation": generation.number,
        "state": state,
        "workers": len(handles),
        "ready": sum(handle.record.state is WorkerState.READY for handle in handles),
        "active": sum(handle.row.get(ACTIVE) for handle in handles),
        "seconds_left": seconds_left,
    }


def readiness(host: HostState) -> dict[str, Any]:
    """Return the part of the state that tells whether new connections should be sent here."""
    reason = not_ready(host)
    return {
        "name": host.name,
        "version": host.version,
        "pid": host.pid,
        "state": _state(host),
        "ready": not reason,
        "not_ready": reason,
    }


def not_ready(host: HostState) -> str:
    """Say why no new connections should be sent here; "" if they should."""
    if host.shutdown.begun:
        return "the host is stopping"
    ready = ready_workers(host)
    if not host.pool.was_complete:
        return f"the host is starting: {ready} of {host.pool.workers} workers take connections"
    return "" if ready else "no worker takes connections"


def ready_workers(host: HostState) -> int:
    """Return how many workers take connections."""
    return len(host.generations.handing_out.dispatcher.workers)


def _state(host: HostState) -> str:
    if host.shutdown.begun:
        return "stopping"
    if host.generations.coming is not None and not host.pool.given_up:
        return "reloading"
    return "serving" if host.pool.was_complete else "starting"


def _in_order(workers: Workers) -> list[WorkerHandle]:
    return sorted(workers, key=lambda handle: (handle.record.slot, handle.record.generation))


def _worker(handle: WorkerHandle, now: float) -> dict[str, Any]:
    record, row = handle.record, handle.row
    state = record.state.value
    if record.state is WorkerState.READY:
        state = "retiring" if record.retiring else "serving"
    elif record.state is WorkerState.ENDING:
        state = "killed"
    candidate = handle.generation.candidate(record.pid)
    return {
        "slot": record.slot,
        "pid": record.pid,
        "generation": record.generation,
        "state": state,
        "active": row.get(ACTIVE),
        "accepted": handle.served,
        "outstanding": candidate.outstanding if candidate else 0,
        "suspended": candidate.suspended if candidate else False,
        "held": handle.held,
        "age_seconds": round(now - record.born, 3),
        "turn_seconds": round(row.turn_seconds(now), 6),
        "memory_bytes": resident_bytes(record.pid),
        "cpu_seconds": cpu_seconds(record.pid),
        "reads": read_calls(record.pid),
        "plugins": handle.plugins,
        "tasks": {name: row.get(word) for name, word in _NOW.items()},
    }


def _tasks_of_all(
    workers: Iterable[Mapping[str, Any]], slots: Iterable[Mapping[str, int]]
) -> dict[str, int]:
    """Return the tasks of the host: those that workers have, and what became of all others."""
    now = {name: sum(worker["tasks"][name] for worker in workers) for name in _NOW}
    return now | {name: sum(counts[name] for counts in slots) for name in OF_TASKS}


def _listeners(generation: Generation) -> list[dict[str, Any]]:
    total, found = generation.scoreboard.total, []
    sockets = {each.view.index: each for each in generation.sockets}
    groups = {each.view.index: each for each in generation.groups}
    for view in generation.listeners:
        sock = sockets.get(view.index)
        found.append(
            {
                "index": view.index,
                "address": view.address,
                "plugin": view.plugin,
                "configured": sock.configured if sock else None,
                "source": sock.source if sock else None,
                "file": sock.file.state if sock and sock.file else None,
                "waiting": generation.waiting(view.index),
                **connection_counts(functools.partial(total, view.index)),
                "datagrams": _datagrams(generation, groups.get(view.index)),
            }
        )
    return found


def _datagrams(generation: Generation, group: ShardGroup | None) -> dict[str, Any] | None:
    """Return what there is to tell of a UDP listener; None of one that takes connections."""
    if group is None:
        return None
    queues = ShardQueues(0, 0)
    with suppress(OSError):  # the host stops, and it is closed
        queues = group.queues()
    index, total = group.view.index, generation.scoreboard.total
    counts = {name: total(index, word) for name, word in OF_DATAGRAMS.items()}
    return {"shards": len(group.shards), **queues._asdict(), **counts}
