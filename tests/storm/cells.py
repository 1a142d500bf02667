"""What must hold in a cell of the plugin matrix: a hook, and a way to misbehave in it.

Kinds of cells, by what the host can do about them

    kind       what must hold besides what always must
    heard      one record names plugin and hook; nobody dies
    nothing    nothing at all is seen of it
    dies       the worker dies and is replaced; one record has the cause, and names plugin and hook
    hangs      the worker is found hanging, its stacks are logged, and it is replaced
    refuses    the host does not start: exit code, and a message that names plugin and hook
    fails      the host does not start: exit code, and nothing is left
    blocks     a limit: the supervisor is blocked; open sessions go on, and all end with it
    ends       a limit: the host ends, and nothing of it is left
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from support.misbehaving import HOOKS, WAYS

Kind = Literal["heard", "nothing", "dies", "hangs", "refuses", "fails", "blocks", "ends"]

IN_SUPERVISOR = {"on_host_start", "on_child_exit", "choose_worker"}
DEADLY = {"os_exit", "segv", "segv_in_c", "abort"}
BLOCKING = {"loop", "sleep"}
RAISING = {"raise", "sys_exit", "interrupt", "allocate"}
LIMITS: dict[Kind, str] = {
    "blocks": "blocks the supervisor: open sessions go on",
    "ends": "ends the host: nothing is left of it",
}
_SIGNALS = {"segv": "SIGSEGV", "segv_in_c": "SIGSEGV", "abort": "SIGABRT", "os_exit": "exit code 3"}


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell.

    Attributes:
        hook: the hook.
        how: the way, a key of `misbehaving.WAYS`.
        first: whether it happens at the host's first start; else while it serves.
    """

    hook: str
    how: str
    first: bool = False

    def __str__(self) -> str:
        return f"{self.hook}{' (first)' * self.first} × {self.how}"

    @property
    def kind(self) -> Kind:
        """What must hold."""
        starting = self.hook == "on_host_start" or self.first
        if self.how in RAISING or (self.how == "nonsense" and self.hook.startswith("choose_")):
            return "refuses" if starting else "heard"
        if self.hook in IN_SUPERVISOR:
            return self._in_supervisor()
        if self.how in DEADLY or self.how == "close_foreign":
            return "fails" if starting else "dies"
        if self.how in BLOCKING:
            return "fails" if starting else "hangs"
        return "nothing"

    def _in_supervisor(self) -> Kind:
        if self.how in BLOCKING:
            return "blocks"
        if self.how in DEADLY or self.how == "close_foreign":
            return "ends"
        return "nothing"

    @property
    def cause(self) -> str | None:
        """The cause of death that is told, if it is known."""
        return _SIGNALS.get(self.how)

    @property
    def code(self) -> int | None:
        """The exit code of a host that does not start."""
        if self.kind == "refuses":
            return 4 if self.hook == "on_host_start" else 6
        return 6 if self.kind == "fails" else None


def all_cells() -> list[Cell]:
    """Return every hook × every way; `on_worker_start` also at the first start."""
    cells = [Cell(hook, how) for hook in HOOKS for how in WAYS]
    return cells + [Cell("on_worker_start", how, first=True) for how in WAYS]


def some_cells() -> list[Cell]:
    """Return cells in which every hook and every way that is not deadly is, for a short run.

    Each hook has every eighth way, beginning with a different one; of those that take seconds (the
    blocking ones) there are two.
    """
    ways = [how for how in WAYS if how not in BLOCKING]
    rows = [(hook, False) for hook in HOOKS] + [("on_worker_start", True)]
    cells = [
        Cell(hook, ways[(number * 2 + step) % len(ways)], first)
        for number, (hook, first) in enumerate(rows)
        for step in range(0, len(ways), 8)
    ]
    return [*cells, Cell("on_readable", "loop"), Cell("choose_worker", "sleep")]
