"""What a person sees of a host: tables of its state, once or again and again."""

from __future__ import annotations

import os
import select
import signal
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from host.errors import RemoteError
from host.text import aligned, counted, printable

if TYPE_CHECKING:
    import rich.console
    import rich.table

REFRESH_SECONDS = 1.0

_LEFT = frozenset({"STATE", "LISTENER", "ADDRESS", "PLUGIN", "ID", "PEER"})
"""Columns of text; all others are of numbers."""
_STYLES = {
    "serving": "green",
    "starting": "cyan",
    "retiring": "cyan",
    "draining": "cyan",
    "held": "yellow",
    "suspended": "bold red",
    "killed": "bold red",
}
_FRAME_LINES = 7
"""Lines of a frame besides those that are counted: headings, blank ones, and the last two."""


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
        text = {number for number, heading in enumerate(self.columns) if heading in _LEFT}
        return aligned([self.columns, *self.rows], text)

    def drawn(self) -> rich.table.Table:
        """Return it as a table of the library that knows the terminal's width."""
        # Here and below: only where a person looks, as these imports take 25 ms.
        from rich.table import Table as RichTable  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415

        table = RichTable(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
        for heading in self.columns:
            table.add_column(
                heading,
                justify="left" if heading in _LEFT else "right",
                no_wrap=True,
                overflow="ellipsis",
            )
        for row in self.rows:
            table.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in row))
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


def _brief(seconds: float) -> str:
    return f"{seconds * 1000:.1f}ms" if seconds < 1 else f"{seconds:.1f}s"


def _mebibytes(count: int | None) -> str | None:
    return None if count is None else f"{count / 1_048_576:.0f}M"


@dataclass(slots=True)
class Rates:
    """How many connections a second were accepted, since the last look."""

    at: float | None = None
    counts: dict[str, int] = field(default_factory=dict)
    rates: dict[str, float] = field(default_factory=dict)

    def update(self, status: Mapping[str, Any], now: float) -> None:
        """Take note of a state."""
        counts = {f"worker {each['pid']}": each["accepted"] for each in status["workers"]}
        counts |= {f"listener {each['index']}": each["accepted"] for each in status["listeners"]}
        elapsed = 0.0 if self.at is None else now - self.at
        self.rates = {
            key: max(0, count - self.counts[key]) / elapsed
            for key, count in counts.items()
            if key in self.counts and elapsed > 0
        }
        self.at, self.counts = now, counts

    def of(self, key: str) -> str | None:
        """Return the rate of a worker or listener, as far as it is known."""
        return f"{self.rates[key]:.0f}" if key in self.rates else None


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
    last = status["last_reload"]
    if last is not None:
        reason = f": {last['reason'].partition(chr(10))[0]}" if last["reason"] else ""
        lines.append(
            f"last reload: generation {last['generation']} {last['outcome']}, "
            f"{ago(last['seconds_ago'])} ago{reason}"
        )
    return "\n".join(map(printable, lines))


def workers(status: Mapping[str, Any], rates: Rates | None = None) -> Table:
    """Return the table of the workers."""
    columns = "SLOT PID GEN STATE ACTIVE ACCEPTED OUTSTANDING AGE TURN MEMORY"
    rows = [
        [
            each["slot"],
            each["pid"],
            each["generation"],
            _state(each),
            each["active"],
            each["accepted"],
            each["outstanding"],
            ago(each["age_seconds"]),
            _brief(each["turn_seconds"]),
            _mebibytes(each["memory_bytes"]),
        ]
        for each in status["workers"]
    ]
    if rates is not None:
        columns = columns.replace("ACCEPTED", "ACCEPTED RATE")
        for row in rows:
            row.insert(6, rates.of(f"worker {row[1]}"))
    return Table.of(columns, rows)


def _state(worker: Mapping[str, Any]) -> str:
    if worker["state"] == "serving":
        if worker["held"]:
            return "held"
        if worker["suspended"]:
            return "suspended"
    return str(worker["state"])


