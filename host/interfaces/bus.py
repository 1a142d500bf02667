"""The bus between workers, as plugins see it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

BUS_LEFT = "bus.left"
"""The topic that tells of a member that is gone: the payload is its name."""
BUS_LOST = "bus.lost"
"""The topic that tells a member that it has lost messages: the payload is how many, in digits.

It is 0 if that is not known.
"""
BUS_TAKEN = "bus.taken"
"""The topic that tells a member that a key it owned has another owner now: the payload is the key.

That happens only where a broker connects several hosts: one that was cut off from it for too long
is taken for dead.
"""


class Message(NamedTuple):
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


class Table(Protocol):
    """A small mapping that all members share: sessions, flags, rates.

    Nothing blocks: each call has its answer in `done`, once. What is set stays when its member
    ends. A key has 1 to 512 bytes in UTF-8, a value 64 KiB at most, a table 4 MiB.

    Changes wait for a broker that is away, as messages do, and are done once; what one member
    publishes and changes is done in that order. Questions do not wait: they are answered as not
    known.

    `done(None)` means that nobody knows: too much waits already, or the broker has forgotten all,
    perhaps after it had done what was asked. Ask again later.
    """

    def get(self, key: str, done: Callable[[bool, bytes | None], object]) -> None:
        """Ask for the value of a key.

        Args:
            key: the key.
            done: called with whether it is known, and the value, None if there is none.
        """

    def set(
        self, key: str, value: bytes, done: Callable[[bool | None], object] | None = None
    ) -> None:
        """Give a key a value.

        Args:
            key: the key.
            value: the value.
            done: called with True when it is done; with False if it is not, since the table is
                full; with None if that is not known.
        """

    def delete(self, key: str, done: Callable[[bool | None], object] | None = None) -> None:
        """Have a key no value any more; `done` is called as by `set`."""

    def compare_and_set(
        self,
        key: str,
        expected: bytes | None,
        value: bytes | None,
        done: Callable[[bool | None], object],
    ) -> None:
        """Give a key a value if it has an expected one: of all who try at once one does it.

        Args:
            key: the key.
            expected: the value that it must have; None if it must have none.
            value: its new value; None if it is to have none.
            done: called with True when it is done; with False if the key has another value, or as
                by `set`.
        """

    def items(self, done: Callable[[dict[str, bytes] | None], object]) -> None:
        """Ask for all keys with their values; `done` is called with None if they are not known."""


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

    def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        retain: int = 0,
        done: Callable[[bool], object] | None = None,
    ) -> bool:
        """Send `payload` to all who have subscribed to `topic`.

        Args:
            topic: 1 to 512 bytes in UTF-8.
            payload: 1 MiB at most.
            retain: how many of the topic's messages, this one included, are kept for those who
                subscribe later; 0 to keep what is kept and not this one.
            done: called with True as soon as the message has its place in the order of its topic,
                so that all who have subscribed get it, whatever becomes of this worker; with False
                if it was dropped.

        Returns:
            False if it was dropped because too much waits; later is a good time to try again.

        Raises:
            ValueError: the payload or the topic is too long, or the topic is the bus's own, such as
                `BUS_LEFT`.
        """

    def subscribe(
        self,
        topic: str,
        callback: Callable[[Message], object],
        ready: Callable[[], object] | None = None,
        *,
        prefix: bool = False,
    ) -> None:
        """Hear what is published on `topic`: what is retained, then `ready()`, then what comes.

        Args:
            topic: the topic; or how topics begin.
            callback: called with each message; once, also if several subscriptions have it.
            ready: called when all that is retained was heard.
            prefix: whether all topics are meant that begin with `topic`. The retained messages of
                each come in their order, one topic after the other.

        Raises:
            BlockingIOError: too much waits; nothing was subscribed.
        """

    def read_retained(
        self,
        topic: str,
        callback: Callable[[Message], object],
        ready: Callable[[], object],
        *,
        prefix: bool = False,
    ) -> None:
        """Hear what is retained of `topic` now, and subscribe to nothing.

        All live messages that are heard before `ready()` were published before what is retained
        was looked at, and those after it, after.

        Args:
            topic: the topic; or how topics begin.
            callback: called with each retained message, in the order of `subscribe`.
            ready: called when all was heard.
            prefix: whether all topics are meant that begin with `topic`.

        Raises:
            BlockingIOError: too much waits; nothing was asked.
        """

    def unsubscribe(self, topic: str, *, prefix: bool = False) -> None:
        """Hear nothing more of `topic`; this ends all subscriptions of this worker to it.

        Args:
            topic: what was subscribed to.
            prefix: whether it was subscribed to as a prefix.
        """

    def claim(self, key: str, done: Callable[[bool], object]) -> None:
        """Ask to be the one owner of `key` among all members.

        `done(True)` is called when this member owns it now, `done(False)` if it is owned already,
        even if this member is the owner.
        """

    def release(self, key: str) -> None:
        """Give up a key that this member owns."""

    def fence(self, key: str) -> int | None:
        """Return the fencing number of a key that this member owns; None if it does not.

        Each owner of a key has a greater number than those before. Give it to what is written to
        for the key, such as a database, which refuses a smaller one than it has seen: then an
        owner that does not know yet that it is none any more does no harm.
        """

    def table(self, name: str) -> Table:
        """Return a table that all members share.

        Args:
            name: 1 to 512 bytes in UTF-8.
        """
