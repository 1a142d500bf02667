"""What the broker has not confirmed yet: said again on each new connection, done once. No I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

from host.bus.bridge_frames import SERIAL, Ask
from host.bus.frames import Frame
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
    """

    serial: int
    packed: bytes
    member: int


class Outbox:
    """Keeps what is said to the broker until it is confirmed, in order.

    Args:
        send: takes a frame for the bridge.
        tell: called with a member that wants to know, and whether its message has its place.

    Attributes:
        open: whether the bridge takes frames at the moment.
        size: how many bytes wait to be confirmed.
    """

    def __init__(
        self, send: Callable[[bytes], object], tell: Callable[[int, bool], object]
    ) -> None:
        self._send, self._tell = send, tell
        self._entries: deque[Unconfirmed] = deque()
        self._serial = self._sent = 0
        self.open = False
        self.size = 0

    def add(
        self, kind: Ask, name: bytes, payload: bytes, number: int = 0, member: int = NOBODY
    ) -> None:
        """Say something.

        Args:
            kind: what the frame says.
            name: its name.
            payload: what comes behind the serial.
            number: its number.
            member: who is told when it is confirmed.
        """
        self._serial += 1
        packed = Frame(kind, number, name, SERIAL.pack(self._serial) + payload).pack()
        self._entries.append(Unconfirmed(self._serial, packed, member))
        self.size += len(packed) + _ENTRY_BYTES
        if self.open:
            self._sent = self._serial
            self._send(packed)

    def confirm(self, count: int) -> None:
        """Take the first entries for done."""
        for _ in range(min(count, len(self._entries))):
            self._end(self._entries.popleft(), has_place=True)

    def join(self, last: int) -> None:
        """Take for done what the broker has done already, before it is said again.

        Args:
            last: the last serial that the broker knows; -1 if it has forgotten this node. Then
                nobody knows what became of what it was sent, so that is not said again.
        """
        has_place = last >= 0
        last = last if has_place else self._sent
        while self._entries and self._entries[0].serial <= last:
            self._end(self._entries.popleft(), has_place=has_place)
        self._serial = max(self._serial, last)

    def begin(self) -> None:
        """Say everything that is not confirmed."""
        self.open = True
        self._sent = self._serial
        for entry in self._entries:
            self._send(entry.packed)

    def state(self) -> OutboxState:
        """Return the last serial, the last one that was sent, and what is not confirmed."""
        entries = [(each.serial, each.packed, each.member) for each in self._entries]
        return self._serial, self._sent, entries

    def restore(self, serial: int, sent: int, entries: Iterable[tuple[int, bytes, int]]) -> None:
        """Take over."""
        self._serial, self._sent = serial, sent
        self._entries.extend(Unconfirmed(*each) for each in entries)
        self.size = sum(len(each.packed) + _ENTRY_BYTES for each in self._entries)

    def _end(self, entry: Unconfirmed, *, has_place: bool) -> None:
        self.size -= len(entry.packed) + _ENTRY_BYTES
        if entry.member != NOBODY:
            self._tell(entry.member, has_place)
