"""The bus between workers, as plugins see it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

BUS_LEFT = "bus.left"
"""The topic that tells of a member that is gone: the payload is its name."""
BUS_LOST = "bus.lost"
"""The topic that tells a member that it has lost messages: the payload is how many, in digits."""


@dataclass(frozen=True, slots=True)
class Message:
    """What was published on the bus.

    Attributes:
        topic: the topic.
        payload: what was published.
        sender: the member that published it.
        retained: whether it was published before this subscription.
    """

    topic: str
    payload: bytes
    sender: str
    retained: bool


class Bus(Protocol):
    """How workers talk: topics that are published to, and keys that have one owner.

    Nothing blocks. The messages that one member publishes on one topic arrive in that order, and
    those of a topic in the same order everywhere; the publisher hears its own as well. Queues are
    bounded: for a member that does not keep up messages are dropped, of which it is told on
    the topic `BUS_LOST` as soon as there is room. A member that ends gives up all its keys,
    and the others hear of it on the topic `BUS_LEFT`.
    """

    @property
    def member(self) -> str:
        """This worker's name among the members."""

    def publish(self, topic: str, payload: bytes, *, retain: int = 0) -> bool:
        """Send `payload` to all who have subscribed to `topic`.

        Args:
            topic: 1 to 512 bytes in UTF-8.
            payload: 1 MiB at most.
            retain: how many of the topic's messages, this one included, are kept for those who
                subscribe later; 0 to keep what is kept and not this one.

        Returns:
            False if it was dropped because too much waits; later is a good time to try again.
        """

    def subscribe(
        self,
        topic: str,
        callback: Callable[[Message], object],
        ready: Callable[[], object] | None = None,
    ) -> None:
        """Hear what is published on `topic`: what is retained, then `ready()`, then what comes.

        Raises:
            BlockingIOError: too much waits; nothing was subscribed.
        """

    def unsubscribe(self, topic: str) -> None:
        """Hear nothing more of `topic`; this ends all subscriptions of this worker to it."""

    def claim(self, key: str, done: Callable[[bool], object]) -> None:
        """Ask to be the one owner of `key` among all members.

        `done(True)` is called when this member owns it now, `done(False)` if it is owned already,
        even if this member is the owner.
        """

    def release(self, key: str) -> None:
        """Give up a key that this member owns."""
