"""What the broker has not confirmed yet: said again on each new connection, done once. No I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

from host.bus.bridge_frames import SERIAL, Ask
from host.bus.frames import packed
from host.bus.remote_state import OutboxState

_ENTRY_BYTES = 200
"""About what an entry costs beside its frame (CPython, 64 bits)."""
NOBODY = 0


class Unconfirmed(NamedTuple):
    """Something that the broker has not confirmed.

    Attributes:
        serial: its number.
        packed: its frame.
        member: who is told when it is confirmed; `NOBODY` for none.
        question: the member's own number of a change of a table; None for anything else.
    """

    serial: int
    packed: bytes
    member: int
    question: int | None = None


_make_entry: Callable[[tuple[int, bytes, int, int | None]], Unconfirmed]
_make_entry = partial(tuple.__new__, Unconfirmed)
"""What `Unconfirmed` itself does, but it is a function of Python: that takes twice as long."""


class Outbox:
    """Keeps what is said to the broker until it is confirmed, in order.

    Args:
        send: takes a frame for the bridge.
        tell: called with what a member wants to know of, and whether it is done; None if nobody
            knows.

    Attributes:
        open: whether the bridge takes frames at the moment.
        size: how many bytes wait to be confirmed.
    """

    def __init__(
        self,
        send: Callable[[bytes], object],
        tell: Callable[[Unconfirmed, bool | None], object],
    ) -> None:
        self._send, self._tell = send, tell
        self._entries: deque[Unconfirmed] = deque()
        self._refused: set[int] = set()
        self._serial = self._sent = 0
        self.open = False
        self.size = 0

    @property
    def last(self) -> int:
        """The serial of what was said last."""
        return self._serial

    def add(
        self,
        kind: int,
        name: bytes,
        payload: bytes,
        number: int = 0,
        member: int = NOBODY,
        question: int | None = None,
    ) -> None:
        """Say something.

        Args:
            kind: what the frame says.
            name: its name.
            payload: what comes behind the serial.
            number: its number.
            member: who is told when it is confirmed.
            question: the member's own number of a change of a table; see `change`.
        """
        self._serial += 1
        frame = packed(kind, number, name, SERIAL.pack(self._serial) + payload)
        self._entries.append(_make_entry((self._serial, frame, member, question)))
        self.size += len(frame) + _ENTRY_BYTES
        if self.open:
            self._sent = self._serial
            self._send(frame)

    def change(self, table: bytes, request: bytes, member: int, question: int) -> None:
        """Change a table.

        Args:
            table: its name.
            request: what is changed (`tables.Request`).
            member: who is told of the answer.
            question: the member's own number of that.
        """
        before = self._serial + 1 - self._entries[0].serial if self._entries else 0
        self.add(Ask.CHANGE, table, request, before, member, question)

    def refuse(self, serials: Iterable[int]) -> None:
        """Note that these were not done, but refused; whoever confirms them says so before."""
        if self._entries:
            waiting = range(self._entries[0].serial, self._serial + 1)
            self._refused.update(serial for serial in serials if serial in waiting)

    def confirm(self, count: int) -> None:
        """Take the first entries for done."""
        for _ in range(min(count, len(self._entries))):
            self._end(self._entries.popleft(), is_known=True)

    def forget(self, member: int) -> None:
        """Tell a member nothing more."""
        entries = self._entries
        for at, entry in enumerate(entries):
            if entry.member == member:
                entries[at] = entry._replace(member=NOBODY)

    def join(self, last: int) -> None:
        """Take for done what the broker has done already, before it is said again.

        Args:
            last: the last serial that the broker knows; -1 if it has forgotten this node. Then
                nobody knows what became of what it was sent, so that is not said again.
        """
        is_known = last >= 0
        last = last if is_known else self._sent
        while self._entries and self._entries[0].serial <= last:
            self._end(self._entries.popleft(), is_known=is_known)
        self._serial = max(self._serial, last)
        self._refused.clear()

    def begin(self) -> list[tuple[int, bytes]]:
        """Be open from now on; return what is to be said before: all that is not confirmed.

        Returns:
            The serial and the frame of each.
        """
        self.open = True
        self._sent = self._serial
        return [(entry.serial, entry.packed) for entry in self._entries]

    def state(self) -> OutboxState:
        """Return the last serial, the last one that was sent, and what is not confirmed."""
        entries = [(each.serial, each.packed, each.member, each.question) for each in self._entries]
        return self._serial, self._sent, entries

    def restore(
        self, serial: int, sent: int, entries: Iterable[tuple[int, bytes, int, int | None]]
    ) -> None:
        """Take over."""
        self._serial, self._sent = serial, sent
        self._entries.extend(Unconfirmed(*each) for each in entries)
        self.size = sum(len(each.packed) + _ENTRY_BYTES for each in self._entries)

    def _end(self, entry: Unconfirmed, *, is_known: bool) -> None:
        self.size -= len(entry.packed) + _ENTRY_BYTES
        is_done = entry.serial not in self._refused
        self._refused.discard(entry.serial)
        if entry.member != NOBODY:
            self._tell(entry, is_done if is_known else None)
