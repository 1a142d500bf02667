"""CPU time of a delivered message, connections per second and memory: the plugin and mosquitto.

    python -m judges.cost [--rounds 3]

Both are asked in turn, in one run. CPU is that of all processes of a server.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

from host.testing import RunningHost
from judges.load import Load, connect, publish, subscribe
from judges.servers import free_port, wait_for

_CONNACK, _PUBACK, _SUBACK = 2, 4, 9
_AT_ONCE = 20
_PAYLOAD = bytes(100)
_IDLE = 1000


class Shape(NamedTuple):
    """Who publishes to whom.

    Attributes:
        publishers, subscribers: how many.
        messages: how many each publisher sends; each subscriber hears them all.
    """

    publishers: int
    subscribers: int
    messages: int

    def __str__(self) -> str:
        return f"{self.publishers:,} → {self.subscribers:,}"


SHAPES = (Shape(1, 1000, 100), Shape(100, 100, 40), Shape(1000, 1, 50))


class Server(NamedTuple):
    """A server that runs.

    Attributes:
        port: where.
        pids: its processes.
    """

    port: int
    pids: Callable[[], list[int]]

    def cpu_seconds(self) -> float:
        """Return the CPU time of all its processes so far (proc(5), schedstat)."""
        paths = [Path(f"/proc/{pid}/schedstat") for pid in self.pids()]
        return sum(int(path.read_text().split()[0]) for path in paths) / 1e9

    def memory_bytes(self) -> int:
        """Return the memory that is its processes' own."""
        total = 0
        for pid in self.pids():
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith(("Private_Clean", "Private_Dirty")):
                    total += int(line.split()[1]) * 1024
        return total


@contextmanager
def mosquitto() -> Iterator[Server]:
    """Run mosquitto."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        settings = Path(folder) / "mosquitto.conf"
        settings.write_text(
            f"listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\nuser root\n"
        )
        with subprocess.Popen(["mosquitto", "-c", settings], stderr=subprocess.DEVNULL) as process:
            try:
                wait_for(port)
                yield Server(port, lambda: [process.pid])
            finally:
                process.terminate()


@contextmanager
def host(workers: int) -> Iterator[Server]:
    """Run a host with the plugin."""
    flags = ["--log-format", "json", "--plugin", "mqtt", "--workers", str(workers)]
    flags += ["--listen", "tcp://127.0.0.1:0=mqtt", "--set", "options.mqtt.sys_seconds=0"]
    flags += ["--set", "options.mqtt.max_queued=100000"]  # as many as mosquitto is given
    with RunningHost(flags) as running:
        running.wait_for("host_ready")
        pids = [running.pid, *running.workers.values()]
        yield Server(running.port, lambda: pids)
        running.stop()


def microseconds_per_delivery(server: Server, shape: Shape, qos: int) -> float:
    """Have clients publish and hear; return the CPU time of a delivered message."""
    with ExitStack() as stack:
        load = Load()
        stack.callback(load.close)
        hearers = [load.add(server.port) for _ in range(shape.subscribers)]
        speakers = [load.add(server.port) for _ in range(shape.publishers)]
        for number, client in enumerate(load.clients):
            client.send(connect(f"load-{number}"))
        load.run_until_each(load.clients, _CONNACK)
        for client in hearers:
            client.send(subscribe("load/#", qos))
        load.run_until_each(hearers, _SUBACK)
        before = server.cpu_seconds()
        sent = 0
        while sent < shape.messages:
            count = min(_AT_ONCE, shape.messages - sent)
            for number, client in enumerate(speakers):
                client.send(
                    b"".join(
                        publish(f"load/{number}", _PAYLOAD, qos, place + 1)
                        for place in range(count)
                    )
                )
            sent += count
            total = sent * shape.publishers * shape.subscribers
            load.run_until(lambda total=total: load.messages >= total)
        if qos:
            load.run_until_each(speakers, _PUBACK, shape.messages)
        return (server.cpu_seconds() - before) / load.messages * 1e6


def connections_and_memory(server: Server) -> tuple[float, float]:
    """Return CPU microseconds of a connection with its CONNECT, and KiB of one that is idle."""
    load = Load()
    before, memory = server.cpu_seconds(), server.memory_bytes()
    for number in range(_IDLE):
        load.add(server.port).send(connect(f"idle-{number}"))
    load.run_until_each(load.clients, _CONNACK)
    cpu = (server.cpu_seconds() - before) / _IDLE * 1e6
    kib = (server.memory_bytes() - memory) / _IDLE / 1024
    load.close()
    return cpu, kib


def main() -> None:
    """Measure; print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    with ExitStack() as stack:
        servers = {
            "mosquitto": stack.enter_context(mosquitto()),
            "1 worker": stack.enter_context(host(1)),
            "2 workers": stack.enter_context(host(2)),
        }
        print(f"| µs of CPU | {' | '.join(servers)} | times mosquitto | 2 workers to 1 |")
        print("|---|---|---|---|---|---|")
        for shape in SHAPES:
            for qos in (0, 1):
                found: dict[str, list[float]] = {name: [] for name in servers}
                for _ in range(rounds):
                    for name, server in servers.items():
                        found[name].append(microseconds_per_delivery(server, shape, qos))
                _print_row(f"a delivery, {shape}, QoS {qos}", found)
    costs: dict[str, list[float]] = {}
    sizes: dict[str, list[float]] = {}
    # Servers that have had no clients: what those leave behind would be used again.
    for name, start in (("mosquitto", mosquitto), ("1", partial(host, 1)), ("2", partial(host, 2))):
        with start() as server:
            cpu, kib = connections_and_memory(server)
            costs[name], sizes[name] = [cpu], [kib]
    _print_row("a connection with CONNECT and CONNACK", costs)
    _print_row("KiB of a client that is idle (first 1,000)", sizes)


def _print_row(name: str, found: dict[str, list[float]]) -> None:
    middle = {key: statistics.median(values) for key, values in found.items()}
    theirs, ours, two = middle.values()
    cells = [f"{value:.1f}" for value in middle.values()]
    print(f"| {name} | {' | '.join(cells)} | {ours / theirs:.1f} | {two / ours:.2f} |", flush=True)


if __name__ == "__main__":
    main()
