"""The bus over two hosts and Redis: `python -m bench.bus --markdown docs/performance.md`.

Measures, in one run and in turns with what each is compared with: how long a message takes to
another host, how many deliveries there are a second, what CPU time the bridge takes, and how soon
the death of a host is noticed. It takes redis-server.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import select
import signal
import socket
import statistics
import subprocess
import tempfile
import textwrap
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import NamedTuple

import redis

from bench import machine
from bench.page import HOSTS
from bench.proc import own_cpu_seconds, tree
from host.testing import RunningHost

PLUGIN = str(Path(__file__).parent / "plugins" / "bus_probe.py")
ROUNDS, MESSAGES, PAUSE_SECONDS = 7, 400, 0.005
CPU_MESSAGES, BURSTS = 4000, {1: 0.001, 50: 0.01}
"""How many messages, and the seconds between bursts of so many."""
HEARERS, WINDOW, FAN_SECONDS = 1000, 20, 2.0
DEATHS, LEASE_SECONDS = 5, 1.0
WAIT_SECONDS = 60.0


class Row(NamedTuple):
    """One line of the table."""

    what: str
    measured: str
    beside: str
    ratio: str
    goal: str
    reached: bool


class Client:
    """Tells a worker what to do, and reads its answers."""

    def __init__(self, host: RunningHost) -> None:
        self._sock = host.connect(timeout=WAIT_SECONDS)
        self._file = self._sock.makefile("rb")

    def tell(self, command: str) -> None:
        """Give a command."""
        self._sock.sendall(command.encode() + b"\n")

    def answer(self) -> str:
        """Return the next line."""
        return self._file.readline().decode().strip()

    def ask(self, command: str) -> str:
        """Give a command, and return its answer."""
        self.tell(command)
        return self.answer()

    def close(self) -> None:
        """Leave."""
        self._file.close()
        self._sock.close()


@contextmanager
def broker() -> Iterator[int]:
    """Run a redis-server; yield its port."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    with tempfile.TemporaryDirectory() as folder:
        server = subprocess.Popen([*command, "--dir", folder], stdout=subprocess.DEVNULL)
        try:
            end = time.monotonic() + WAIT_SECONDS
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                except OSError:
                    if time.monotonic() > end or server.poll() is not None:
                        raise
            yield port
        finally:
            server.kill()
            server.wait()


@contextmanager
def running(name: str, port: int | None, workers: int = 1) -> Iterator[RunningHost]:
    """Run a host, connected to the broker at a port if there is one."""
    flags = ["--plugin", PLUGIN, "--listen", "tcp://127.0.0.1:0", "--workers", str(workers)]
    flags += ["--log-format", "json", "--name", f"bench-bus-{name}"]
    if port is not None:
        flags += ["--set", f"bus.url=redis://127.0.0.1:{port}", "--set", f"bus.node={name}"]
        flags += ["--set", f"bus.lease_seconds={LEASE_SECONDS}"]
    with RunningHost(flags) as host:
        host.wait_for("host_ready", seconds=WAIT_SECONDS)
        if port is not None:
            host.wait_for("bus_connected", seconds=WAIT_SECONDS)
        yield host


def bridge_of(host: RunningHost) -> int:
    """Return the process that speaks to the broker: the one that is no worker."""
    (found,) = set(tree(host.pid)) - {host.pid, *host.workers.values()}
    return found


def subscribe(port: int, results: Pipe) -> None:
    """Hear what is published with redis-py, and tell the times in seconds after each round."""
    hearing = redis.Redis(port=port).pubsub(ignore_subscribe_messages=True)
    hearing.subscribe("times")
    hearing.get_message(ignore_subscribe_messages=False, timeout=WAIT_SECONDS)
    results.send([])
    took: list[float] = []
    for message in hearing.listen():
        took.append(time.monotonic() - float(message["data"]))
        if len(took) == MESSAGES:
            results.send(took)
            took = []


def publish(port: int, orders: Pipe) -> None:
    """Publish with redis-py, as a worker does for `publish`, whenever that is ordered."""
    client = redis.Redis(port=port)
    while orders.recv():
        for _ in range(MESSAGES):
            client.publish("times", f"{time.monotonic():.9f}".encode().ljust(64))
            time.sleep(PAUSE_SECONDS)


def latency(port: int, speaker: Client, hearer: Client) -> Row:
    """Measure how long a message takes to another host, in turns with bare redis-py."""
    results, there = multiprocessing.Pipe()
    orders, here = multiprocessing.Pipe()
    processes = [
        multiprocessing.Process(target=subscribe, args=(port, there), daemon=True),
        multiprocessing.Process(target=publish, args=(port, here), daemon=True),
    ]
    for process in processes:
        process.start()
    results.recv()
    hearer.ask("hear")
    ours, bare = [], []
    for _ in range(ROUNDS):
        speaker.ask(f"publish {MESSAGES} {PAUSE_SECONDS} 1")
        ours.append(statistics.median(json.loads(hearer.ask("report"))))
        orders.send(True)
        bare.append(statistics.median(results.recv()))
    for process in processes:
        process.terminate()
        process.join()
    ratios = [one / other for one, other in zip(ours, bare, strict=True)]
    return Row(
        "publish → delivered on another host, p50",
        f"{statistics.median(ours) * 1e6:.0f} µs",
        f"redis-py, publisher and subscriber: {statistics.median(bare) * 1e6:.0f} µs",
        spread(ratios),
        "≤ 1.5",
        statistics.median(ratios) <= 1.5,
    )