def listeners(status: Mapping[str, Any], rates: Rates | None = None) -> Table:
    """Return the table of the listeners."""
    columns = "LISTENER PLUGIN WAITING ACCEPTED SPURIOUS REFUSED"
    rows = [
        [each[key] for key in ("address", "plugin", "waiting", "accepted", "spurious", "refused")]
        for each in status["listeners"]
    ]
    if rates is not None:
        columns = columns.replace("ACCEPTED", "ACCEPTED RATE")
        for row, each in zip(rows, status["listeners"], strict=True):
            row.insert(4, rates.of(f"listener {each['index']}"))
    return Table.of(columns, rows)


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
    found = troubles(status, stacks=stacks)
    return [*parts, "", "\n".join(found)] if found else parts


def frame(
    status: Mapping[str, Any], rates: Rates, height: int, note: str = ""
) -> rich.console.Group:
    """Return what `top` shows: of many workers as many as there is room for.

    Args:
        status: the state of the host.
        rates: how many connections a second it accepts.
        height: lines of the screen.
        note: what is wrong at present, or "".
    """
    from rich.console import Group  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    title = Text(head(status), no_wrap=True, overflow="ellipsis")
    if note:
        title = Text(printable(note), style="bold red").append("\n").append_text(title)
    table, others = workers(status, rates), listeners(status, rates)
    found = troubles(status)
    used = len(title.plain.splitlines()) + len(others.rows) + len(found) + _FRAME_LINES
    room = max(1, height - used)
    left_out = len(table.rows) - room
    if left_out > 0:
        table = Table(table.columns, table.rows[:room])
        found.insert(0, f"{counted(left_out, 'more worker')}: `status` shows them")
    below = Text("\n".join([*found, "q: quit"]), style="dim", no_wrap=True, overflow="ellipsis")
    return Group(title, "", others.drawn(), "", table.drawn(), "", below)


def watch(ask: Callable[[], Mapping[str, Any]]) -> None:
    """Show the state of a host each second, and at any key, until q or Ctrl-C is pressed.

    A host that does not answer is said to be so, and asked again: it may come back.

    Raises:
        RemoteError: it does not answer at first.
    """
    from rich.console import Console  # noqa: PLC0415
    from rich.live import Live  # noqa: PLC0415

    status, rates, note = ask(), Rates(), ""
    rates.update(status, time.monotonic())
    console = Console(highlight=False, markup=False, emoji=False)
    with (
        suppress(KeyboardInterrupt),
        _keys() as pressed,
        _interrupts(signal.SIG_BLOCK),
        Live(console=console, screen=True, auto_refresh=False) as live,
    ):
        while True:
            live.update(frame(status, rates, console.height, note), refresh=True)
            with _interrupts(signal.SIG_UNBLOCK):
                if pressed(REFRESH_SECONDS):
                    return
                try:
                    status, note = ask(), ""
                    rates.update(status, time.monotonic())
                except RemoteError as error:
                    note = str(error).partition("\n")[0]


@contextmanager
def _interrupts(how: int) -> Iterator[None]:
    """Block or unblock SIGINT: an exception amid what rich draws would leave its screen there."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        signal.pthread_sigmask(how, {signal.SIGINT})
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _wait(seconds: float) -> bool:
    time.sleep(seconds)
    return False


@contextmanager
def _keys() -> Iterator[Callable[[float], bool]]:
    """Take keys as they are pressed; yield what waits for one, and tells whether it was q."""
    if not sys.stdin.isatty():
        yield _wait
        return
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)

    def pressed(seconds: float) -> bool:
        if not select.select([terminal], [], [], seconds)[0]:
            return False
        keys = os.read(terminal, 100)
        return not keys or b"q" in keys.lower()

    try:
        tty.setcbreak(terminal)
        yield pressed
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)
