"""What things cost: read from the page on performance, and from what `bench.capacity` measured."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MEASURED = Path(__file__).with_name("measured.json")
PERFORMANCE = Path(__file__).parents[2] / "docs" / "performance.md"
CPU = "CPU µs each"


class CostError(Exception):
    """A page has no such table, row or column; the text says which."""


@dataclass(frozen=True, slots=True)
class Broker:
    """What a broker takes for a message, in µs of its CPU time.

    Attributes:
        message_us: whatever becomes of it.
        delivery_us: on top, for each subscriber that it is delivered to.
    """

    message_us: float
    delivery_us: float

    def cpu_us(self, subscribers: float) -> float:
        """Return the CPU time in µs of a message with so many subscribers."""
        return self.message_us + self.delivery_us * subscribers


@dataclass(frozen=True, slots=True)
class Bridge:
    """What the process between a host's bus and a broker takes for a message, in µs of CPU time.

    Attributes:
        publish_us: from the bus to the broker.
        hear_us: from the broker to the bus.
    """

    publish_us: float
    hear_us: float

    def cpu_us(self, machines: float) -> float:
        """Return the CPU time in µs of a message, of all bridges, that so many machines hear."""
        return self.publish_us + self.hear_us * machines


@dataclass(frozen=True, slots=True)
class Costs:
    """What a host takes, in µs of CPU time and KiB of memory.

    Attributes:
        message_us: of a message that is answered, among 10,000 connections that all send.
        tls_us: on top, if it is over TLS.
        delivery_us: of a message that is written to one of many connections.
        connection_us: of a connection that comes, sends one message and goes.
        tls_connection_us: of one whose TLS handshake is a full one.
        idle_kib: of a connection in its worker.
        tls_kib: the same, if it is over TLS.
        kernel_kib: of a connection in the kernel.
        hub_us: of a message of the bus in the supervisor, by the number of workers that hear it.
        brokers: of a message in redis-server, by what publishes it and how many at a time.
        bridge: of a message in the bridge, of 50 that pass it at a time.
    """

    message_us: float
    tls_us: float
    delivery_us: float
    connection_us: float
    tls_connection_us: float
    idle_kib: float
    tls_kib: float
    kernel_kib: float
    hub_us: dict[int, float]
    brokers: dict[tuple[str, int], Broker]
    bridge: Bridge

    def hub_of(self, workers: float) -> float:
        """Return `hub_us` for so many workers, on straight lines between those measured."""
        counts = sorted(self.hub_us)
        low = max([count for count in counts if count <= workers], default=counts[0])
        high = min([count for count in counts if count >= workers], default=counts[-1])
        part = (workers - low) / (high - low) if high > low else 0.0
        return self.hub_us[low] + part * (self.hub_us[high] - self.hub_us[low])


def figure(page: str, title: str, row: str, column: str) -> float:
    """Return one figure of a table of a page.

    Args:
        page: the text of the page.
        title: the line before the table, with its section's heading if it is there twice: the
            heading, " / ", the line.
        row: what the row's first cell says.
        column: what the column's heading says.

    Raises:
        CostError: there is none.
    """
    section, _, line = title.rpartition(" / ")
    text = page.partition(f"\n## {section}\n")[2] if section else page
    body = text.partition(f"\n{line}:\n\n")[2].partition("\n\n")[0]
    rows = [[cell.strip() for cell in each.strip("|").split("|")] for each in body.splitlines()]
    for cells in rows[2:]:
        if cells[0] == row and column in rows[0]:
            return float(cells[rows[0].index(column)].replace(",", ""))
    raise CostError(f"{title}: no row {row} with a column {column}")


def read() -> Costs:
    """Return what has been measured.

    Raises:
        CostError: the page on performance does not have it.
        OSError: a file cannot be read.
    """
    page = PERFORMANCE.read_text(encoding="utf-8")
    measured = json.loads(MEASURED.read_text(encoding="utf-8"))
    return compose(page, measured)


def compose(page: str, measured: dict[str, Any]) -> Costs:
    """Return the costs that a page on performance and other measurements have.

    Args:
        page: the text of the page.
        measured: what `bench.capacity` has written.

    Raises:
        CostError: the page does not have it.
    """
    scale = "CPU per message at scale / by connections"
    tls = figure(page, "(t) Echo over TLS / 64 B × 8", "prefork", CPU)
    idle = figure(page, "(e) 10,000 idle connections / idle connections", "prefork", "KiB each")
    return Costs(
        message_us=figure(page, scale, "10,000", CPU),
        tls_us=tls - figure(page, scale, "10", CPU),
        delivery_us=figure(page, "1 worker, 1 under way", "prefork", CPU),
        connection_us=figure(page, "50 at a time, 2 processes", "prefork", CPU),
        tls_connection_us=figure(page, "(x) Full TLS handshakes / 50 at a time", "prefork", CPU),
        idle_kib=idle,
        tls_kib=figure(
            page, "(w) Idle TLS connections / idle TLS connections", "prefork", "KiB each"
        ),
        kernel_kib=measured["kernel_kib"],
        hub_us={int(workers): took for workers, took in measured["hub_us"].items()},
        brokers=_brokers(measured["broker_us"]),
        bridge=_bridge(page),
    )


def _bridge(page: str) -> Bridge:
    """Return what the page has of the bus over two hosts."""
    row = re.search(r"^\| CPU time of the bridge.* 50 at a time \| ([^|]+)", page, re.MULTILINE)
    found = re.fullmatch(r"(\d+) µs to publish, (\d+) µs to hear ", row[1]) if row else None
    if found is None:
        raise CostError("The bus over two hosts: no CPU time of the bridge, 50 at a time")
    return Bridge(float(found[1]), float(found[2]))


def _brokers(measured: dict[str, float]) -> dict[tuple[str, int], Broker]:
    """Return the straight line through the fewest and the most subscribers of each kind."""
    kinds: dict[tuple[str, int], dict[int, float]] = {}
    for case, took in measured.items():
        name, subscribers, depth = case.split(", ")
        kinds.setdefault((name, int(depth)), {})[int(subscribers)] = took
    found = {}
    for kind, times in kinds.items():
        few, many = min(times), max(times)
        slope = (times[many] - times[few]) / (many - few)
        found[kind] = Broker(times[few] - slope * few, slope)
    return found
