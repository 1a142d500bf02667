"""What scrapes cost those who are served meanwhile: `python -m bench.scrapes`.

A client sends messages of 64 bytes to the plugin `echo`, on one connection after the other, 1,000 a
second. In three of four rounds another process reads `/metrics` 100 times a second: of the host, of
nginx, which has the same text as a file, or of a server that does nothing but send that text with
asyncio. The rounds with nginx show what those who scrape cost by themselves, and those with the
last one what any server in Python costs. Prints the medians over the rounds of the round trips' p50
and p99. Figures of one run can be compared with each other, and with no others.
"""

from __future__ import annotations

import asyncio
import http.client
import multiprocessing
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from bench.peers.terminator import wait_until_served
from host.testing import RunningHost

MESSAGE = b"x" * 64
ROUNDS, SECONDS = 7, 3.0
"""How many rounds there are of each kind, and how long each is."""
CONNECTIONS = 20
MESSAGES_PER_SECOND, SCRAPES_PER_SECOND = 1000, 100
SCRAPERS = 20
NGINX = """\
daemon off;
pid {folder}/nginx.pid;
error_log stderr error;
events {{ }}
http {{
  access_log off;
  server {{
    listen 127.0.0.1:{port};
    root {folder};
  }}
}}
"""


class Round(NamedTuple):
    """The round trips of one round, in microseconds."""

    p50: float
    p99: float


def load(clients: list[socket.socket]) -> Round:
    """Send messages for the time of a round, each at its time."""
    took, began = [], time.perf_counter()
    for number in range(int(SECONDS * MESSAGES_PER_SECOND)):
        wait = began + number / MESSAGES_PER_SECOND - time.perf_counter()
        if wait > 0:
            time.sleep(wait)
        client, sent = clients[number % len(clients)], time.perf_counter()
        client.sendall(MESSAGE)
        left = len(MESSAGE)
        while left:
            left -= len(client.recv(left))
        took.append((time.perf_counter() - sent) * 1e6)
    hundredths = statistics.quantiles(took, n=100)
    return Round(hundredths[49], hundredths[98])


def scrape(port: int, count: int) -> None:
    """Scrape so many times, each at its time, by several in turn: an answer may take a while."""
    began = time.perf_counter()
    with ThreadPoolExecutor(SCRAPERS) as threads:
        shares = (range(first, count, SCRAPERS) for first in range(SCRAPERS))
        for done in [threads.submit(scrape_in_turn, port, began, each) for each in shares]:
            done.result()


def scrape_in_turn(port: int, began: float, numbers: range) -> None:
    """Make those of the scrapes that have these numbers, on one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    for number in numbers:
        time.sleep(max(0.0, began + number / SCRAPES_PER_SECOND - time.perf_counter()))
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        assert answer.status == 200
        answer.read()


def scraped(port: int) -> bytes:
    """Return the metrics of a host, as they are now."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read()
    connection.close()
    return text


@contextmanager
def nginx(text: bytes) -> Iterator[int]:
    """Have nginx serve a text as `/metrics`; yield its port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)  # its workers are another user
        (folder / "metrics").write_bytes(text)
        file = folder / "nginx.conf"
        file.write_text(NGINX.format(folder=folder, port=port))
        process = subprocess.Popen(["nginx", "-e", "stderr", "-c", file])
        try:
            wait_until_served(port, process)
            yield port
        finally:
            process.terminate()
            process.wait()


class Text(asyncio.Protocol):
    """Answers whatever comes with one text."""

    def __init__(self, text: bytes) -> None:
        self._answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(text), text)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, _data: bytes) -> None:
        """Answer."""
        self._transport.write(self._answer)


def serve(listener: socket.socket, text: bytes) -> None:
    """Send a text to whoever asks, until the process is ended."""

    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(lambda: Text(text), sock=listener)
        await server.serve_forever()

    asyncio.run(run())


@contextmanager
def least(text: bytes) -> Iterator[int]:
    """Have a process serve a text with asyncio; yield its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        process = multiprocessing.Process(target=serve, args=(listener, text))
        process.start()
        try:
            yield listener.getsockname()[1]
        finally:
            process.kill()
            process.join()


def measure(port: int, scraped_ports: dict[str, int | None]) -> dict[str, list[Round]]:
    """Return the rounds by what is scraped meanwhile, on which port; None for nothing."""
    found: dict[str, list[Round]] = {name: [] for name in scraped_ports}
    scrapes = int(SECONDS * SCRAPES_PER_SECOND)
    with ExitStack() as stack:
        clients = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            for _ in range(CONNECTIONS)
        ]
        load(clients)  # the interpreters adapt
        for _ in range(ROUNDS):
            for name, each in scraped_ports.items():
                if each is None:
                    found[name].append(load(clients))
                    continue
                process = multiprocessing.Process(target=scrape, args=(each, scrapes))
                process.start()
                found[name].append(load(clients))
                process.join()
                assert process.exitcode == 0
    return found


def main() -> None:
    """Run a host of two workers, measure, and print the medians."""
    flags = ["--plugin", "echo", "--listen", "tcp://127.0.0.1:0", "--workers", "2"]
    flags += ["--ops", "tcp://127.0.0.1:0", "--log-format", "json", "--name", "scraped"]
    with RunningHost(flags) as host:
        host.wait_for("host_ready")
        (serving,), (shown,) = host.events("listening"), host.events("ops_listening")
        port, ops = (int(each["address"].rpartition(":")[2]) for each in (serving, shown))
        text = scraped(ops)
        with nginx(text) as control, least(text) as bare:
            ports = {"nothing": None, "nginx": control, "asyncio": bare, "host": ops}
            found = measure(port, ports)
    medians = {
        name: Round(*(statistics.median(each) for each in zip(*rounds, strict=True)))
        for name, rounds in found.items()
    }
    print(f"{'scraped':15} {'p50 us':>8} {'p99 us':>8}   medians of {ROUNDS} rounds each")
    for name, each in medians.items():
        print(f"{name:15} {each.p50:8.0f} {each.p99:8.0f}")
    for other in ("nothing", "nginx", "asyncio"):
        p50, p99 = (a / b for a, b in zip(medians["host"], medians[other], strict=True))
        print(f"{f'host / {other}':15} {p50:8.2f} {p99:8.2f}")


if __name__ == "__main__":
    main()
