"""Whether the bus answers: where a broker connects several hosts it may be away for long."""

from __future__ import annotations

from collections.abc import Callable

from host import Worker

LOOK_SECONDS = 1.5
"""How often it is looked: what has no answer is noticed after one to two times that."""
_PROBE_TOPIC = "chat.probe"


class Reach:
    """Publishes, and tells when what was published gets no place in the order.

    One message at a time is watched. Nobody watches a bus on which nothing is said.

    Args:
        worker: this worker.
        on_change: called with whether the bus answers, whenever that changes.

    Attributes:
        is_there: whether the bus answers, as far as is known.
    """

    def __init__(self, worker: Worker, on_change: Callable[[bool], object]) -> None:
        self._worker, self._bus, self._on_change = worker, worker.bus, on_change
        self.is_there = True
        self._count = self._watched = self._seen = 0
        self._is_looking = False

    def publish(self, topic: str, payload: bytes, *, retain: int = 0) -> bool:
        """Publish on the bus, which see."""
        if self._watched:
            return self._bus.publish(topic, payload, retain=retain)
        self._count += 1
        number = self._count
        done = lambda _has_place: self._answered(number)  # noqa: E731
        taken = self._bus.publish(topic, payload, retain=retain, done=done)
        if taken:
            self._watched = number
            self._look_soon()
        return taken

    def probe(self) -> None:
        """Publish what nobody hears, unless something is watched already."""
        if not self._watched:
            self.publish(_PROBE_TOPIC, b"")

    def _answered(self, number: int) -> None:
        if number == self._watched:
            self._watched = 0
            if not self.is_there:
                self.is_there = True
                self._on_change(True)

    def _look_soon(self) -> None:
        if not self._is_looking:
            self._is_looking = True
            self._worker.call_later(LOOK_SECONDS, self._look)

    def _look(self) -> None:
        """Tell of a message that was watched the last time, too."""
        self._is_looking = False
        if not self._watched:
            return
        is_silent, self._seen = self._watched == self._seen, self._watched
        self._look_soon()
        if is_silent and self.is_there:
            self.is_there = False
            self._on_change(False)
