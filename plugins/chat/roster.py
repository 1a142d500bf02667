"""The roster: who is there and in which room, over all workers. No I/O.

Every worker keeps one and makes it from what is said on one topic, its own words included. Since
that comes in the same order everywhere, so do the rosters. `apply` returns what has changed, for
the announcements: what people are told is exactly what the roster says.

A room has a limit of members, which is kept exactly: who wants to enter *asks* first. Its own
worker decides when it hears that question: all who are in or have asked before count.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from host.plugins.chat.names import key_of

LOST = "connection lost"


@dataclass(eq=False, slots=True)
class Person:
    """One user, wherever it is connected.

    Attributes:
        member: the worker, by its name on the bus.
        uid: the user's number there.
        nick: the present nick.
        rooms: the rooms; True once in, False while asking.
    """

    member: str
    uid: int
    nick: str
    rooms: dict[str, bool]


@dataclass(frozen=True, slots=True)
class Arrived:
    """Someone new is there."""

    person: Person


@dataclass(frozen=True, slots=True)
class Renamed:
    """A nick has changed."""

    person: Person
    old: str


@dataclass(frozen=True, slots=True)
class Asked:
    """Someone wants to enter a room; `ahead` are in it or have asked before."""

    person: Person
    room: str
    ahead: int


@dataclass(frozen=True, slots=True)
class Joined:
    """Someone is in a room now."""

    person: Person
    room: str


@dataclass(frozen=True, slots=True)
class Left:
    """Someone has left a room."""

    person: Person
    room: str


@dataclass(frozen=True, slots=True)
class Quit:
    """Someone is gone, and was in these rooms."""

    person: Person
    rooms: tuple[str, ...]
    why: str


Change = Arrived | Renamed | Asked | Joined | Left | Quit
Row = Sequence[Any]
"""A user as it is told: number, nick, rooms."""


class Roster:
    """Who is there, and in which room."""

    def __init__(self) -> None:
        self._members: dict[str, dict[int, Person]] = {}
        self._parts: dict[str, list[Row]] = {}
        self._nicks: dict[str, Person] = {}
        self._shadowed: dict[str, list[Person]] = {}
        self._rooms: dict[str, dict[Person, None]] = {}
        self._asking: dict[str, int] = {}

    def __len__(self) -> int:
        return sum(map(len, self._members.values()))

    @property
    def members(self) -> Iterable[str]:
        """The workers that have been heard of."""
        return self._members.keys()

    @property
    def rooms(self) -> dict[str, int]:
        """How many are in each room that is not empty."""
        return {name: len(people) for name, people in self._rooms.items()}

    def people(self, room: str) -> Iterable[Person]:
        """Return those who are in a room, in the order in which they came."""
        return self._rooms.get(room, {}).keys()

    def find(self, nick: str) -> Person | None:
        """Return who has this nick, or one that looks so: of several, the last who took it."""
        return self._nicks.get(key_of(nick))

    def apply(self, member: str, event: Sequence[Any]) -> list[Change]:
        """Take in what a worker says of its users; return what that changes.

        Of a user that is not known nothing but its arrival counts: the worker's whole list is on
        the way then.
        """
        people = self._members.setdefault(member, {})
        if event[0] == "all":
            return list(self._part(member, *event[1:]))
        if (person := people.get(event[1])) is not None:
            return list(self._apply(person, event))
        return [self._arrive(member, *event[1:])] if event[0] == "new" else []

    def _apply(self, person: Person, event: Sequence[Any]) -> Iterable[Change]:
        match event:
            case ["new" | "nick", _, nick]:
                return self._rename(person, nick)
            case ["ask", _, room]:
                return self._ask(person, room)
            case ["in", _, room]:
                return self._enter(person, room)
            case ["out", _, room]:
                return self._leave(person, room)
            case ["quit", _, why]:
                return (self._quit(person, why),)
        raise ValueError(f"not an event: {event}")

    def drop(self, member: str) -> list[Change]:
        """Take out all users of a worker that is gone."""
        self._parts.pop(member, None)
        people = tuple(self._members.get(member, {}).values())
        changes: list[Change] = [self._quit(person, LOST) for person in people]
        self._members.pop(member, None)
        return changes

    def _part(self, member: str, first: bool, last: bool, rows: list[Row]) -> Iterator[Change]:
        """Take in a part of a worker's whole list; with the last one it counts."""
        parts = self._parts
        if first:
            parts[member] = []
        if member not in parts:  # the first part was lost: another list will come
            return
        parts[member] += rows
        if last:
            yield from self._replace(member, parts.pop(member))

    def _replace(self, member: str, rows: list[Row]) -> Iterator[Change]:
        people = self._members[member]
        for uid in sorted(people.keys() - {row[0] for row in rows}):
            yield self._quit(people[uid], LOST)
        for uid, nick, rooms in rows:
            if uid in people:
                yield from self._rename(people[uid], nick)
            else:
                yield self._arrive(member, uid, nick)
            person = people[uid]
            for room in sorted(person.rooms.keys() - rooms.keys()):
                yield from self._leave(person, room)
            for room, inside in rooms.items():
                yield from (self._enter if inside else self._ask)(person, room)

    def _arrive(self, member: str, uid: int, nick: str) -> Change:
        person = Person(member, uid, nick, {})
        self._members[member][uid] = person
        self._add_nick(person)
        return Arrived(person)

    def _rename(self, person: Person, nick: str) -> list[Change]:
        if nick == person.nick:
            return []
        old = person.nick
        self._forget_nick(person)
        person.nick = nick
        self._add_nick(person)
        return [Renamed(person, old)]

    def _ask(self, person: Person, room: str) -> list[Change]:
        if room in person.rooms:
            return []
        asking = self._asking.get(room, 0)
        ahead = len(self._rooms.get(room, ())) + asking
        person.rooms[room] = False
        self._asking[room] = asking + 1
        return [Asked(person, room, ahead)]

    def _enter(self, person: Person, room: str) -> list[Change]:
        inside = person.rooms.get(room)
        if inside:
            return []
        if inside is False:
            self._stop_asking(room)
        person.rooms[room] = True
        self._rooms.setdefault(room, {})[person] = None
        return [Joined(person, room)]

    def _leave(self, person: Person, room: str) -> list[Change]:
        inside = person.rooms.pop(room, None)
        if inside is None:
            return []
        if not inside:
            self._stop_asking(room)
            return []
        people = self._rooms[room]
        del people[person]
        if not people:
            del self._rooms[room]
        return [Left(person, room)]

    def _quit(self, person: Person, why: str) -> Change:
        rooms = tuple(room for room, inside in person.rooms.items() if inside)
        for room in tuple(person.rooms):
            self._leave(person, room)
        self._forget_nick(person)
        del self._members[person.member][person.uid]
        return Quit(person, rooms, why)

    def _stop_asking(self, room: str) -> None:
        self._asking[room] -= 1
        if not self._asking[room]:
            del self._asking[room]

    def _add_nick(self, person: Person) -> None:
        key = key_of(person.nick)
        before = self._nicks.get(key)
        if before is not None:  # its worker has not told yet that it has another one
            self._shadowed.setdefault(key, []).append(before)
        self._nicks[key] = person

    def _forget_nick(self, person: Person) -> None:
        """Take a nick out, which somebody else may have as well."""
        key = key_of(person.nick)
        shadowed = self._shadowed.get(key, [])
        if self._nicks[key] is not person:
            shadowed.remove(person)
        elif shadowed:
            self._nicks[key] = shadowed.pop()
        else:
            del self._nicks[key]
        if key in self._shadowed and not shadowed:
            del self._shadowed[key]
