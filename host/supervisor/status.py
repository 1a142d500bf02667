"""What a running host tells about itself: the results of `status` and `generations`."""

from __future__ import annotations

from typing import Any, Protocol

from host.ipc.scoreboard import ACCEPTED, ACTIVE, REFUSED, SENT, SPURIOUS
from host.plugin.circuit_breaker import CircuitBreaker
from host.runtime.loop import Loop
from host.runtime.processes import resident_bytes
from host.settings import Settings
from host.supervisor.generations import Generation
from host.supervisor.reload.succession import Succession
from host.supervisor.shutdown import Shutdown
from host.supervisor.workers.exits import ExitReports
from host.supervisor.workers.handles import WorkerHandle, Workers
from host.supervisor.workers.pool import GRACE_SECONDS, Pool
from host.supervisor.workers.states import WorkerState


class House(Protocol):
    """What can be told of the supervisor."""

    settings: Settings
    loop: Loop
    crew: Workers
    pool: Pool
    breaker: CircuitBreaker
    obituaries: ExitReports
    succession: Succession
    serving: Generation
    coming: Generation | None
    ending: Shutdown | None
    started: float
    pid: int
    version: str


def status(house: House) -> dict[str, Any]:
    """Return the whole state of the host; nobody has to be asked for it."""
    now, outcome = house.loop.now, house.succession.outcome
    dispatcher = house.serving.dispatcher
    return {
        "name": house.settings.name,
        "version": house.version,
        "pid": house.pid,
        "generation": house.serving.number,
        "uptime_seconds": round(now - house.started, 3),
        "state": _state(house),
        "ready": is_ready(house),
        "workers_wanted": house.pool.workers,
        "schedulers": [name for name, _ in dispatcher.schedulers] if dispatcher else [],
        "workers": [_worker(house, hand) for hand in _in_order(house.crew)],
        "listeners": _listeners(house.serving),
        "plugins": house.breaker.state(),
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
            for hang in house.obituaries.hangs
        ],
        "restarts": house.obituaries.restarts,
    }


def generations(house: House) -> dict[str, Any]:
    """Return what each generation with anything alive is at, oldest first."""
    found = []
    for generation in house.succession.all_generations:
        hands = [hand for hand in house.crew if hand.generation is generation]
        deadlines = [hand.member.deadline for hand in hands if hand.member.deadline is not None]
        draining = generation is not house.serving and generation is not house.coming
        left = None
        if draining and deadlines:
            left = max(0.0, max(deadlines) - GRACE_SECONDS - house.loop.now)
        found.append(
            {
                "generation": generation.number,
                "state": "draining"
                if draining
                else ("starting" if generation is house.coming else "serving"),
                "workers": len(hands),
                "ready": sum(hand.member.state is WorkerState.READY for hand in hands),
                "active": sum(hand.row.get(ACTIVE) for hand in hands),
                "seconds_left": None if left is None else round(left, 3),
            }
        )
    return {"generations": found}


def is_ready(house: House) -> bool:
    """Tell whether new connections should be sent here."""
    return house.ending is None and house.pool.was_complete and _anybody(house)


def _anybody(house: House) -> bool:
    dispatcher = house.serving.dispatcher
    return dispatcher is not None and bool(dispatcher.workers)


def _state(house: House) -> str:
    if house.ending is not None:
        return "stopping"
    if house.coming is not None:
        return "reloading"
    return "serving" if house.pool.complete else "starting"


def _in_order(crew: Workers) -> list[WorkerHandle]:
    return sorted(crew, key=lambda hand: (hand.member.slot, hand.member.generation))


def _worker(house: House, hand: WorkerHandle) -> dict[str, Any]:
    member, row, now = hand.member, hand.row, house.loop.now
    state = member.state.value
    if member.state is WorkerState.READY:
        state = "retiring" if member.retiring else "serving"
    elif member.state is WorkerState.ENDING:
        state = "killed"
    dispatcher = hand.generation.dispatcher
    candidates = {each.pid: each for each in dispatcher.workers} if dispatcher else {}
    candidate = candidates.get(member.pid)
    return {
        "slot": member.slot,
        "pid": member.pid,
        "generation": member.generation,
        "state": state,
        "active": row.get(ACTIVE),
        "accepted": hand.served,
        "outstanding": candidate.outstanding if candidate else 0,
        "suspended": candidate.suspended if candidate else False,
        "held": hand.held,
        "age_seconds": round(now - member.born, 3),
        "turn_seconds": round(row.turn_seconds(now), 6),
        "memory_bytes": resident_bytes(member.pid),
        "plugins": hand.plugins,
    }


def _listeners(generation: Generation) -> list[dict[str, Any]]:
    total, found = generation.scoreboard.total, []
    for view in generation.listeners:
        found.append(
            {
                "index": view.index,
                "address": view.address,
                "plugin": view.plugin,
                "waiting": generation.waiting(view.index),
                "sent": total(view.index, SENT),
                "accepted": total(view.index, ACCEPTED),
                "spurious": total(view.index, SPURIOUS),
                "refused": total(view.index, REFUSED),
            }
        )
    return found
