"""Topics with levels, and filters that have wildcards for some. No I/O."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, NamedTuple, TypeVar

from host.plugins.framing import FrameSyntaxError

_MOST_REMEMBERED = 10_000

Subscriber = TypeVar("Subscriber")


class Wildcards(NamedTuple):
    """How topics and filters are written.

    Attributes:
        separator: what is between two levels.
        one: a level that stands for any one.
        rest: a last level that stands for any number of levels, also for none.
        hidden: how the first level of topics begins for which no wildcard stands there.
    """

    separator: str
    one: str
    rest: str
    hidden: str

    def check_topic(self, name: str) -> str:
        """Return the name of a topic.

        Raises:
            FrameSyntaxError: it is none: it is empty, or has wildcards or U+0000.
        """
        if not name or self.one in name or self.rest in name or "\0" in name:
            raise FrameSyntaxError("the name of a topic is empty, or has wildcards or U+0000")
        return name

    def check_filter(self, name: str) -> str:
        """Return a filter.

        Raises:
            FrameSyntaxError: it is none: it is empty, or a wildcard is not a level by itself, or
                one that stands for all that follow is not the last level.
        """
        levels = name.split(self.separator)
        if not name or self.rest in levels[:-1]:
            raise FrameSyntaxError(f"a filter is empty, or {self.rest} is not its end")
        for level in levels:
            if len(level) > 1 and (self.one in level or self.rest in level):
                raise FrameSyntaxError("a wildcard is not a level by itself")
        return name

    def beginning(self, name: str) -> tuple[str, bool]:
        """Return how the topics of a filter begin, and whether they may go on."""
        levels = name.split(self.separator)
        for place, level in enumerate(levels):
            if level == self.rest:  # which matches the level above, too
                return self.separator.join(levels[:place]), True
            if level == self.one:
                return "".join(each + self.separator for each in levels[:place]), True
        return name, False


MQTT_WILDCARDS = Wildcards("/", "+", "#", "$")
"""MQTT 3.1.1, section 4.7."""


class _Node(Generic[Subscriber]):
    """A level of filters.

    Attributes:
        children: the levels that may follow.
        subscribers: of the filter that ends here, with their numbers.
    """

    __slots__ = ("children", "subscribers")

    def __init__(self) -> None:
        self.children: dict[str, _Node[Subscriber]] = {}
        self.subscribers: dict[Subscriber, int] = {}


class TopicTree(Generic[Subscriber]):
    """Knows who has subscribed with which filters.

    Args:
        wildcards: how they are written.
    """

    def __init__(self, wildcards: Wildcards = MQTT_WILDCARDS) -> None:
        self._wildcards = wildcards
        self._root: _Node[Subscriber] = _Node()
        self._found: dict[str, list[tuple[Subscriber, int]]] = {}

    def __bool__(self) -> bool:
        return bool(self._root.children)

    def add(self, name: str, subscriber: Subscriber, number: int = 0) -> None:
        """Add a filter of a subscriber, or change its number.

        Args:
            name: the filter.
            subscriber: the subscriber.
            number: what `match` returns of it, such as a quality of service.
        """
        node = self._root
        for level in name.split(self._wildcards.separator):
            node = node.children.setdefault(level, _Node())
        node.subscribers[subscriber] = number
        self._found.clear()

    def remove(self, name: str, subscriber: Subscriber) -> None:
        """Remove a filter of a subscriber; harmless if it has none such."""
        path, node = [], self._root
        for level in name.split(self._wildcards.separator):
            if level not in node.children:
                return
            path.append((node, level))
            node = node.children[level]
        node.subscribers.pop(subscriber, None)
        while path and not node.subscribers and not node.children:
            node, level = path.pop()
            del node.children[level]
        self._found.clear()

    def match(self, topic: str) -> list[tuple[Subscriber, int]]:
        """Return who hears a topic, each once, with the highest number of its filters.

        The list is remembered: it is not to be changed.
        """
        found = self._found.get(topic)
        if found is None:
            highest: dict[Subscriber, int] = {}
            for node in self._matching(topic.split(self._wildcards.separator)):
                for subscriber, number in node.subscribers.items():
                    highest[subscriber] = max(number, highest.get(subscriber, number))
            if len(self._found) >= _MOST_REMEMBERED:
                self._found.clear()
            found = self._found[topic] = list(highest.items())
        return found

    def _matching(self, levels: list[str]) -> Iterator[_Node[Subscriber]]:
        """Yield the ends of all filters that match."""
        _, one, rest, hidden = self._wildcards
        nodes = [self._root]
        for place, level in enumerate(levels):
            has_wildcards = place or not hidden or not level.startswith(hidden)
            if has_wildcards:
                yield from (node.children[rest] for node in nodes if rest in node.children)
            wanted = (level, one) if has_wildcards else (level,)
            nodes = [each for node in nodes for name in wanted if (each := node.children.get(name))]
        for node in nodes:
            yield node
            if rest in node.children:
                yield node.children[rest]