def spread(ratios: Sequence[float]) -> str:
    """Return the median of ratios, the least and the greatest."""
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def bridge_cpu(hosts: Sequence[RunningHost], speaker: Client, hearer: Client, burst: int) -> Row:
    """Measure the CPU time of the bridges: of the host that publishes, and of that which hears."""
    bridges, pause = [bridge_of(host) for host in hosts], BURSTS[burst]
    took: list[list[float]] = []
    for _ in range(3):
        before = [own_cpu_seconds(pid) for pid in bridges]
        speaker.ask(f"publish {CPU_MESSAGES} {pause} {burst}")
        hearer.ask("report")
        after = [own_cpu_seconds(pid) for pid in bridges]
        took.append([1e6 * (b - a) / CPU_MESSAGES for a, b in zip(before, after, strict=True)])
    publishes, hears = (statistics.median(each) for each in zip(*took, strict=True))
    how = "one by one" if burst == 1 else f"{burst} at a time"
    return Row(
        f"CPU time of the bridge for each message, {burst / pause:,.0f} a second at most, {how}",
        f"{publishes:.0f} µs to publish, {hears:.0f} µs to hear",
        "",
        "",
        "≤ 60 µs",
        max(publishes, hears) <= 60,
    )


class Fan:
    """Hearers on some hosts, and a speaker on the first.

    Args:
        hosts: the hosts; each has its part of the hearers.
    """

    def __init__(self, hosts: Sequence[RunningHost]) -> None:
        self._socks = [hosts[number % len(hosts)].connect() for number in range(HEARERS)]
        self._poll = select.epoll()
        self._by_number = {sock.fileno(): sock for sock in self._socks}
        for sock in self._socks:
            sock.sendall(b"join\n")
            sock.setblocking(False)
            self._poll.register(sock, select.EPOLLIN)
        self._speaker = hosts[0].connect()

    def run(self, seconds: float) -> float:
        """Return how many deliveries there are a second, with some messages under way."""
        message, heard, said = b"@".ljust(63, b"x") + b"\n", 0, WINDOW
        began = now = time.monotonic()
        self._speaker.sendall(message * WINDOW)
        while heard < said * HEARERS * len(message) and now < began + seconds + WAIT_SECONDS:
            for number, _ in self._poll.poll(1.0):
                heard += len(self._by_number[number].recv(65_536))
            now = time.monotonic()
            due = heard // (HEARERS * len(message)) + WINDOW
            if now < began + seconds and due > said:
                self._speaker.sendall(message * (due - said))
                said = due
        return heard / len(message) / (now - began)

    def close(self) -> None:
        """Let all leave."""
        self._poll.close()
        for sock in (*self._socks, self._speaker):
            sock.close()


def deliveries(hosts: Sequence[RunningHost]) -> Row:
    """Measure deliveries to hearers on two hosts, in turns with two workers of one host."""
    with ExitStack() as stack:
        alone = stack.enter_context(running("alone", None, workers=2))
        fans = [Fan(hosts), Fan([alone])]
        for fan in fans:
            stack.callback(fan.close)
            fan.run(0.5)
        rounds = [[fan.run(FAN_SECONDS) for fan in fans] for _ in range(ROUNDS)]
    ours, embedded = (statistics.median(each) for each in zip(*rounds, strict=True))
    ratios = [one / other for one, other in rounds]
    return Row(
        f"deliveries a second, 1 → {HEARERS:,} over 2 hosts, {WINDOW} messages under way",
        f"{ours:,.0f}",
        f"embedded, 2 workers of one host: {embedded:,.0f}",
        spread(ratios),
        "≥ 0.8",
        statistics.median(ratios) >= 0.8,
    )


def deaths(port: int, hearer: Client) -> Row:
    """Measure how long it takes until others are told that a host has been killed."""
    took = []
    hearer.tell("left")
    for number in range(DEATHS):
        with running(f"dies-{number}", port) as host:
            began = time.monotonic()
            host.signal(signal.SIGKILL)
            host.wait()
            took.append(float(hearer.answer()) - began)
    limit = LEASE_SECONDS * 4 / 3
    return Row(
        f"the death of a host is noticed, lease {LEASE_SECONDS:g} s",
        f"{statistics.median(took):.2f} s (at most {max(took):.2f})",
        "",
        "",
        f"≤ {limit:.2f} s, a lease and a beat",
        max(took) <= limit,
    )


def measure() -> list[Row]:
    """Run everything."""
    with ExitStack() as stack:
        port = stack.enter_context(broker())
        hosts = [stack.enter_context(running(name, port)) for name in ("one", "two")]
        speaker, hearer = clients = [Client(host) for host in hosts]
        for client in clients:
            stack.callback(client.close)
        rows = [latency(port, speaker, hearer), deliveries(hosts)]
        rows += [bridge_cpu(hosts, speaker, hearer, burst) for burst in BURSTS]
        rows.append(deaths(port, hearer))
    return rows


def table(rows: Sequence[Row], about: Mapping[str, str]) -> str:
    """Return the table, with what is known about the machine."""
    text = ", ".join(f"{key}: {value}" for key, value in about.items())
    lines = [textwrap.fill(f"{text}.", 100), ""]
    lines += ["| what | measured | beside | ratio | goal |  |", "|---|---|---|---|---|---|"]
    for row in rows:
        cells = [*row[:-1], "reached" if row.reached else "missed"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, print the table, and write it into a page if that is asked for."""
    parser = argparse.ArgumentParser(prog="python -m bench.bus", description=__doc__)
    parser.add_argument("--markdown", type=Path, help="a page that has the marks")
    arguments = parser.parse_args()
    about = machine.describe()
    made = table(measure(), about)
    print(made)
    if arguments.markdown:
        text = arguments.markdown.read_text(encoding="utf-8")
        begin, end = HOSTS
        before, _, rest = text.partition(begin)
        _, _, after = rest.partition(end)
        arguments.markdown.write_text(f"{before}{begin}\n{made}\n{end}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
