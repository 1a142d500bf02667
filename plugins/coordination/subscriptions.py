"""Connections that subscribe to topics with wildcards: one subscription of the bus for many."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Generic, TypeVar

from host import Bus, Message
from host.plugins.coordination.topic_tree import MQTT_WILDCARDS, TopicTree, Wildcards

Subscriber = TypeVar("Subscriber")
Done = Callable[[bool], object]
OnRetained = Callable[[Message], object]


class _Subscription:
    """A subscription of the bus.

    Attributes:
        wanted: how many filters want it.
        questions: what is asked as soon as it hears what is published; None when it does.
    """

    __slots__ = ("questions", "wanted")

    def __init__(self) -> None:
        self.wanted = 0
        self.questions: list[Callable[[], object]] | None = []


class WildcardSubscriptions(Generic[Subscriber]):
    """Hears on the bus what the subscribers of a worker have asked for.

    The bus knows prefixes: it is asked for how the topics of each filter begin, once for all that
    want the same, and the rest is matched here. So each message is heard once.

        topics = WildcardSubscriptions(worker.bus, "news.", deliver)
        filters = topics.join(client)
        await ask(topics.add, client, "sport/+/scores", 0, None)
        topics.leave(client)

    Args:
        bus: the bus.
        prefix: what the topics of the bus begin with that stand for those of subscribers; not "".
        on_message: called with each message, but for retained ones: `tree.match` says who hears it,
            if anybody does. Of lost messages the bus tells on `BUS_LOST`.
        wildcards: how filters are written.

    Attributes:
        tree: who has subscribed with which filters.
    """

    def __init__(
        self,
        bus: Bus,
        prefix: str,
        on_message: Callable[[Message], object],
        wildcards: Wildcards = MQTT_WILDCARDS,
    ) -> None:
        self._bus, self._prefix, self._pass_on = bus, prefix, on_message
        self._wildcards = wildcards
        self._filters: dict[Subscriber, dict[str, int]] = {}
        self._held: dict[tuple[str, bool], _Subscription] = {}
        self.tree: TopicTree[Subscriber] = TopicTree(wildcards)

    def join(self, subscriber: Subscriber) -> dict[str, int]:
        """Begin to hear for a subscriber; return its filters and their numbers, kept up to date."""
        return self._filters.setdefault(subscriber, {})

    def leave(self, subscriber: Subscriber) -> None:
        """Hear nothing for a subscriber any more; harmless if it has not joined."""
        for name in self._filters.pop(subscriber, {}):
            self._remove(subscriber, name)

    def add(
        self,
        subscriber: Subscriber,
        name: str,
        number: int,
        on_retained: OnRetained | None,
        done: Done,
    ) -> None:
        """Add a filter of a subscriber, or change its number.

        Args:
            subscriber: the subscriber, which has joined.
            name: the filter.
            number: what `tree.match` returns of it.
            on_retained: called with what is retained of these topics; None to leave that out.
            done: called with True once that was all, and all that is published later is heard; with
                False if the bus is overloaded, or the subscriber has left meanwhile.
        """
        filters = self._filters.get(subscriber)
        matching: TopicTree[None] = TopicTree(self._wildcards)
        matching.add(name, None)

        def replay(message: Message) -> None:
            is_there = self._filters.get(subscriber) is filters
            if on_retained and is_there and matching.match(message.topic[len(self._prefix) :]):
                on_retained(message)

        def ready(is_done: bool) -> None:
            if not is_done or filters is None or self._filters.get(subscriber) is not filters:
                self._drop(name)
                done(False)
                return
            if name in filters:  # it is wanted once for each filter
                self._drop(name)
            filters[name] = number
            self.tree.add(name, subscriber, number)
            done(True)

        self._want(name, replay if on_retained else None, ready)

    def remove(self, subscriber: Subscriber, name: str) -> bool:
        """Remove a filter of a subscriber; False if it has none such, or is not done adding it."""
        has_it = self._filters.get(subscriber, {}).pop(name, None) is not None
        if has_it:
            self._remove(subscriber, name)
        return has_it

    def restore(self, subscriber: Subscriber, filters: dict[str, int]) -> None:
        """Give a subscriber the filters and numbers that it had before some were added."""
        present = self._filters[subscriber]
        for name in present.keys() - filters.keys():
            self.remove(subscriber, name)
        for name, number in filters.items():
            present[name] = number
            self.tree.add(name, subscriber, number)

    def _remove(self, subscriber: Subscriber, name: str) -> None:
        self.tree.remove(name, subscriber)
        self._drop(name)

    def _want(self, name: str, on_retained: OnRetained | None, ready: Done) -> None:
        """Hear the topics of a filter, and perhaps more; `_drop` ends it, also after a failure."""
        text, prefix = area = self._wildcards.beginning(name)

        def read() -> None:
            if on_retained is None:
                ready(True)
                return
            try:
                self._bus.read_retained(
                    self._prefix + text, on_retained, lambda: ready(True), prefix=prefix
                )
            except BlockingIOError:
                ready(False)

        held = self._held.setdefault(area, _Subscription())
        held.wanted += 1
        if held.questions is None:
            read()
            return
        held.questions.append(read)
        if held.wanted == 1:
            try:
                self._bus.subscribe(
                    self._prefix + text, self._on_message, partial(_begin, held), prefix=prefix
                )
            except BlockingIOError:
                ready(False)
            except ValueError:  # it is too long
                self._drop(name)
                raise

    def _drop(self, name: str) -> None:
        area = self._wildcards.beginning(name)
        held = self._held[area]
        held.wanted -= 1
        if not held.wanted:
            del self._held[area]
            self._bus.unsubscribe(self._prefix + area[0], prefix=area[1])

    def _on_message(self, message: Message) -> None:
        if not message.retained:  # else each subscriber asks by itself
            self._pass_on(message)


def _begin(held: _Subscription) -> None:
    questions, held.questions = held.questions or [], None
    with ExitStack() as all_of_them:  # also if one raises
        for question in reversed(questions):
            all_of_them.callback(question)
