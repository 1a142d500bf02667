"""What workers have asked the broker, of which the answer goes to one of them. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from host.bus.bridge_frames import Ask
from host.bus.frames import Frame, Kind
from host.bus.remote_state import WaitingSubscription

_LAST_ID = 2**32 - 1
_READS = (Kind.READ, Kind.READ_PREFIX)
_PREFIXES = (Kind.SUBSCRIBE_PREFIX, Kind.READ_PREFIX)
_MOST_WAITING = 100_000
"""How much may wait for a connection until questions do not any more."""


@dataclass(slots=True, eq=False)
class _Subscription:
    """A subscription, or a question, that waits for what is retained.

    Attributes:
        member: who has subscribed or asks.
        number: its own number of that.
        name: the topic, or how topics begin.
        kind: what it has said.
        after: the serial of what was said to the broker just before: it is asked after that.
        retained: what has come of the answer: it is passed on as a whole or not at all.
    """

    member: int
    number: int
    name: bytes
    kind: int
    after: int
    retained: list[Frame] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class _TableQuestion:
    """A question to a table: who has asked it, its own number of it, and how many bytes it has.

    Attributes:
        is_lost: whether some of the answer had no room.
    """

    member: int
    number: int
    size: int
    is_lost: bool = False


class Questions:
    """Passes questions on while there is a connection, and answers to those who have asked.

    Subscriptions wait for a connection. A question to a table does not: it is answered as not
    known.

    Args:
        send: takes the number of a member and a packed frame for it; returns False if it had no
            room.
        ask: takes a frame for the bridge.
        most_bytes: how much of questions to tables may wait for answers.
    """

    def __init__(
        self,
        send: Callable[[int, bytes], object],
        ask: Callable[[Frame], object],
        most_bytes: int,
    ) -> None:
        self._send, self._ask, self._most = send, ask, most_bytes
        self._is_open = False
        self._ids = 0
        self._waiting = 0
        self._subscriptions: dict[int, _Subscription] = {}
        self._keys: dict[tuple[int, bytes, int], list[int]] = {}
        self._tables: dict[int, _TableQuestion] = {}

    def ask_retained(self, member: int, number: int, name: bytes, kind: int, after: int) -> None:
        """Ask what is retained.

        Args:
            member: who has subscribed or asks.
            number: its own number of that.
            name: the topic, or how topics begin.
            kind: what it has said. If too many questions wait that are no subscriptions, the answer
                is that something was lost.
            after: the serial of what was said to the broker just before.
        """
        if kind in _READS and len(self._subscriptions) >= _MOST_WAITING:
            self._send(member, Frame(Kind.LOST, 0, b"").pack())
            self._send(member, Frame(Kind.SUBSCRIBED, number, b"").pack())
            return
        key = self._next_id()
        self._subscriptions[key] = _Subscription(member, number, name, kind, after)
        self._keys.setdefault((member, name, kind), []).append(key)
        if self._is_open:
            self._ask(self._question(key))

    def forget(self, member: int, name: bytes, kind: int) -> None:
        """Forget what a member has said of a name: it hears nothing more of that."""
        for key in self._keys.pop((member, name, kind), ()):
            del self._subscriptions[key]

    def ask_table(self, member: int, frame: Frame) -> None:
        """Ask a table something that changes nothing."""
        size = len(frame.payload)
        if not self._is_open or self._waiting + size > self._most:
            self._send(member, Frame(Kind.NO_ANSWER, frame.number, b"").pack())
            return
        key = self._next_id()
        self._waiting += size
        self._tables[key] = _TableQuestion(member, frame.number, size)
        self._ask(Frame(Ask.TABLE, key, frame.name, frame.payload))

    def take_retained(self, frame: Frame) -> None:
        """Take a message that is retained."""
        if (subscription := self._subscriptions.get(frame.number)) is not None:
            subscription.retained.append(frame)

    def end_retained(self, frame: Frame) -> None:
        """Pass on what is retained: all of it has come."""
        known = self._subscriptions.pop(frame.number, None)
        if known is None:
            return
        keys = self._keys[known.member, known.name, known.kind]
        keys.remove(frame.number)
        if not keys:
            del self._keys[known.member, known.name, known.kind]
        for each in known.retained:
            whole = Frame(Kind.RETAINED, known.number, each.name, each.payload)
            self._send(known.member, whole.pack())
        if frame.name:
            self._send(known.member, Frame(Kind.LOST, 0, b"").pack())
        self._send(known.member, Frame(Kind.SUBSCRIBED, known.number, b"").pack())

    def take_items(self, frame: Frame) -> None:
        """Pass on some items of a table."""
        if (asked := self._tables.get(frame.number)) is not None:
            items = Frame(Kind.ITEMS, asked.number, b"", frame.payload).pack()
            asked.is_lost |= not self._send(asked.member, items)

    def take_answer(self, frame: Frame) -> None:
        """Pass on the answer of a table."""
        if (asked := self._tables.pop(frame.number, None)) is not None:
            self._waiting -= asked.size
            answer = Frame(Kind.ANSWER, asked.number, b"", frame.payload).pack()
            if asked.is_lost or not self._send(asked.member, answer):
                self._send(asked.member, Frame(Kind.NO_ANSWER, asked.number, b"").pack())

    def leave(self, member: int) -> None:
        """Forget a member."""
        for each in [each for each in self._keys if each[0] == member]:
            self.forget(*each)
        for key in [key for key, each in self._tables.items() if each.member == member]:
            self._waiting -= self._tables.pop(key).size

    def begin(self) -> list[tuple[int, bytes]]:
        """Ask at once from now on: there is a connection; return what is to be asked before.

        Returns:
            After which serial each frame is to be said, and the frame.
        """
        self._is_open = True
        waiting = self._subscriptions.items()
        return [(each.after, self._question(key).pack()) for key, each in waiting]

    def close(self) -> None:
        """Answer what was asked as not known, and have subscriptions wait for a connection."""
        self._is_open = False
        for asked in self._tables.values():
            self._send(asked.member, Frame(Kind.NO_ANSWER, asked.number, b"").pack())
        self._tables.clear()
        self._waiting = 0
        for subscription in self._subscriptions.values():
            subscription.retained.clear()

    def subscriptions(self) -> list[WaitingSubscription]:
        """Return the subscriptions that wait, for those that take over."""
        return [
            (each.member, each.number, each.name, each.kind, each.after)
            for each in self._subscriptions.values()
        ]

    def tables(self) -> list[tuple[int, int]]:
        """Return the questions to tables that have no answer, for those that take over."""
        return [(each.member, each.number) for each in self._tables.values()]

    def restore(self, subscriptions: Iterable[WaitingSubscription]) -> None:
        """Take over: subscriptions go on to wait."""
        for each in subscriptions:
            self.ask_retained(*each)

    def _question(self, key: int) -> Frame:
        waiting = self._subscriptions[key]
        return Frame(Ask.RINGS if waiting.kind in _PREFIXES else Ask.RING, key, waiting.name)

    def _next_id(self) -> int:
        """Return a number for a question: it is no other's for the next four billion."""
        self._ids = (self._ids + 1) & _LAST_ID
        return self._ids
