"""What has happened to workers lately: told to who asks, and partly written by the supervisor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from host.ipc.recent import MOST_EVENTS, Clock, Kind, RecentWriter, recent_events
from host.runtime.steps import Steps
from host.supervisor.status import HostState
from host.supervisor.workers.handles import Workers
from host.telemetry import events
from host.telemetry.emitter import Record

_KINDS = {
    events.WORKER_SUSPENDED.name: Kind.SUSPENDED,
    events.WORKER_CAUGHT_UP.name: Kind.CAUGHT_UP,
    events.WORKER_HUNG.name: Kind.HUNG,
    events.WORKER_KILLED.name: Kind.KILLED,
    events.WORKER_HELD.name: Kind.HELD,
    events.WORKER_RESUMED.name: Kind.RESUMED,
    events.WORKER_RECYCLED.name: Kind.REPLACED,
}


def noting(workers: Workers, clock: Clock) -> Callable[[Record], None]:
    """Return a subscriber that writes what the supervisor does to a worker behind its events."""

    def note(record: Record) -> None:
        kind = _KINDS.get(record.event.name)
        if kind is None:
            return
        handle = workers.get(record.fields["pid"])
        if handle is not None:
            pid = handle.record.pid
            RecentWriter(handle.row, clock, pid, by_supervisor=True).note(kind)

    return note


def listing(host: HostState, slot: int | None) -> Steps[list[dict[str, Any]]]:
    """Return the last events of the workers in a slot, or of all, oldest first.

    A step looks at one row of a scoreboard. Workers that have ended are told of, too, until others
    have written over it, and as long as their generation has anything open.
    """
    found: list[tuple[float, dict[str, Any]]] = []
    for generation in host.generations.all:
        for row in generation.scoreboard.rows:
            if slot is None or row.slot == slot:
                found += [
                    (
                        each.time,
                        {
                            "seconds_ago": round(host.loop.now - each.time, 3),
                            "slot": row.slot,
                            "pid": each.pid,
                            "event": each.kind.name.lower(),
                            "text": each.describe(generation.listeners),
                        },
                    )
                    for each in recent_events(row)
                ]
                found = sorted(found, key=lambda each: each[0])[-MOST_EVENTS:]
            yield
    return [told for _, told in found]
