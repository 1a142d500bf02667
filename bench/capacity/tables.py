"""The tables of the page on capacity, and the page with them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Container, Mapping, Sequence

from bench.capacity.costs import MEASURED, Broker, Costs, read
from bench.capacity.model import Carried, Machine, Use, carried, cpu_us, spread

MACHINES = (1, 10, 100)
MACHINE = Machine()
USES = (
    Use(
        "idle sessions",
        "a message of 64 B each minute, held for an hour, TLS",
        60,
        64,
        3600,
        tls=True,
    ),
    Use("requests", "1 KiB each second, held for 10 minutes", 1, 1024, 600),
    Use("one request each", "connect, 1 KiB, close", 1, 1024, 1),
    Use("chat", "64 B each 30 s to a room of 10, held for an hour", 30, 64, 3600, room=10),
    Use("large rooms", "64 B each 30 s to a room of 100, held for an hour", 30, 64, 3600, room=100),
)
PUBLISHED = ("script", 1)
"""What the broker is asked for in the tables: its dearest form, a message at a time."""

_TABLE = re.compile(r"(<!-- bench\.capacity: (\w+) -->\n\n)(?:\|.*\n)*\n*")


def fill(page: str) -> str:
    """Return a page with the tables that it names as they are now."""
    costs = read()
    return _TABLE.sub(lambda found: found[1] + "\n".join([*TABLES[found[2]](costs), "\n"]), page)


def _table(
    headings: Sequence[str], rows: Sequence[Sequence[str]], words: Container[int] = (0,)
) -> list[str]:
    """Return a table as lines of Markdown; all columns but those of words are of numbers."""
    rule = "|".join("---" if at in words else "---:" for at in range(len(headings)))
    lines = [f"| {' | '.join(headings)} |", f"|{rule}|"]
    return lines + [f"| {' | '.join(row)} |" for row in rows]


def _costs(costs: Costs) -> list[str]:
    rows = [
        (
            what.format(cores=MACHINE.cores),
            f"{cost(costs):.2f} {unit}",
            f"[Performance](performance.md#{anchor})" if anchor else "`python -m bench.capacity`",
        )
        for what, unit, cost, anchor in _COSTS
    ]
    return _table(("what", "cost", "measured by"), rows, words=(0, 2))


_COSTS: tuple[tuple[str, str, Callable[[Costs], float], str], ...] = (
    ("a message and its answer", "µs", lambda c: c.message_us, "cpu-per-message-at-scale"),
    ("the same over TLS, on top", "µs", lambda c: c.tls_us, "t-echo-over-tls"),
    (
        "a message delivered to one of many",
        "µs",
        lambda c: c.delivery_us,
        "f-chat-1-sender-to-1000-receivers",
    ),
    (
        "a connection: connect, a message, close",
        "µs",
        lambda c: c.connection_us,
        "d-connections-connect-64-bytes-close",
    ),
    (
        "a connection with a full TLS handshake",
        "µs",
        lambda c: c.tls_connection_us,
        "x-full-tls-handshakes",
    ),
    ("a message of the bus, in the supervisor, for one worker", "µs", lambda c: c.hub_of(1), ""),
    ("the same for {cores} workers", "µs", lambda c: c.hub_of(MACHINE.cores), ""),
    (
        "a message to a broker, in the bridge",
        "µs",
        lambda c: c.bridge.publish_us,
        "the-bus-over-two-hosts",
    ),
    ("a message from a broker", "µs", lambda c: c.bridge.hear_us, "the-bus-over-two-hosts"),
    (
        "an idle connection, in its worker",
        "KiB",
        lambda c: c.idle_kib,
        "e-10000-idle-connections",
    ),
    ("the same over TLS", "KiB", lambda c: c.tls_kib, "w-idle-tls-connections"),
    ("its socket in the kernel", "KiB", lambda c: c.kernel_kib, ""),
)
"""What the first table shows: words, unit, cost, and where on the page it stands, if it does."""


def _uses(costs: Costs) -> list[str]:
    rows = [(use.name, use.summary, f"{cpu_us(use, costs):.2f}") for use in USES]
    headings = ("use", "what each client does", "µs of CPU a second")
    return _table(headings, rows, words=(0, 1))


_EACH = (
    "use",
    "machines",
    "connections",
    "messages/s",
    "full",
    "cores",
    "supervisor",
    "GiB",
    "Mbit/s",
)


def _row(use: Use, one: Carried) -> tuple[str, ...]:
    return (
        use.name,
        str(one.machines),
        f"{one.connections:,}",
        f"{one.messages:,.0f}",
        one.limit,
        f"{one.cores:.1f}",
        f"{one.supervisor_cores:.2f}",
        f"{one.gib:.1f}",
        f"{one.mbit:,.0f}",
    )


def _carried(
    costs: Costs, *, in_rooms: bool, machines: Sequence[int] = MACHINES, brokers: int | None = None
) -> list[tuple[Use, Carried]]:
    """Return what machines carry of each use that is in rooms, or of each that is not."""
    broker = costs.brokers[PUBLISHED]
    return [
        (use, carried(use, MACHINE, costs, count, broker, brokers))
        for use in USES
        if bool(use.room) == in_rooms
        for count in machines
    ]


def _alone(costs: Costs) -> list[str]:
    return _table(_EACH, [_row(*each) for each in _carried(costs, in_rooms=False)])


def _bus(costs: Costs) -> list[str]:
    rows = [
        (
            *_row(use, one),
            f"{one.bridge_cores:.2f}",
            f"{one.bridged:,.0f}",
            f"{one.broker_cores:.1f}",
            str(one.brokers),
        )
        for use, one in _carried(costs, in_rooms=True)
    ]
    return _table((*_EACH, "bridge", "bridged/s", "broker cores", "brokers"), rows)


def _one_broker(costs: Costs) -> list[str]:
    found = _carried(costs, in_rooms=True, machines=MACHINES[1:], brokers=1)
    return _table(_EACH, [_row(*each) for each in found])


def _broker(costs: Costs) -> list[str]:
    subscribers = (1, *MACHINES[1:])
    rows = []
    for (name, depth), broker in costs.brokers.items():
        each = [_messages(broker, count) for count in subscribers]
        line = f"{broker.message_us:.2f} + {broker.delivery_us:.2f} n"
        rows.append((name, str(depth), line, *each))
    headings = ("published by", "at a time", "µs for n subscribers")
    return _table((*headings, *(f"messages/s, n = {count}" for count in subscribers)), rows)


def _messages(broker: Broker, subscribers: int) -> str:
    return f"{MACHINE.share * 1e6 / broker.cpu_us(subscribers):,.0f}"


def _spread(costs: Costs) -> list[str]:
    rooms = (2, 10, 100, 1000)
    rows = [
        (f"{count}", *(f"{spread(room, count):.1f}" for room in rooms)) for count in MACHINES[1:]
    ]
    return _table(("machines", *(f"room of {room:,}" for room in rooms)), rows)


def _machine(costs: Costs) -> list[str]:
    measured = json.loads(MEASURED.read_text(encoding="utf-8"))
    named = measured["machine"]
    rows = [
        ("each machine", f"{MACHINE.cores} cores, {MACHINE.gib:g} GiB, {MACHINE.gbit:g} Gbit/s"),
        ("of which is used at most", f"{MACHINE.share:.0%}"),
        ("workers", f"{MACHINE.cores}, of {MACHINE.worker_mib:g} MiB before they have connections"),
        (
            "`python -m bench.capacity` ran",
            f"{measured['date']}, {named['CPU']}, {named['cores']} cores, redis-server"
            f" {measured['redis-server']}, the median of {measured['rounds']} rounds",
        ),
    ]
    return _table(("what", ""), rows, words=(0, 1))


TABLES: Mapping[str, Callable[[Costs], list[str]]] = {
    "machine": _machine,
    "costs": _costs,
    "uses": _uses,
    "alone": _alone,
    "bus": _bus,
    "one_broker": _one_broker,
    "broker": _broker,
    "spread": _spread,
}
"""Each table by the name that the page calls it by."""
