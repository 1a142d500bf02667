"""What a worker hears of the bus: what its sessions have subscribed to."""

from __future__ import annotations

from collections.abc import Callable

from host import Bus, Message
from prefork_mqtt.topics import literal_beginning

TOPIC = "mqtt."
"""How the topics of the bus begin that stand for topics of clients."""

OnMessage = Callable[[Message], object]
Ready = Callable[[bool], object]


class _Subscription:
    """A subscription of the bus.

    Attributes:
        wanted: how many sessions want it.
        questions: what is asked as soon as it hears what is published; None when it does.
    """

    __slots__ = ("questions", "wanted")

    def __init__(self) -> None:
        self.wanted = 0
        self.questions: list[Callable[[], object]] | None = []


class Hearing:
    """Subscribes on the bus to what is wanted: the literal beginning of each filter.

    All subscriptions have one callback, so each message is heard once.

    Args:
        bus: the bus.
        on_message: called with each message.
    """

    def __init__(self, bus: Bus, on_message: OnMessage) -> None:
        self._bus, self._pass_on = bus, on_message
        self._held: dict[tuple[str, bool], _Subscription] = {}

    def want(self, name: str, on_retained: OnMessage | None, ready: Ready) -> None:
        """Hear the topics of a filter, and perhaps more; `drop` ends it, also after a failure.

        Args:
            name: the filter.
            on_retained: called with what is retained of these topics; None to leave that out.
            ready: called with True once that was all, and all that is published later is heard;
                with False if the bus is overloaded.
        """
        text, prefix = area = literal_beginning(name)

        def read() -> None:
            if on_retained is None:
                ready(True)
                return
            try:
                self._bus.read_retained(
                    TOPIC + text, on_retained, lambda: ready(True), prefix=prefix
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
                    TOPIC + text, self._on_message, lambda: _begin(held), prefix=prefix
                )
            except BlockingIOError:
                ready(False)

    def drop(self, name: str) -> None:
        """Hear the topics of a filter no more, unless they are wanted otherwise."""
        area = literal_beginning(name)
        held = self._held[area]
        held.wanted -= 1
        if not held.wanted:
            del self._held[area]
            self._bus.unsubscribe(TOPIC + area[0], prefix=area[1])

    def _on_message(self, message: Message) -> None:
        if not message.retained:  # else each session asks by itself
            self._pass_on(message)


def _begin(held: _Subscription) -> None:
    questions, held.questions = held.questions, None
    for question in questions or ():
        question()
