"""Who hears which topics: by their names, and by how they begin. No I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

_MOST_REMEMBERED = 10_000

Lists = list[tuple[bytes, list[int]]]


class Hearers:
    """Knows the members that have subscribed to topics and to prefixes."""

    def __init__(self) -> None:
        self._topics: dict[bytes, dict[int, None]] = {}
        self._prefixes: dict[bytes, dict[int, None]] = {}
        self._lengths: Counter[int] = Counter()
        self._found: dict[bytes, tuple[int, ...]] = {}  # for topics, as long as nothing changes

    @property
    def topics(self) -> Collection[bytes]:
        """The topics that somebody has subscribed to."""
        return self._topics.keys()

    @property
    def prefixes(self) -> Collection[bytes]:
        """The prefixes that somebody has subscribed to."""
        return self._prefixes.keys()

    def of(self, topic: bytes) -> Collection[int]:
        """Return who hears a topic, each member once."""
        if not self._prefixes:
            return self._topics.get(topic, ())
        found = self._found.get(topic)
        if found is None:
            members = dict(self._topics.get(topic, {}))
            for length in self._lengths:
                members.update(self._prefixes.get(topic[:length], {}))
            if len(self._found) >= _MOST_REMEMBERED:
                self._found.clear()
            found = self._found[topic] = tuple(members)
        return found

    def add(self, topic: bytes, member: int) -> bool:
        """Have a member hear a topic; True if nobody had subscribed to it."""
        self._found.clear()
        is_first = topic not in self._topics
        self._topics.setdefault(topic, {})[member] = None
        return is_first

    def add_prefix(self, prefix: bytes, member: int) -> bool:
        """Have a member hear the topics that begin so; True if nobody had subscribed to that."""
        self._found.clear()
        is_first = prefix not in self._prefixes
        if is_first:
            self._lengths[len(prefix)] += 1
        self._prefixes.setdefault(prefix, {})[member] = None
        return is_first

    def remove(self, topic: bytes, member: int) -> bool:
        """Have a member hear a topic no more; True if it was the last one that had subscribed."""
        self._found.clear()
        return _discard(self._topics, topic, member)

    def remove_prefix(self, prefix: bytes, member: int) -> bool:
        """Have it hear the topics that begin so no more; True if it was the last one."""
        self._found.clear()
        was_last = _discard(self._prefixes, prefix, member)
        if was_last:
            self._lengths[len(prefix)] -= 1
            self._lengths += Counter()  # without those that are 0
        return was_last

    def leave(self, member: int) -> tuple[list[bytes], list[bytes]]:
        """Forget a member; return the topics and the prefixes that nobody hears any more."""
        topics = [topic for topic, members in self._topics.items() if member in members]
        prefixes = [prefix for prefix, members in self._prefixes.items() if member in members]
        return (
            [topic for topic in topics if self.remove(topic, member)],
            [prefix for prefix in prefixes if self.remove_prefix(prefix, member)],
        )

    def state(self) -> tuple[Lists, Lists]:
        """Return who hears which topics, and which prefixes, for those that take over."""
        return _listed(self._topics), _listed(self._prefixes)

    def restore(self, topics: Lists, prefixes: Lists) -> None:
        """Take over."""
        for topic, members in topics:
            for member in members:
                self.add(topic, member)
        for prefix, members in prefixes:
            for member in members:
                self.add_prefix(prefix, member)


def _listed(hearers: dict[bytes, dict[int, None]]) -> Lists:
    return [(name, list(members)) for name, members in hearers.items()]


def _discard(hearers: dict[bytes, dict[int, None]], name: bytes, member: int) -> bool:
    members = hearers.get(name)
    if members is None:
        return False
    members.pop(member, None)
    if members:
        return False
    del hearers[name]
    return True
