"""Names of topics, filters, and which filters a topic matches [4.7]. No I/O."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

from host.plugins.framing import FrameSyntaxError

_MOST_REMEMBERED = 10_000

Subscriber = TypeVar("Subscriber")


def check_topic(name: str) -> str:
    """Return the name of a topic.

    Raises:
        FrameSyntaxError: it is none: it is empty, or has wildcards.
    """
    if not name or "+" in name or "#" in name or "\0" in name:
        raise FrameSyntaxError("the name of a topic is empty, or has wildcards or U+0000")
    return name


def check_filter(name: str) -> str:
    """Return a filter.

    Raises:
        FrameSyntaxError: it is none: it is empty, or a wildcard is not a level by itself [4.7.1].
    """
    levels = name.split("/")
    if not name or "#" in name[:-1]:
        raise FrameSyntaxError("a filter is empty, or # is not its end")
    if any(("+" in level or "#" in level) and len(level) > 1 for level in levels):
        raise FrameSyntaxError("a wildcard is not a level by itself")
    return name


def literal_beginning(name: str) -> tuple[str, bool]:
    """Return how the topics of a filter begin, and whether they may go on."""
    for place, level in enumerate(levels := name.split("/")):
        if level == "#":  # which matches the level above, too [4.7.1.2]
            return "/".join(levels[:place]), True
        if level == "+":
            return "".join(f"{each}/" for each in levels[:place]), True
    return name, False


class _Node(Generic[Subscriber]):
    """A level of filters.

    Attributes:
        children: the levels that may follow.
        subscribers: of the filter that ends here, with their QoS.
    """

    __slots__ = ("children", "subscribers")

    def __init__(self) -> None:
        self.children: dict[str, _Node[Subscriber]] = {}
        self.subscribers: dict[Subscriber, int] = {}


class FilterTree(Generic[Subscriber]):
    """Knows who has subscribed with which filters."""

    def __init__(self) -> None:
        self._root: _Node[Subscriber] = _Node()
        self._found: dict[str, list[tuple[Subscriber, int]]] = {}

    def __bool__(self) -> bool:
        return bool(self._root.children)

    def add(self, name: str, subscriber: Subscriber, qos: int) -> None:
        """Add a filter of a subscriber, or change its QoS."""
        node = self._root
        for level in name.split("/"):
            node = node.children.setdefault(level, _Node())
        node.subscribers[subscriber] = qos
        self._found.clear()

    def remove(self, name: str, subscriber: Subscriber) -> None:
        """Remove a filter of a subscriber; harmless if it has none such."""
        path, node = [], self._root
        for level in name.split("/"):
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
        """Return who hears a topic, each once, with the highest QoS of its filters [3.3.5]."""
        found = self._found.get(topic)
        if found is None:
            highest: dict[Subscriber, int] = {}
            for node in self._matching(topic.split("/")):
                for subscriber, qos in node.subscribers.items():
                    highest[subscriber] = max(qos, highest.get(subscriber, 0))
            if len(self._found) >= _MOST_REMEMBERED:
                self._found.clear()
            found = self._found[topic] = list(highest.items())
        return found

    def _matching(self, levels: list[str]) -> Iterator[_Node[Subscriber]]:
        """Yield the ends of all filters that match; no wildcard stands for `$SYS` [4.7.2]."""
        nodes = [self._root]
        for place, level in enumerate(levels):
            has_wildcards = place or level[:1] != "$"
            if has_wildcards:
                yield from (node.children["#"] for node in nodes if "#" in node.children)
            wanted = (level, "+") if has_wildcards else (level,)
            nodes = [each for node in nodes for one in wanted if (each := node.children.get(one))]
        for node in nodes:
            yield node
            if "#" in node.children:
                yield node.children["#"]
