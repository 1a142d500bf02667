"""What other clients of a worker notice while tasks are done: with each pool, and with none."""

from __future__ import annotations

import os
import select
import signal
import socket
import statistics
import time
from pathlib import Path

from bench.plugins import pool_neighbours
from host.testing import RunningHost

ROOT = Path(__file__).parents[1]
PLUGIN = f"{pool_neighbours.__file__}:Neighbours"
IDLE = "prefork, only_idle_cpu"
NAMES = (IDLE, *pool_neighbours.BEGIN)
BLOCKS, QUESTIONS, PAUSE_SECONDS, AHEAD = 4, 300, 0.002, 4
"""Blocks of each kind, questions in one, the pause after each, and tasks at a time."""
P95, P99 = 94, 98
"""Which of the 99 values these are that cut what was measured into hundredths."""


def measure(name: str) -> tuple[float, float]:
    """Return how many times its value p95 and p99 of another client are while tasks are done."""
    flags = ["--log-format", "json", "--workers", "1", "--listen", "tcp://127.0.0.1:0"]
    flags += ["--plugin", PLUGIN, "--set", f"pools.default.size={pool_neighbours.PROCESSES}"]
    flags += ["--set", f"pools.default.only_idle_cpu={str(name == IDLE).lower()}"]
    pool = "prefork" if name == IDLE else name
    flags += ["--set", f'options."pool_neighbours:Neighbours".pool={pool}']
    with RunningHost(flags, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}) as host:
        host.wait_for("worker_ready")
        with host.connect() as client, host.connect() as tasks:
            _ask(tasks, b"compute")  # processes start, and import the task
            quiet, busy = [], []
            for _ in range(BLOCKS):
                quiet += _delays(client)
                busy += _delays(client, tasks)
        os.killpg(host.pid, signal.SIGKILL)  # what some pools leave behind as well
    before, meanwhile = (statistics.quantiles(each, n=100) for each in (quiet, busy))
    return meanwhile[P95] / before[P95], meanwhile[P99] / before[P99]


def _delays(client: socket.socket, tasks: socket.socket | None = None) -> list[float]:
    """Ask a client's questions, with tasks on another connection meanwhile; return seconds."""
    delays = []
    if tasks is not None:
        tasks.sendall(b"compute\n" * AHEAD)
    for _ in range(QUESTIONS):
        began = time.perf_counter()
        _ask(client, b"x")
        delays.append(time.perf_counter() - began)
        if tasks is None:
            time.sleep(PAUSE_SECONDS)
        elif select.select([tasks], [], [], PAUSE_SECONDS)[0]:
            tasks.sendall(b"compute\n" * tasks.recv(65_536).count(b"\n"))
    left = AHEAD if tasks is not None else 0
    while tasks is not None and left:
        left -= tasks.recv(65_536).count(b"\n")
    return delays


def _ask(client: socket.socket, line: bytes) -> None:
    client.sendall(line + b"\n")
    answer = b""
    while not answer.endswith(b"\n"):
        piece = client.recv(100)
        assert piece, "the worker has closed the connection"
        answer += piece
