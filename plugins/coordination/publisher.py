"""Publishing no more than the bus takes: clients are held back before anything is dropped."""

from __future__ import annotations

from collections.abc import Callable

from host import Bus
from host.plugins.framing import Receiver

_ENTRY_BYTES = 300
"""About what a message costs on its way over the bus beside its bytes."""
_MARK_BYTES = 65_536
_MOST_BYTES = 2_097_152


class BoundedPublisher:
    """Publishes, and counts what is on its way until the bus has taken it.

    Whoever publishes what clients send calls `hold` after it: then a client that sends more than
    the bus takes, or sends while a broker is away, is not read from until there is room.

    Args:
        bus: the bus.
        max_bytes: how much may be on its way before clients are held back; by default a quarter of
            what the bus lets wait for one worker.
    """

    def __init__(self, bus: Bus, max_bytes: int = _MOST_BYTES) -> None:
        self._bus, self._max = bus, max_bytes
        self._unconfirmed = self._unmarked = 0
        self._held: list[Receiver] = []

    def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        retain: int = 0,
        done: Callable[[bool], object] | None = None,
        copies: int = 0,
    ) -> bool:
        """Publish, as `Bus.publish` does.

        Args:
            topic: the topic.
            payload: what is published.
            retain: how many of the topic's messages are kept.
            done: called with whether the message has its place in the order of its topic.
            copies: into how many queues it was put besides.

        Returns:
            False if it was dropped.
        """
        size = self._unmarked + (len(topic) + len(payload) + _ENTRY_BYTES) * (1 + copies)
        if done is None and size <= _MARK_BYTES:
            self._unmarked = size
            return self._bus.publish(topic, payload, retain=retain)

        def taken(is_done: bool) -> None:
            self._unconfirmed -= size
            if done is not None:
                done(is_done)
            if self._held and self._unconfirmed <= self._max // 2:
                held, self._held = self._held, []
                for receiver in held:
                    receiver.release()

        is_taken = self._bus.publish(topic, payload, retain=retain, done=taken)
        self._unmarked, self._unconfirmed = 0, self._unconfirmed + size  # unless it was refused
        return is_taken

    def hold(self, receiver: Receiver) -> None:
        """Hold a client back if too much is on its way, until there is room."""
        if self._unconfirmed > self._max:
            receiver.hold()
            self._held.append(receiver)
