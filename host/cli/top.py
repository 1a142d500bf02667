"""What `top` tells of a host: its rates, and its workers in an order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from host.cli import screen
from host.cli.history import History, Measured
from host.cli.screen import Table

Worker = Mapping[str, Any]


class Order(NamedTuple):
    """An order of the workers.

    Attributes:
        key: the key that chooses it.
        heading: the column that they are put in order by.
        value: what counts; None comes last.
        measure: what the column HISTORY shows then.
    """

    key: str
    heading: str
    value: Callable[[Worker, Measured], float | None]
    measure: str = "cpu"


ORDERS = {
    "slot": Order("s", "SLOT", lambda worker, _: -worker["slot"]),
    "cpu": Order("c", "CPU", lambda _, measured: measured.cpu),
    "events": Order("e", "EVENTS/S", lambda _, measured: measured.events, "events"),
    "accepted": Order("n", "ACCEPTED/S", lambda _, measured: measured.accepted, "accepted"),
    "active": Order("a", "ACTIVE", lambda worker, _: worker["active"], "active"),
    "memory": Order("m", "MEMORY", lambda worker, _: worker["memory_bytes"]),
    "turn": Order("t", "TURN", lambda worker, _: worker["turn_seconds"]),
    "age": Order("o", "AGE", lambda worker, _: worker["age_seconds"]),
}
"""The orders there are: the largest first, but for slots."""
_SHOWN = "SLOT PID GEN STATE ACTIVE ACCEPTED OUTSTANDING ACCEPTED/S EVENTS/S CPU MEMORY TURN AGE"
_LISTENERS = "LISTENER PLUGIN WAITING ACCEPTED ACCEPTED/S SPURIOUS REFUSED"
_UNITS = ((1e3, "k"), (1e6, "M"), (1e9, "G"), (1e12, "T"))


@dataclass(slots=True)
class View:
    """How the workers are looked at.

    Attributes:
        order: the name of the order that they are in.
        reverse: whether it is turned around.
        first: how many of them are passed over.
    """

    order: str = "slot"
    reverse: bool = False
    first: int = 0

    def press(self, key: str, workers: int) -> None:
        """Do what a key is for; others do nothing.

        Args:
            key: a character, or the name of a key: `up`, `down`, `page up`, `page down`, `home`.
            workers: how many workers there are.
        """
        chosen = next((name for name, each in ORDERS.items() if each.key == key), None)
        steps = {"up": -1, "down": 1, "page up": -10, "page down": 10, "home": -workers}
        if chosen is not None:
            self.order, self.reverse, self.first = chosen, False, 0
        elif key == "r":
            self.reverse, self.first = not self.reverse, 0
        elif key in steps:
            self.first = max(0, min(self.first + steps[key], workers - 1))

    def sorted(self, status: Mapping[str, Any], history: History) -> list[Worker]:
        """Return the workers in order; equal ones stay in that of their slots."""
        value = ORDERS[self.order].value

        def rank(worker: Worker) -> tuple[bool, float]:
            found = value(worker, history.worker(worker["pid"]))
            if found is None:
                return True, 0
            return False, found if self.reverse else -found

        return sorted(status["workers"], key=rank)


def brief(count: float | None) -> str | None:
    """Return a count or a rate in five characters at most: 0.5, 99999, 100k, 1.2M."""
    if count is None:
        return None
    if count < 99_999.5:
        return f"{count:.0f}" if count >= 9.95 or not count else f"{count:.1f}".removesuffix(".0")
    unit = next(each for each in _UNITS if count < each[0] * 999.5 or each is _UNITS[-1])
    value = count / unit[0]
    return f"{value:.1f}{unit[1]}" if value < 9.95 else f"{value:.0f}{unit[1]}"


def percent(part: float | None) -> str | None:
    """Return a part of one CPU: 0.4%, 85%, 250%."""
    if part is None:
        return None
    return f"{part * 100:.0f}%" if part >= 0.0995 or not part else f"{part * 100:.1f}%"


def workers(found: Sequence[Worker], history: History) -> Table:
    """Return the table of workers with all its columns but the last, HISTORY."""
    rows = []
    for each in found:
        measured = history.worker(each["pid"])
        rows.append(
            (
                each["slot"],
                each["pid"],
                each["generation"],
                screen.state(each),
                each["active"],
                brief(each["accepted"]),
                each["outstanding"],
                brief(measured.accepted),
                brief(measured.events),
                percent(measured.cpu),
                screen.mebibytes(each["memory_bytes"]),
                screen.brief(each["turn_seconds"]),
                screen.ago(each["age_seconds"]),
            )
        )
    return Table.of(_SHOWN, rows)


def listeners(status: Mapping[str, Any], history: History) -> Table:
    """Return the table of the listeners."""
    return Table.of(
        _LISTENERS,
        (
            (
                each["address"],
                each["plugin"],
                each["waiting"],
                brief(screen.accepted(each)),
                brief(history.listener(each["index"])),
                each["spurious"],
                screen.refused(each),
            )
            for each in status["listeners"]
        ),
    )


def once(status: Mapping[str, Any], view: View) -> list[str | Table]:
    """Return all that there is to say of a host at one look: rates are averages since the start."""
    history = History()
    history.update(status)
    parts: list[str | Table] = [head(status, history), ""]
    parts += [workers(view.sorted(status, history), history), "", screen.listeners(status)]
    found = screen.troubles(status)
    return [*parts, "", "\n".join(found)] if found else parts


def head(status: Mapping[str, Any], history: History) -> str:
    """Return what there is to say of the host as a whole, and of its supervisor."""
    supervisor = percent(history.supervisor) or "-"
    return f"{screen.head(status)}\nsupervisor: {supervisor} of a CPU"
