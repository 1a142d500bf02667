"""Puts plugins into the order that they declare; no I/O.

A declaration has one plugin before another, in every hook, and over any number of others: if a is
before b and b before c, then a is before c in a hook that b has not, too. For each hook, plugins
take their places one after the other, first those who declare nothing. Each takes the place that it
would have without declarations, or the nearest one that they allow. There always is one: among
those that have a place, all that must be before it stand before all that must be after it.
"""

from __future__ import annotations

import graphlib
from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar

from host.plugin.declarations import Declaration


class Ordered(Protocol):
    """What has a place: it belongs to a plugin, and is a wrapper around the others or not."""

    @property
    def plugin(self) -> str:
        """The plugin's name."""

    @property
    def wrapper(self) -> bool:
        """Whether it is called around the others."""


_Item = TypeVar("_Item", bound=Ordered)


class Order:
    """Who is called before whom.

    Attributes:
        declarations: what each selected plugin declares, by its name.

    Raises:
        graphlib.CycleError: there are `cycles`.
    """

    def __init__(self, declarations: Mapping[str, Declaration]) -> None:
        self.declarations = declarations
        direct = _predecessors(declarations)
        self._earlier: dict[str, frozenset[str]] = {}
        for name in graphlib.TopologicalSorter(direct).static_order():
            further = (self._earlier[each] for each in direct[name])
            self._earlier[name] = frozenset(direct[name]).union(*further)
        self._declaring = {name for name, said in declarations.items() if said.after or said.before}

    def arranged(self, items: Sequence[_Item]) -> list[_Item]:
        """Return items in the order in which they are called: wrappers first, then the others.

        Args:
            items: in the order that they have without declarations.
        """
        wrappers = self._placed([each for each in items if each.wrapper])
        return wrappers + self._placed([each for each in items if not each.wrapper])

    def _placed(self, items: Sequence[_Item]) -> list[_Item]:
        placed: list[tuple[int, _Item]] = []
        declaring_last = sorted(
            enumerate(items), key=lambda numbered: numbered[1].plugin in self._declaring
        )
        for number, item in declaring_last:
            placed.insert(self._place(number, item, placed), (number, item))
        return [item for _, item in placed]

    def _place(self, number: int, item: _Item, placed: Sequence[tuple[int, _Item]]) -> int:
        """Return where an item goes among those that have a place already."""
        earlier = self._earlier[item.plugin]
        low, high, usual = 0, len(placed), None
        for place, (other_number, other) in enumerate(placed):
            if other.plugin in earlier:
                low = place + 1
            elif item.plugin in self._earlier[other.plugin]:
                high = min(high, place)
            if usual is None and other_number > number:
                usual = place
        return min(max(low, len(placed) if usual is None else usual), high)


def cycles(declarations: Mapping[str, Declaration]) -> list[list[str]]:
    """Return plugins that cannot be put into order, in circles: each before the next one.

    Each circle begins with the first of its names, and no plugin is in two of them.
    """
    direct = _predecessors(declarations)
    found = []
    while True:
        try:
            graphlib.TopologicalSorter(direct).prepare()
        except graphlib.CycleError as error:
            circle = error.args[1][1:]
            first = circle.index(min(circle))
            found.append(circle[first:] + circle[:first])
            direct = {
                name: [each for each in names if each not in circle]
                for name, names in direct.items()
                if name not in circle
            }
        else:
            return found


def saying(declarations: Mapping[str, Declaration], first: str, second: str) -> str:
    """Return which declaration has one plugin before another, in words."""
    if second in declarations[first].before:
        return f'"{first}" declares before "{second}"'
    return f'"{second}" declares after "{first}"'


def _predecessors(declarations: Mapping[str, Declaration]) -> dict[str, list[str]]:
    """Return for each plugin those that are said to be before it; names of others are left out."""
    found: dict[str, list[str]] = {name: [] for name in sorted(declarations)}
    for name in found:
        pairs = [(each, name) for each in declarations[name].after]
        pairs += [(name, each) for each in declarations[name].before]
        for first, second in pairs:
            if first in found and second in found and first not in found[second]:
                found[second].append(first)
    return found
