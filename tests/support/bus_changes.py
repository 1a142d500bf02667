"""Judges what members of the bus were told of changes of a table (`bus_history.py`). No I/O.

Each member has a key of its own, whose number it raises: so it knows what each answer must be.
Yields texts; `bus_checker.py` makes faults of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

Events = Sequence[Sequence[Any]]


def find_wrong_answers(name: str, events: Events) -> Iterator[str]:
    """Find changes that a member was told something else of than what must have come of them.

    Args:
        name: the member.
        events: what it has written down. From when it hears of a loss, or that nobody knows what
            came of a change, until it has read what there is, the broker may have forgotten all.
    """
    is_known = True
    counts: Counter[tuple[int, bool]] = Counter()
    for what, _, *details in events:
        if what == "lost":
            is_known = False
        elif what == "synced":
            is_known = True
        elif what == "change":
            counts[tuple(details)] += 1
        elif what == "changed":
            number, is_right, answer = details
            counts[number, is_right] -= 1
            if counts[number, is_right] < 0:
                yield f"{name} was told twice of its change to {number}"
            if answer is None:
                is_known = False
            elif is_known and answer != is_right:
                yield f"{name} was told {answer} of its change to {number}, that was {is_right}"


def find_overtaken(
    histories: Mapping[str, Events], forgotten: Iterable[float] = ()
) -> Iterator[str]:
    """Find messages that were heard before what their sender had changed before it said them.

    Args:
        histories: what each member has written down, by its name.
        forgotten: when the broker has lost all it knew: what was read later is not looked at.
    """
    until = min(forgotten, default=float("inf"))
    behind: dict[tuple[str, str, int], int] = {}
    unsure: set[str] = set()
    for name, events in histories.items():
        for what, _, *details in events:
            if what == "behind":
                topic, number, value = details
                behind[name, topic, number] = value
            elif what == "changed" and details[2] is None:  # it may not have been taken
                unsure.add(name)
    for name, events in histories.items():
        for what, at, *details in events:
            if what == "looked" and at < until:
                sender, topic, number, value = details
                wanted = behind.get((sender, topic, number), 0)
                if value < wanted and sender not in unsure:
                    yield (
                        f"{name} heard {number} of {sender} on {topic} and found {value}, though "
                        f"{sender} had changed it to {wanted} before"
                    )
