"""The processes beside the workers: one shows how the host is, one speaks to a broker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from host.runtime.processes import Exit
from host.supervisor.ops import Ops

if TYPE_CHECKING:  # a host without a broker does not import it
    from host.supervisor.bridge import Bridge


class Helpers:
    """Starts them, looks after them, and ends them.

    Args:
        ops: has the host shown.
        bridge: has a broker spoken to; None if there is none.
    """

    def __init__(self, ops: Ops, bridge: Bridge | None) -> None:
        self._all: tuple[Ops | Bridge, ...] = (ops,) if bridge is None else (bridge, ops)

    def start(self) -> None:
        """Start those that there are to be."""
        for each in self._all:
            each.start()

    def knows(self, pid: int) -> bool:
        """Tell whether a child is one of them."""
        return any(each.knows(pid) for each in self._all)

    def handle_exit(self, ended: Exit) -> bool:
        """Start another one if it is one of them that has ended; False if it is none."""
        return any(each.handle_exit(ended) for each in self._all)

    def check_health(self) -> None:
        """Kill those that hang."""
        for each in self._all:
            each.check_health()

    def end(self) -> None:
        """End them, and wait until they have: the host ends."""
        for each in self._all:
            each.end()

    def close_in_child(self) -> None:
        """Close what is the supervisor's of them, in another child."""
        for each in self._all:
            each.close_in_child()
