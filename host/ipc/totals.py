"""What generations that have ended have counted: a counter must not fall when one of them goes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from host.interfaces import Listener
from host.ipc.scoreboard import LISTENER_WORDS, WORKER_WORDS, Row, Scoreboard


class SlotCounts(NamedTuple):
    """What the workers of one slot have counted, by the words of a row of the scoreboard."""

    slot: int
    words: list[int]


class ListenerCounts(NamedTuple):
    """What they have counted of one listener, by the words of a row for each listener."""

    address: str
    plugin: str
    slot: int
    words: list[int]


class Totals:
    """Sums over rows of scoreboards, by slot and by listener and slot.

    A listener is known by its address and plugin: after a reload it may have another number. Sums
    of words that are no counters mean nothing.

    Args:
        slots: what is counted already, by slot.
        listeners: the same, by listener and slot.
    """

    def __init__(
        self, slots: Iterable[SlotCounts] = (), listeners: Iterable[ListenerCounts] = ()
    ) -> None:
        self._slots = {each.slot: list(each.words) for each in slots}
        self._listeners = {
            (one.address, one.plugin, one.slot): list(one.words) for one in listeners
        }

    @property
    def slots(self) -> Iterator[SlotCounts]:
        """The sums by slot."""
        return (SlotCounts(slot, words) for slot, words in self._slots.items())

    @property
    def listeners(self) -> Iterator[ListenerCounts]:
        """The sums by listener and slot."""
        return (ListenerCounts(*key, words) for key, words in self._listeners.items())

    def copy(self) -> Totals:
        """Return the same sums, to be added to."""
        return Totals(self.slots, self.listeners)

    def add(self, scoreboard: Scoreboard, listeners: Sequence[Listener]) -> None:
        """Add all that is counted in a scoreboard now.

        Args:
            scoreboard: the scoreboard; it stays as it is.
            listeners: the listeners that its rows count for.
        """
        for row in scoreboard.rows:
            self.add_row(row, listeners)

    def add_row(self, row: Row, listeners: Sequence[Listener]) -> None:
        """Add what is counted in one row now, if it ever had a worker."""
        slot = row.slot
        if slot is None:
            return
        self._add_slot(slot, row.words())
        for view in listeners:
            self._add_listener((view.address, view.plugin, slot), row.listener_words(view.index))

    def merge(self, other: Totals) -> None:
        """Add other sums."""
        for slot, words in other.slots:
            self._add_slot(slot, words)
        for address, plugin, slot, words in other.listeners:
            self._add_listener((address, plugin, slot), words)

    def _add_slot(self, slot: int, words: Iterable[int]) -> None:
        _add(self._slots.setdefault(slot, [0] * WORKER_WORDS), words)

    def _add_listener(self, key: tuple[str, str, int], words: Iterable[int]) -> None:
        _add(self._listeners.setdefault(key, [0] * LISTENER_WORDS), words)


def _add(sums: list[int], words: Iterable[int]) -> None:
    for index, value in enumerate(words):
        sums[index] += value
