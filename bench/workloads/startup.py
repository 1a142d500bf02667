"""(g) Start-up: from exec to the first answered client."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from bench.contenders import OURS
from bench.contest import Bench
from bench.results import Comparison, Goal
from bench.servers import ROOT, environment
from bench.tools import ending_with_us

LETTER = "g"
TITLE = "Start-up"
NAME = "from exec to the first answer"
IMPORTS = "import pluggy, pydantic"
PATIENCE_SECONDS = 30.0
GOALS = (Goal(LETTER, NAME, "first_answer_ms", "≤", 1.6, IMPORTS, "time"),)


def _answered(path: Path) -> None:
    """Return when the server on a Unix socket has answered."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PATIENCE_SECONDS)
            with suppress(FileNotFoundError, ConnectionRefusedError):
                client.connect(str(path))
                client.sendall(b"x")
                if client.recv(1) == b"x":
                    return
        time.sleep(0.001)
    raise TimeoutError("the host does not answer")


def host_seconds(folder: Path) -> float:
    """Start a host with its defaults; tell how long it took until a client was answered."""
    path = folder / "socket"
    command = [sys.executable, "-m", "host", "--plugin", "echo", "--listen", f"unix:{path}"]
    command += ["--set", f"name=bench-{os.getpid()}-start"]
    began = time.perf_counter()
    host = subprocess.Popen(
        ending_with_us(command),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
        env=environment(),
    )
    try:
        _answered(path)
        return time.perf_counter() - began
    finally:
        host.terminate()
        try:
            host.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            host.kill()
            host.wait()


def import_seconds() -> float:
    """Tell how long an interpreter takes that only imports what the host is made of."""
    began = time.perf_counter()
    subprocess.run(
        ending_with_us([sys.executable, "-c", IMPORTS]),
        cwd=ROOT,
        env=environment(),
        check=True,
        timeout=PATIENCE_SECONDS,
    )
    return time.perf_counter() - began


def run(bench: Bench) -> list[Comparison]:
    """Measure."""
    bench.say(f"({LETTER}) {NAME}")
    result = Comparison(LETTER, NAME, "start", OURS)
    pairs = result.pairs[IMPORTS] = []
    with tempfile.TemporaryDirectory() as name:
        host_seconds(Path(name))  # bytecode and files are cached from here on
        import_seconds()
        for number in range(bench.pairs if bench.quick else 2 * bench.pairs):
            if number % 2:
                theirs, mine = import_seconds(), host_seconds(Path(name))
            else:
                mine, theirs = host_seconds(Path(name)), import_seconds()
            pairs.append(({"first_answer_ms": mine * 1e3}, {"first_answer_ms": theirs * 1e3}))
    return [result]
