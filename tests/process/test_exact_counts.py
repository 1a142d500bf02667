"""Twenty kills and five reloads under load: what is counted is what clients count on their side."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from support.address import connect
from support.hosting import Host, Start, eventually, reload
from support.scraping import Series, scrape, total

pytestmark = pytest.mark.process

KILLS, RELOADS, CLIENTS, WORKERS = 20, 5, 6, 3
SIZE = 1000
"""Bytes of a message: as much of a killed worker's call may be counted or not."""


class Client(threading.Thread):
    """Opens connections and exchanges messages, one after the other, until it is told to stop.

    Attributes:
        opened: connections.
        sent, received: bytes of whole messages that were given to the kernel, and that came back.
        broken: connections that ended in the middle of a message.
    """

    def __init__(self, address: str, stop: threading.Event) -> None:
        super().__init__()
        self._address, self._stopping = address, stop
        self.opened = self.sent = self.received = self.broken = 0

    def run(self) -> None:
        while not self._stopping.is_set():
            with connect(self._address) as session:
                self.opened += 1
                try:
                    for _ in range(20):
                        self._exchange(session)
                except (ConnectionError, EOFError):
                    self.broken += 1

    def _exchange(self, session: Any) -> None:
        session.sendall(b"x" * SIZE)
        self.sent += SIZE
        left = SIZE
        while left:
            data = session.recv(left)
            if not data:
                raise EOFError
            self.received += len(data)
            left -= len(data)


class Scraper(threading.Thread):
    """Scrapes all the time, and notes counters that have fallen or gone."""

    def __init__(self, address: str, stop: threading.Event) -> None:
        super().__init__()
        self._address, self._stopping = address, stop
        self.scrapes = 0
        self.fallen: list[Any] = []

    def run(self) -> None:
        before: dict[Series, float] = {}
        while not self._stopping.is_set():
            found = scrape(self._address)
            self.fallen += [
                (each, value, found.get(each))
                for each, value in before.items()
                if each[0].endswith("_total") and "pid" not in dict(each[1])
                if found.get(each, -1.0) < value
            ]
            before = found
            self.scrapes += 1


@contextmanager
def running(*threads: threading.Thread, stop: threading.Event) -> Iterator[None]:
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def kill(host: Host, turn: int) -> None:
    """Kill a worker that serves, and wait until another one has its place."""
    ready = len(host.events("worker_ready"))
    pid = host.workers[turn % WORKERS]
    os.kill(pid, signal.SIGKILL)
    host.wait_for("worker_died", pid=pid)
    host.wait_for("worker_ready", count=ready + 1)


@pytest.mark.slow
def test_kills_and_reloads_under_load_lose_no_count(start: Start) -> None:
    host = start(
        "--ops",
        "tcp://127.0.0.1:0",
        plugin="echo",
        workers=WORKERS,
        settings={"lifecycle.respawn_backoff_max_seconds": 0.1},
    )
    (listening,) = host.events("ops_listening")
    address, stop = listening["address"], threading.Event()
    clients = [Client(host.address, stop) for _ in range(CLIENTS)]
    scraper = Scraper(address, stop)
    with running(*clients, scraper, stop=stop):
        for turn in range(KILLS):
            kill(host, turn)
            if turn % (KILLS // RELOADS) == 1:
                reload(host)
    opened, broken = sum(each.opened for each in clients), sum(each.broken for each in clients)
    sent, received = sum(each.sent for each in clients), sum(each.received for each in clients)
    assert scraper.scrapes > KILLS
    assert not scraper.fallen
    assert sent - received <= SIZE * broken

    name = "prefork_connections_{}_total".format

    def settled() -> bool:
        found = scrape(address)
        counted = sum(total(found, name(each)) for each in ("accepted", "refused", "spurious"))
        return counted == total(found, name("claimed")) and not total(
            found, "prefork_worker_connections"
        )

    eventually(settled, "all connections have ended and are counted")
    found = scrape(address)
    # A worker may be killed between accept(2) and the count of it, once for each kill.
    accepted = total(found, name("accepted"))
    assert opened - KILLS <= accepted <= opened
    assert opened - accepted <= total(found, name("refused")) <= KILLS
    assert accepted - CLIENTS * KILLS <= total(found, name("closed")) <= accepted
    # The same holds for read(2) and write(2). All that came back was read and sent before.
    assert received - SIZE * KILLS <= total(found, "prefork_received_bytes_total") <= sent
    assert received - SIZE * KILLS <= total(found, "prefork_sent_bytes_total") <= sent
    assert total(found, "prefork_worker_restarts_total", cause="died") == KILLS
    assert total(found, "prefork_events_total", event="host_reloading") == RELOADS
