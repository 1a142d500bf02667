"""What a protocol of asyncio costs on the host: `python -m bench.asyncio_cost`.

Prints the CPU time of each server for a message of 64 bytes, with one connection and with 50, and
two ratios: to the host's own `echo`, and to the same protocol on uvloop. Figures of one run can be
compared with each other, and with no others.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from host.testing import RunningHost

MESSAGE = b"x" * 64
ROUNDS = 9
MESSAGES = {1: 20_000, 50: 50_000}
"""How many messages each round has, by the number of connections."""
PROTOCOL = """
import asyncio

class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)
"""
ON_THE_HOST = f"{PROTOCOL}\nfrom host.asyncio import serve\n\napp = serve(Echo)\n"
ON_UVLOOP = f"""{PROTOCOL}
import uvloop

async def main():
    server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

uvloop.run(main())
"""


class Server(NamedTuple):
    """A server: its port, and the process whose CPU time counts."""

    port: int
    pid: int


@contextmanager
def on_the_host(plugin: str, name: str) -> Iterator[Server]:
    """Run a host with one worker."""
    flags = ["--plugin", plugin, "--listen", "tcp://127.0.0.1:0", "--workers", "1"]
    with RunningHost([*flags, "--log-format", "json", "--name", f"cost-{name}"]) as host:
        host.wait_for("host_ready")
        yield Server(host.port, host.workers[0])


@contextmanager
def on_uvloop() -> Iterator[Server]:
    """Run the protocol on uvloop."""
    command = [sys.executable, "-c", ON_UVLOOP]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield Server(int(process.stdout.readline()), process.pid)
        finally:
            process.kill()


def cpu_seconds(pid: int) -> float:
    """Return how much CPU time a process has used (proc(5), schedstat)."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def cost(server: Server, connections: int) -> float:
    """Return the microseconds of CPU time that a message takes."""
    count = MESSAGES[connections] // connections
    with ExitStack() as stack:
        clients = [
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            for _ in range(connections)
        ]
        _exchange(clients, count // 10)
        before = cpu_seconds(server.pid)
        _exchange(clients, count)
        return (cpu_seconds(server.pid) - before) / (count * connections) * 1e6


def _exchange(clients: list[socket.socket], times: int) -> None:
    for _ in range(times):
        for client in clients:
            client.sendall(MESSAGE)
        for client in clients:
            left = len(MESSAGE)
            while left:
                left -= len(client.recv(left))


def main() -> None:
    """Measure in turns; print the least of each, which others on the machine disturb least."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "cost.py").write_text(ON_THE_HOST, encoding="utf-8")
        servers = {
            "asyncio": stack.enter_context(on_the_host(f"{folder}/cost.py:app", "asyncio")),
            "echo": stack.enter_context(on_the_host("echo", "echo")),
            "uvloop": stack.enter_context(on_uvloop()),
        }
        for connections in MESSAGES:
            found: dict[str, list[float]] = {name: [] for name in servers}
            for _ in range(ROUNDS):
                for name, server in servers.items():
                    found[name].append(cost(server, connections))
            least = {name: min(each) for name, each in found.items()}
            each = ", ".join(f"{name} {value:.2f} µs" for name, value in least.items())
            print(
                f"{connections} connections: {each}; "
                f"asyncio / echo {least['asyncio'] / least['echo']:.2f}, "
                f"asyncio / uvloop {least['asyncio'] / least['uvloop']:.2f}"
            )


if __name__ == "__main__":
    main()
