"""Compares the CPU time that servers of ASGI apps take for a request, under the same load."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
CONNECTIONS = 50
WORKERS = "2"
READY_SECONDS = 20.0
_TICKS = os.sysconf("SC_CLK_TCK")

SERVERS: Mapping[str, str] = {
    "prefork": "host asgi main:app --listen tcp://127.0.0.1:{port} --name measured-{port}",
    "uvicorn": "uvicorn main:app --port {port} --loop uvloop --http httptools --no-access-log",
    "gunicorn": "gunicorn main:app --bind 127.0.0.1:{port} --worker-class asgi",
    "hypercorn": "hypercorn main:app --bind 127.0.0.1:{port} --worker-class uvloop",
}
"""How each server is started with the same app and number of workers."""


def free_port() -> int:
    """Return a port that nobody uses just now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextmanager
def running(name: str, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Start a server, and wait until it answers; it ends in any case."""
    quiet = subprocess.DEVNULL
    words = SERVERS[name].format(port=port).split()
    command = [sys.executable, "-m", *words, "--workers", WORKERS]
    with subprocess.Popen(
        command, cwd=FOLDER, stdout=quiet, stderr=quiet, start_new_session=True
    ) as server:
        try:
            wait_until_listening(name, server, port)
            yield server
        finally:
            server.terminate()
            try:
                server.wait(READY_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(server.pid, signal.SIGKILL)


def wait_until_listening(name: str, server: subprocess.Popen[bytes], port: int) -> None:
    """Return when the server accepts connections."""
    until = time.monotonic() + READY_SECONDS
    while time.monotonic() < until and server.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1.0).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise SystemExit(f"{name} does not start: {' '.join(map(str, server.args))}")


def cpu_seconds(session: int) -> float:
    """Return the CPU time of all processes of a session (proc(5): fields 6, 14 and 15 of stat)."""
    total = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session:
            total += int(fields[11]) + int(fields[12])
    return total / _TICKS


def measure(name: str, seconds: int) -> tuple[float, float]:
    """Return the CPU time for a request, in µs, and how many requests a second there were."""
    port = free_port()
    address = f"http://127.0.0.1:{port}/"
    load = ["wrk", "-t", "2", "-c", str(CONNECTIONS)]
    with running(name, port) as server:
        subprocess.run([*load, "-d", "1s", address], check=True, stdout=subprocess.DEVNULL)
        before = cpu_seconds(server.pid)
        done = subprocess.run(
            [*load, "-d", f"{seconds}s", address], check=True, capture_output=True, text=True
        )
        used = cpu_seconds(server.pid) - before
    if "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        raise SystemExit(f"{name} has answered wrongly:\n{done.stdout}")
    found = re.search(r"(\d+) requests in ([\d.]+)s", done.stdout)
    if found is None:
        raise SystemExit(f"wrk does not tell how many requests there were:\n{done.stdout}")
    requests = int(found[1])
    return used / requests * 1e6, requests / float(found[2])


def main() -> None:
    """Measure each server in turn, several times, and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=5, help="of load, for each server")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is not installed (Debian: wrk)")
    rounds = [
        {name: measure(name, arguments.seconds) for name in SERVERS}
        for _ in range(arguments.rounds)
    ]
    print(f"{'':12}{'CPU/request':>14}{'to uvicorn':>12}{'requests/s':>12}")
    for name in SERVERS:
        cpu = statistics.median(each[name][0] for each in rounds)
        # The ratio is that of one round: the machine may be busier in another.
        ratio = statistics.median(each[name][0] / each["uvicorn"][0] for each in rounds)
        rate = statistics.median(each[name][1] for each in rounds)
        print(f"{name:12}{cpu:>11.0f} µs{ratio:>12.2f}{rate:>12.0f}")


if __name__ == "__main__":
    main()
