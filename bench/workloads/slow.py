"""(i) A slow handler on one of 4 workers: what clients of the others see."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from bench.clients import Load
from bench.contenders import ours_with
from bench.contest import Bench
from bench.results import Comparison, Goal
from bench.servers import Server

LETTER = "i"
TITLE = "A slow handler on one of 4 workers"
SLOW, CALM = "with the slow handler", "without"
NAME = "clients of the other workers"
NEW = "new connections"
CLIENTS = 30
PACE_US = 5000
GOALS = (Goal(LETTER, NAME, "p99_us", "≤", 1.2, CALM, "p99"),)


class SlowClient:
    """A client whose worker is asked again and again for what takes long."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), 30.0)
        self.slot = self._exchange(b"a")

    def _exchange(self, first: bytes) -> str:
        self._socket.sendall(first + bytes(63))
        answer = b""
        while len(answer) < 64:
            data = self._socket.recv(64)
            if not data:
                raise ConnectionError("the host has closed the slow client")
            answer += data
        return answer[:1].decode()

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Keep the worker in the slow handler while the block runs."""
        stop = threading.Event()

        def ask() -> None:
            while not stop.is_set():
                self._exchange(b"S")

        thread = threading.Thread(target=ask)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def close(self) -> None:
        """Leave."""
        self._socket.close()


def _compare(bench: Bench, load: Load, client: SlowClient, name: str) -> Comparison:
    bench.say(f"({LETTER}) {name}")
    result = Comparison(LETTER, name, "message" if name == NAME else "connection", SLOW)
    pairs = result.pairs[CALM] = []
    load.run(bench.seconds / 4)
    for number in range(bench.pairs):
        if number % 2:
            calm = load.run(bench.seconds)
        with client.busy():
            slow = load.run(bench.seconds)
        if not number % 2:
            calm = load.run(bench.seconds)
        pairs.append((slow, calm))
    return result


def run(bench: Bench) -> list[Comparison]:
    """Measure."""
    with Server(ours_with("slow.py", workers=4)) as server:
        client = SlowClient(server.port)
        paced: dict[str, int | str] = {
            "connections": CLIENTS,
            "pace_us": PACE_US,
            "avoid": client.slot,
        }
        try:
            with Load("clients", server, **paced) as load:
                results = [_compare(bench, load, client, NAME)]
            with Load("connects", server, at_once=4, checked=0) as load:
                results.append(_compare(bench, load, client, NEW))
        finally:
            client.close()
    return results
