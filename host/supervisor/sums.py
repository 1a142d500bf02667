"""What all generations have counted together, those that have ended among them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from host.ipc.host_counts import HostCounts, Restart
from host.ipc.scoreboard import (
    ACCEPTED,
    BYTES_IN,
    BYTES_OUT,
    CUT_ANSWERS,
    DATAGRAMS,
    LISTENER_WORDS,
    LOST_WRITES,
    OF_DATAGRAMS,
    OF_REFUSALS,
    OF_TASKS,
    REFUSED,
    SENT,
    SPURIOUS,
    SUSPENSIONS,
    TURN_SUM,
    TURNS,
)
from host.ipc.totals import Totals
from host.runtime.steps import Steps
from host.supervisor.generation import Generation
from host.supervisor.generations import Generations

_OF_CONNECTIONS = {
    "sent": SENT,
    "accepted": ACCEPTED,
    "spurious": SPURIOUS,
    "refused": REFUSED,
    "bytes_in": BYTES_IN,
    "bytes_out": BYTES_OUT,
    "lost_writes": LOST_WRITES,
    "cut_answers": CUT_ANSWERS,
}
_OF_SLOTS = {
    "accepted": ACCEPTED,
    "received": DATAGRAMS,
    "bytes_in": BYTES_IN,
    "bytes_out": BYTES_OUT,
}
"""What is told of all listeners of a slot together."""


def sum_up(generations: Generations) -> Steps[Totals]:
    """Return what all generations have counted.

    A step looks at one row. Of a generation that ends meanwhile only that counts which was kept of
    it: so no sum is ever less than one that was told before.
    """
    found: dict[Generation, Totals] = {}
    for generation in generations.all:
        found[generation] = Totals()
        for row in generation.scoreboard.rows:
            yield
            if generation not in generations.all:  # it is closed
                break
            found[generation].add_row(row, generation.listeners)
    sums = generations.ended.copy()
    for generation in generations.all:
        if generation in found:
            sums.merge(found[generation])
    return sums


def tasks_of_slots(sums: Totals) -> dict[int, dict[str, int]]:
    """Return what has become of the tasks of pools, by slot."""
    return {
        slot: {name: words[word] for name, word in OF_TASKS.items()} for slot, words in sums.slots
    }


def connection_counts(count: Callable[[int], int]) -> dict[str, Any]:
    """Return what is counted of a listener's connections, by its name.

    Args:
        count: returns the counter that is at a word.
    """
    found: dict[str, Any] = {name: count(word) for name, word in _OF_CONNECTIONS.items()}
    return found | {"refusals": {name: count(word) for name, word in OF_REFUSALS.items()}}


def totals(sums: Totals, of_host: HostCounts) -> dict[str, Any]:
    """Return what `status` tells of sums, by listener and by slot.

    `turns` are the turns of the loops of a slot's workers by how long they took, as in
    `host.ipc.scoreboard.bucket_of`; they are counted only if the host is shown (ops.listen).

    Args:
        sums: the sums.
        of_host: where the restarts are counted.
    """
    listeners: dict[tuple[str, str], list[int]] = {}
    served: dict[int, list[int]] = {}
    for address, plugin, slot, words in sums.listeners:
        for found in (
            listeners.setdefault((address, plugin), [0] * LISTENER_WORDS),
            served.setdefault(slot, [0] * LISTENER_WORDS),
        ):
            found[:] = map(int.__add__, found, words)
    restarts = {(slot, Restart(cause)): count for slot, cause, count in of_host.restarts}
    return {
        "listeners": [
            {"address": address, "plugin": plugin}
            | connection_counts(words.__getitem__)
            | {"datagrams": {name: words[word] for name, word in OF_DATAGRAMS.items()}}
            for (address, plugin), words in listeners.items()
        ],
        "slots": [
            {"slot": slot}
            | {name: served[slot][word] for name, word in _OF_SLOTS.items()}
            | {
                "suspensions": own[SUSPENSIONS],
                "turns": own[TURNS:TURN_SUM],
                "restarts": {each.name.lower(): restarts.get((slot, each), 0) for each in Restart},
            }
            for slot, own in sorted(sums.slots)
        ],
    }
