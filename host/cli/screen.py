"""What a person sees of a host: tables of its state."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from host.text import aligned, counted, printable

if TYPE_CHECKING:
    import rich.table

LEFT = frozenset(
    {
        "STATE",
        "LISTENER",
        "UDP",
        "ADDRESS",
        "PLUGIN",
        "ID",
        "PEER",
        "CLIENT",
        "HISTORY",
        "ALL",
        "DOING",
        "EVENT",
    }
)
"""Columns of text; all others are of numbers."""
STYLES = {
    "serving": "green",
    "starting": "cyan",
    "retiring": "cyan",
    "draining": "cyan",
    "held": "yellow",
    "suspended": "bold red",
    "killed": "bold red",
}
"""How states are shown where there are colours."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table, ready to be shown: whatever its cells come from, they are harmless."""

    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]

    @classmethod
    def of(cls, columns: str, rows: Iterable[Sequence[object]]) -> Table:
        """Make a table of headings, with spaces between them, and values; None is not known."""
        return cls(
            tuple(columns.split()),
            [tuple("-" if cell is None else printable(str(cell)) for cell in row) for row in rows],
        )

    def plain(self) -> str:
        """Return it as text."""
        text = {number for number, heading in enumerate(self.columns) if heading in LEFT}
        return aligned([self.columns, *self.rows], text)

    @property
    def widths(self) -> list[int]:
        """How many characters each column takes."""
        return [max(map(len, column)) for column in zip(self.columns, *self.rows, strict=True)]

    def narrowed(self, headings: Collection[str]) -> Table:
        """Return it with these columns only."""
        kept = [number for number, name in enumerate(self.columns) if name in headings]
        return Table(
            tuple(self.columns[number] for number in kept),
            [tuple(row[number] for number in kept) for row in self.rows],
        )

    def drawn(self) -> rich.table.Table:
        """Return it as a table of the library that knows the terminal's width."""
        # Here and below: only where a person looks, as these imports take 25 ms.
        from rich.table import Table as RichTable  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415

        table = RichTable(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
        for heading in self.columns:
            table.add_column(
                heading,
                justify="left" if heading in LEFT else "right",
                no_wrap=True,
                overflow="ellipsis",
            )
        for row in self.rows:
            table.add_row(*(Text(cell, style=STYLES.get(cell, "")) for cell in row))
        return table


def show(parts: Iterable[str | Table]) -> None:
    """Print text and tables, in colours on a terminal and as they are elsewhere."""
    if sys.stdout.isatty():
        from rich.console import Console  # noqa: PLC0415

        console = Console(highlight=False, markup=False, emoji=False)
        for part in parts:
            console.print(part.drawn() if isinstance(part, Table) else part)
    else:
        for part in parts:
            print(part.plain() if isinstance(part, Table) else part)


def ago(seconds: float) -> str:
    """Return a time in its largest unit: 7s, 12m, 5h, 3d."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:.0f}s"


def brief(seconds: float) -> str:
    """Return a short time: 12.3ms, 1.5s."""
    return f"{seconds * 1000:.1f}ms" if seconds < 1 else f"{seconds:.1f}s"


def mebibytes(count: int | None) -> str | None:
    """Return an amount of memory in MiB."""
    return None if count is None else f"{count / 1_048_576:.0f}M"


def head(status: Mapping[str, Any]) -> str:
    """Return what there is to say of the host as a whole."""
    serving = sum(
        each["state"] == "serving" and each["generation"] == status["generation"]
        for each in status["workers"]
    )
    ready = "ready" if status["ready"] else "not ready"
    lines = [
        f"{status['name']} {status['version']}: {status['state']}, {ready}; pid {status['pid']}, "
        f"generation {status['generation']}, up {ago(status['uptime_seconds'])}",
        f"{serving} of {counted(status['workers_wanted'], 'worker')} serving; "
        f"{counted(status['restarts'], 'restart')}; "
        f"scheduler: {', '.join(status['schedulers'])}",
    ]
    if any((tasks := status.get("tasks", {})).values()):
        lines.append(
            f"tasks of pools: {tasks['waiting']} queued, {tasks['running']} running; "
            f"{tasks['done']} done, {tasks['failed']} failed, {tasks['lost']} lost, "
            f"{tasks['timed_out']} timed out, {tasks['cancelled']} cancelled"
        )
    if (bus := status.get("bus")) is not None:
        lines.append(_bus(bus))
    last = status["last_reload"]
    if last is not None:
        reason = f": {last['reason'].partition(chr(10))[0]}" if last["reason"] else ""
        lines.append(
            f"last reload: generation {last['generation']} {last['outcome']}, "
            f"{ago(last['seconds_ago'])} ago{reason}"
        )
    return "\n".join(map(printable, lines))


def _bus(bus: Mapping[str, Any]) -> str:
    """Return how the connection to the broker is."""
    state = "connected" if bus["connected"] else "away"
    cause = f": {bus['cause']}" if bus["cause"] else ""
    queued = f"; {mebibytes(bus['queued_bytes'])} queued" if bus["queued_bytes"] >> 20 else ""
    foreign = ", ".join(bus["foreign_entries"])
    foreign = foreign and f"; somebody else's entries in the broker, to be deleted: {foreign}"
    return f"bus: {state} for {ago(bus['seconds'])}, {bus['broker']}{cause}{queued}{foreign}"


def workers(status: Mapping[str, Any]) -> Table:
    """Return the table of the workers."""
    columns = "SLOT PID GEN STATE ACTIVE ACCEPTED OUTSTANDING AGE TURN MEMORY"
    rows = [
        [
            each["slot"],
            each["pid"],
            each["generation"],
            state(each),
            each["active"],
            each["accepted"],
            each["outstanding"],
            ago(each["age_seconds"]),
            brief(each["turn_seconds"]),
            mebibytes(each["memory_bytes"]),
        ]
        for each in status["workers"]
    ]
    return Table.of(columns, rows)


def state(worker: Mapping[str, Any]) -> str:
    """Return the state of a worker in one word."""
    if worker["state"] == "serving":
        if worker["held"]:
            return "held"
        if worker["suspended"]:
            return "suspended"
    return str(worker["state"])


def listeners(status: Mapping[str, Any]) -> Table:
    """Return the table of the listeners."""
    columns = "LISTENER PLUGIN WAITING ACCEPTED SPURIOUS REFUSED"
    rows = [
        [
            _address(each),
            *(each[key] for key in ("plugin", "waiting")),
            accepted(each),
            each["spurious"],
            refused(each),
        ]
        for each in status["listeners"]
    ]
    return Table.of(columns, rows)


def datagrams(status: Mapping[str, Any]) -> Table | None:
    """Return the table of what UDP listeners have counted; None if there are none."""
    columns = "UDP SHARDS RECEIVED REPLIES LOST DROPPED REFUSED"
    names = ("shards", "received", "replies", "lost", "dropped_replies", "refused_replies")
    rows = [
        [each["address"], *(each["datagrams"][name] for name in names)]
        for each in status["listeners"]
        if each.get("datagrams")
    ]
    return Table.of(columns, rows) if rows else None


def accepted(listener: Mapping[str, Any]) -> int:
    """Return how many connections a listener has accepted, or datagrams received."""
    datagrams = listener.get("datagrams")
    return int(datagrams["received"] if datagrams else listener["accepted"])


def _address(listener: Mapping[str, Any]) -> str:
    """Return a listener's address, and where its socket is from, if not from the host itself."""
    match listener.get("source"):
        case "passed":
            return f"{listener['address']} ({listener['configured']})"
        case "stored":
            return f"{listener['address']} (stored)"
    return str(listener["address"])


_REFUSED = ("denied", "proxy", "tls", "late", "per_client", "rate")


def refused(listener: Mapping[str, Any]) -> int:
    """Return how many connections no plugin has heard of, but for probes and those that left."""
    refusals = listener.get("refusals", {})
    told = (refusals.get(cause, 0) for cause in _REFUSED)
    return int(listener["refused"] + sum(told))


def troubles(status: Mapping[str, Any], *, stacks: bool = False) -> list[str]:
    """Return a line for each lost socket file, plugin that is left out, and worker that hung."""
    left_out = [("the supervisor", each) for each in status.get("plugins", ())]
    left_out += [
        (f"worker {each['slot']}", one) for each in status["workers"] for one in each["plugins"]
    ]
    lines = [
        f"{who} leaves out plugin {each['plugin']} ({each['state']}): "
        f"{counted(each['failures'], 'failure')}, last in {each['hook']}; "
        f"for {each['seconds_left']:.0f}s more"
        for who, each in left_out
    ]
    lines += [
        f"nobody can connect to {each['address']}: its socket file is {each['file']}; "
        "a reload makes it anew"
        for each in status["listeners"]
        if each["file"] in ("gone", "replaced")
    ]
    for hang in status["hangs"]:
        lines.append(
            f"worker {hang['slot']} (pid {hang['pid']}) hung {ago(hang['seconds_ago'])} ago, "
            f"{hang['place']}"
        )
        if stacks:
            lines += [f"    {line}" for line in hang["stacks"]]
    return [printable(line) for line in lines]


def overview(status: Mapping[str, Any], *, stacks: bool = False) -> list[str | Table]:
    """Return all that there is to say of a host."""
    parts: list[str | Table] = [head(status), "", workers(status), "", listeners(status)]
    if (udp := datagrams(status)) is not None:
        parts += ["", udp]
    found = troubles(status, stacks=stacks)
    return [*parts, "", "\n".join(found)] if found else parts
