"""Messages of the bus are counted exactly over deaths of workers, reloads, and full queues."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from host.testing.machine import patience
from support.hosting import SUPPORT, Host, Start, eventually, freeze, reload, thaw
from support.scraping import Series, scrape, total

pytestmark = pytest.mark.process

WORKERS = 3
NAME = "prefork_bus_messages_{}_total".format


class Client:
    """A client of `publishing`, whose worker hears the topic by now.

    Attributes:
        slot: that of its worker.
    """

    def __init__(self, host: Host, stack: ExitStack) -> None:
        self._sock = stack.enter_context(host.connect())
        self._sock.settimeout(patience(20))
        self._file = stack.enter_context(self._sock.makefile("rb"))
        self.slot = int(self._file.readline())

    def ask(self, line: str) -> int:
        """Say a line, and return the number that answers it."""
        self._sock.sendall(line.encode() + b"\n")
        return int(self._file.readline())


def clients_of(host: Host, stack: ExitStack) -> dict[int, Client]:
    """Return a client of each worker, by its slot."""
    clients = [Client(host, stack) for _ in range(WORKERS)]
    assert len({each.slot for each in clients}) == WORKERS
    return {each.slot: each for each in clients}


def shown(host: Host) -> dict[Series, float]:
    """Return the metrics of the host."""
    return scrape(host.events("ops_listening")[0]["address"])


def alive(host: Host) -> list[Series]:
    """Return a series of each worker that is alive."""
    return [each for each in shown(host) if each[0] == "prefork_worker_connections"]


def wait_until_heard(clients: dict[int, Client], count: int) -> None:
    """Wait until all workers together have heard so many messages."""
    eventually(lambda: sum(each.ask("heard") for each in clients.values()) == count, "all hear")


def begin(start: Start) -> Host:
    """Start a host of which no message was published."""
    settings = {"lifecycle.respawn_backoff_max_seconds": 0.1, "lifecycle.hang_seconds": 60.0}
    flags = ("--ops", "tcp://127.0.0.1:0")
    plugin = str(SUPPORT / "publishing.py")
    host = start(*flags, plugin=plugin, workers=WORKERS, settings=settings)
    found = shown(host)
    assert {total(found, NAME(each)) for each in ("published", "delivered", "dropped")} == {0}
    return host


def test_messages_are_counted_over_deaths_and_reloads(start: Start) -> None:
    host, said = begin(start), 0
    for turn in range(3):
        with ExitStack() as stack:
            clients = clients_of(host, stack)
            heard = sum(each.ask("heard") for each in clients.values())
            assert clients[turn].ask("publish 50 10") == 50
            said += 50
            wait_until_heard(clients, heard + WORKERS * 50)
            if turn != 1:
                ready = len(host.events("worker_ready"))
                host.kill_worker(turn)
                host.wait_for("worker_ready", count=ready + 1)
        if turn:
            reload(host)
            eventually(lambda: len(alive(host)) == WORKERS, "workers of before have ended")
        found = shown(host)
        assert total(found, NAME("published"), slot=str(turn)) == 50
        assert total(found, NAME("published")) == said
        delivered = {total(found, NAME("delivered"), slot=str(slot)) for slot in range(WORKERS)}
        assert delivered == {said}
        assert total(found, NAME("dropped")) == 0


def test_what_finds_a_full_queue_is_counted_as_often_as_it_is_told(start: Start) -> None:
    host = begin(start)
    with ExitStack() as stack:
        clients = clients_of(host, stack)
        freeze(host.workers[0])
        said = 0
        while not total(shown(host), NAME("dropped"), at="delivery"):
            assert clients[1].ask("publish 4 500000") == 4
            said += 4
        thaw(host.workers[0])
        eventually(
            lambda: clients[0].ask("heard") + clients[0].ask("lost") == said,
            "it hears what was queued, and how many were dropped",
        )
        found = shown(host)
        assert total(found, NAME("published")) == said
        assert total(found, NAME("delivered"), slot="0") == clients[0].ask("heard")
        dropped = total(found, NAME("dropped"), at="delivery", slot="0")
        assert dropped == total(found, NAME("dropped")) == clients[0].ask("lost")

        taken = clients[1].ask("publish 40 500000")
        eventually(lambda: clients[1].ask("heard") == said + taken, "it hears its own")
        found = shown(host)
        assert total(found, NAME("published")) == said + taken
        assert total(found, NAME("dropped"), at="publish", slot="1") == 40 - taken > 0
