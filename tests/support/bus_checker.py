"""Judges what members of the bus have seen (`bus_history.py`) by what the bus promises. No I/O.

As Jepsen's checkers do, it knows nothing of how the bus works: only what each member has asked for
and was told, with the times of a clock that all of them share.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

from support import bus_changes

Event = Sequence[Any]
"""What happened, when, and what belongs to it: as `bus_history.py` has written it."""
Name = tuple[str, int]
"""A message: who has sent it, and which one it is of those on its topic."""


class Fault(NamedTuple):
    """Something that was promised and is not so."""

    rule: str
    text: str


class Hold(NamedTuple):
    """That a member owned a key by a fencing number at some moment between two."""

    member: str
    fence: int
    before: float
    after: float


@dataclass
class Member:
    """What one member has seen.

    Attributes:
        name: its name.
        events: all that it has written down, in order.
        published: when each message was published, by topic and number.
        confirmed: what became of those of which it wanted to know: whether they have a place.
        is_settled: whether it was there at the end, and said all it had to say.
    """

    name: str
    events: Sequence[Event]
    published: dict[str, dict[int, float]] = field(default_factory=lambda: defaultdict(dict))
    confirmed: dict[tuple[str, int], bool] = field(default_factory=dict)
    is_settled: bool = False

    def __post_init__(self) -> None:
        for what, _, *details in self.events:
            if what == "publish":
                topic, number, at, _ = details
                self.published[topic][number] = at
            elif what == "done":
                topic, number, has_place = details
                self.confirmed[topic, number] = has_place
        kinds = {event[0] for event in self.events}
        self.is_settled = "finish" in kinds and "end" not in kinds

    @property
    def last(self) -> float:
        """When it was there last."""
        return float(self.events[-1][1])

    def select(self, *kinds: str) -> Iterator[Event]:
        """Return the events of some kinds."""
        return (event for event in self.events if event[0] in kinds)


def members_of(histories: Iterable[Sequence[Event]]) -> dict[str, Member]:
    """Return the members by name; one that had no time to write anything down is left out."""
    found = [Member(events[0][2], events) for events in histories if events]
    return {member.name: member for member in found}


def judge(
    members: Mapping[str, Member], *, forgotten: Sequence[float] = (), lease: float = 0.0
) -> list[Fault]:
    """Return all that is not as promised.

    Args:
        members: the members.
        forgotten: when the broker has lost all it knew. For a lease from then on it may give away
            a key whose owner cannot know that.
        lease: the lease of a node, in seconds.
    """
    return [
        *find_duplicates(members),
        *find_disorder(members),
        *find_losses(members),
        *find_late_messages(members),
        *find_silent_deaths(members),
        *find_bad_fences(members),
        *find_double_owners(members, forgotten, lease),
        *find_bad_changes(members, forgotten),
    ]


def find_duplicates(members: Mapping[str, Member]) -> Iterator[Fault]:
    """Find messages that one subscription has heard twice."""
    for member in members.values():
        heard = Counter(tuple(event[2:6]) for event in member.select("hear"))
        for (name, topic, sender, number), count in heard.items():
            if count > 1:
                text = f"{member.name} heard {number} of {sender} on {topic} {count} times ({name})"
                yield Fault("duplicate", text)


def find_disorder(members: Mapping[str, Member]) -> Iterator[Fault]:
    """Find topics of which no one order fits what all members have heard."""
    orders: dict[str, list[list[Name]]] = defaultdict(list)
    for member in members.values():
        heard: dict[tuple[str, str], dict[Name, None]] = defaultdict(dict)
        for _, _, name, topic, sender, number, _ in member.select("hear"):
            heard[name, topic][sender, number] = None
        for (_, topic), names in heard.items():
            orders[topic].append(list(names))
    for topic, sequences in orders.items():
        if circle := _in_a_circle(sequences):
            some = ", ".join(f"{number} of {sender}" for sender, number in circle[:6])
            yield Fault("order", f"{topic}: no one order of {len(circle)} messages: {some}")


def _in_a_circle(sequences: Iterable[Sequence[Name]]) -> list[Name]:
    """Return what is left when all that has nothing before it is taken away, again and again."""
    after: dict[Name, set[Name]] = defaultdict(set)
    before: dict[Name, int] = {}
    for sequence in sequences:
        for name in sequence:
            before.setdefault(name, 0)
        for first, second in pairwise(sequence):
            if second not in after[first]:
                after[first].add(second)
                before[second] += 1
    free = deque(name for name, count in before.items() if not count)
    while free:
        name = free.popleft()
        del before[name]
        for following in after[name]:
            before[following] -= 1
            if not before[following]:
                free.append(following)
    return sorted(before)


def find_losses(members: Mapping[str, Member]) -> Iterator[Fault]:
    """Find messages that a member has not heard, though nobody told it that some were lost."""
    for member in members.values():
        yield from _Hearing(member, members).find()


class _Hearing:
    """Goes through what one member has heard, and looks for what it has not."""

    def __init__(self, member: Member, members: Mapping[str, Member]) -> None:
        self._member, self._members = member, members
        self._ready: dict[str, float] = {}
        self._losses = 0
        self._ready_losses: dict[str, int] = {}
        self._last: dict[tuple[str, str, str], tuple[int, int]] = {}

    def find(self) -> Iterator[Fault]:
        for event in self._member.events:
            match event:
                case ["lost", *_]:
                    self._losses += 1
                case ["ready", at, name]:
                    self._ready[name], self._ready_losses[name] = at, self._losses
                case ["hear", _, name, topic, sender, number, _]:
                    yield from self._hear(name, topic, sender, number)
        if self._member.is_settled:
            yield from self._look_at_the_end()

    def _hear(self, name: str, topic: str, sender: str, number: int) -> Iterator[Fault]:
        last, _ = self._last.get((name, topic, sender), (0, 0))
        if number < last:
            text = (
                f"{self._member.name} heard {number} of {sender} on {topic} after {last} ({name})"
            )
            yield Fault("order", text)
            return
        yield from self._missing(name, topic, sender, range(last + 1, number))
        self._last[name, topic, sender] = number, self._losses

    def _look_at_the_end(self) -> Iterator[Fault]:
        for sender in self._members.values():
            for topic, published in sender.published.items():
                for name in self._ready:
                    if name == topic or (name[-1] == "*" and topic.startswith(name[:-1])):
                        last, _ = self._last.get((name, topic, sender.name), (0, 0))
                        numbers = [each for each in published if each > last]
                        if not sender.is_settled:  # what it said last need not have got anywhere
                            numbers = [n for n in numbers if sender.confirmed.get((topic, n))]
                        yield from self._missing(name, topic, sender.name, numbers)

    def _missing(
        self, name: str, topic: str, sender: str, numbers: Iterable[int]
    ) -> Iterator[Fault]:
        """Find which messages of some should have been heard."""
        if name not in self._ready or sender not in self._members:
            return
        _, losses = self._last.get((name, topic, sender), (0, self._ready_losses[name]))
        if max(losses, self._ready_losses[name]) != self._losses:
            return
        who = self._members[sender]
        missing = [
            number
            for number in numbers
            if who.published[topic].get(number, 0.0) > self._ready[name]
            and who.confirmed.get((topic, number), True)
        ]
        if missing:
            text = f"{self._member.name} did not hear {missing[:9]} of {sender} on {topic} ({name})"
            yield Fault("loss", text)


def find_late_messages(members: Mapping[str, Member]) -> Iterator[Fault]:
    """Find members that have ended, and were heard after the last word that they have left.

    One whose host was taken for dead may come back and speak again; then it leaves again.
    """
    for hearer in members.values():
        if not hearer.is_settled:  # it may have ended before it could be told
            continue
        left: set[str] = set()
        late: dict[str, int] = {}
        for what, _, *details in hearer.select("left", "hear", "lost"):
            if what == "lost":  # perhaps another word that it has left
                late.clear()
            elif what == "left":
                left.add(details[0])
                late.pop(details[0], None)
            elif details[2] in left and not details[4]:
                late.setdefault(details[2], details[3])
        for name, number in late.items():
            sender = members.get(name)
            if sender is not None and not sender.is_settled:
                text = f"{hearer.name} heard {number} of {name} after it was told that it has left"
                yield Fault("left", text)


def find_silent_deaths(members: Mapping[str, Member]) -> Iterator[Fault]:
    """Find members that have ended, and of which not all who have heard them were told."""
    for hearer in members.values():
        if not hearer.is_settled:
            continue
        known = {event[4] for event in hearer.select("hear") if not event[6]}
        told = {event[2] for event in hearer.select("left")}
        lost = max((event[1] for event in hearer.select("lost")), default=0.0)
        for name in known - told:
            sender = members.get(name)
            if sender is not None and not sender.is_settled and sender.last > lost:
                yield Fault("left", f"{hearer.name} was not told that {name} has left")


def find_bad_fences(members: Mapping[str, Member]) -> Iterator[Fault]:
    """Find fencing numbers that two members had, or that are not greater than those before."""
    owners: dict[tuple[str, int], set[str]] = defaultdict(set)
    for member in members.values():
        for what, _, key, *details in member.select("owned", "write"):
            fence = details[0] if what == "write" else details[1]
            if fence is not None:
                owners[key, fence].add(member.name)
    for (key, fence), names in owners.items():
        if len(names) > 1:
            yield Fault("fence", f"{key}: {fence} belongs to {' and '.join(sorted(names))}")
    for key, grants in grants_of(members).items():
        before, at, greatest = sorted(grants, key=lambda grant: grant.after), 0, 0
        for grant in sorted(grants, key=lambda grant: grant.before):
            while before[at].after < grant.before:
                greatest = max(greatest, before[at].fence)
                at += 1
            if grant.fence <= greatest:
                text = f"{key}: {grant.member} got {grant.fence} after one had {greatest}"
                yield Fault("fence", text)


def find_double_owners(
    members: Mapping[str, Member], forgotten: Sequence[float] = (), lease: float = 0.0
) -> Iterator[Fault]:
    """Find owners that were told that they own a key when another one had got it already.

    Who looked before the other one had it could not have known: what it writes is refused by any
    store that knows the greater number.
    """
    granted = grants_of(members)
    for key, writes in writes_of(members).items():
        had = sorted((*writes, *granted.get(key, ())), key=lambda each: each.after)
        at, greatest, who = 0, 0, ""
        for write in sorted(writes, key=lambda write: write.before):
            while at < len(had) and had[at].after < write.before:
                if had[at].fence > greatest:
                    greatest, who = had[at].fence, had[at].member
                at += 1
            excused = any(0 <= write.before - when <= lease for when in forgotten)
            if write.fence < greatest and not excused:
                text = f"{key}: {write.member} owned it by {write.fence} when {who} had {greatest}"
                yield Fault("owner", text)


def find_bad_changes(
    members: Mapping[str, Member], forgotten: Sequence[float] = ()
) -> Iterator[Fault]:
    """Find changes of a table with a wrong answer, and messages that have overtaken one."""
    for member in members.values():
        for text in bus_changes.find_wrong_answers(member.name, member.events):
            yield Fault("change", text)
    histories = {member.name: member.events for member in members.values()}
    for text in bus_changes.find_overtaken(histories, forgotten):
        yield Fault("overtaken", text)


def grants_of(members: Mapping[str, Member]) -> dict[str, list[Hold]]:
    """Return who has got each key: between asking for it and being told that it is granted."""
    found: dict[str, list[Hold]] = defaultdict(list)
    for member in members.values():
        since: dict[str, float] = {}
        for what, at, key, *details in member.select("claim", "owned"):
            if what == "claim":
                since[key] = at
            elif details[1] is not None:
                found[key].append(Hold(member.name, details[1], since[key], at))
    return found


def writes_of(members: Mapping[str, Member]) -> dict[str, list[Hold]]:
    """Return what was written for each key."""
    found: dict[str, list[Hold]] = defaultdict(list)
    for member in members.values():
        for _, after, key, fence, before in member.select("write"):
            found[key].append(Hold(member.name, fence, before, after))
    return found


def store(writes: Iterable[Hold]) -> tuple[int, int]:
    """Give writes to a store that refuses those with a smaller fencing number than it has seen.

    Returns:
        How many it has taken, and how many it has refused.
    """
    greatest = taken = refused = 0
    for write in sorted(writes, key=lambda write: write.after):
        if write.fence < greatest:
            refused += 1
        else:
            greatest, taken = write.fence, taken + 1
    return taken, refused
