"""A listener has no more connections than it may; others wait, and each gets a place in the end."""

from __future__ import annotations

import os
import select
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from host.control import client as control
from host.testing import RunningHost
from host.testing.machine import patience
from support.asking import fresh_name
from support.hosting import Start, eventually

pytestmark = pytest.mark.process

CONFIG = """
plugins = ["echo"]
{more}
[[listen]]
address = "tcp://127.0.0.1:0"
max_connections = {places}
{options}
"""
Begin = Callable[..., tuple[RunningHost, Path]]


@pytest.fixture
def begin(start: Start, tmp_path: Path) -> Begin:
    def begin(places: int, options: str = "", workers: int = 3) -> tuple[RunningHost, Path]:
        config = tmp_path / "host.toml"
        config.write_text(CONFIG.format(places=places, options=options, more=""))
        flags = ("--config", str(config), "--name", fresh_name())
        return start(*flags, plugin=None, listen=(), workers=workers), config

    return begin


class Crowd(ExitStack):
    """Clients that have each sent a byte, of which those that are served get it back."""

    def __init__(self, host: RunningHost) -> None:
        super().__init__()
        self._host = host
        self.waiting: list[socket.socket] = []
        self.served: list[socket.socket] = []

    def come(self, count: int) -> None:
        for _ in range(count):
            self.waiting.append(self.enter_context(self._host.connect()))
            self.waiting[-1].sendall(b"x")

    def look(self) -> int:
        """Return how many are served by now."""
        ready, _, _ = select.select(self.waiting, [], [], 0)
        for sock in ready:
            assert sock.recv(1) == b"x"
            self.waiting.remove(sock)
            self.served.append(sock)
        return len(self.served)

    def leave(self, count: int) -> None:
        for _ in range(count):
            self.served.pop(0).close()


@pytest.fixture
def crowd_of() -> Iterator[Callable[[RunningHost], Crowd]]:
    with ExitStack() as stack:
        yield lambda host: stack.enter_context(Crowd(host))


def listener(host: RunningHost) -> dict[str, object]:
    [starting] = host.events("host_starting")
    [found] = control.ask(starting["name"], "status", {}, patience(20))["listeners"]
    return dict(found)


def held(host: RunningHost) -> int:
    [starting] = host.events("host_starting")
    status = control.ask(starting["name"], "generations", {}, patience(20))
    return sum(each["active"] for each in status["generations"])


@pytest.mark.parametrize("options", ["", "max_per_client = 100", "max_rate = 10000.0"])
def test_others_wait_and_get_the_next_place(
    begin: Begin, crowd_of: Callable[[RunningHost], Crowd], options: str
) -> None:
    host, _ = begin(5, options)
    crowd = crowd_of(host)
    crowd.come(40)
    for _ in range(7):
        eventually(lambda: crowd.look() == 5, "five are served")
        assert (held(host), listener(host)["waiting"]) == (5, len(crowd.waiting))
        crowd.leave(5)
    eventually(lambda: crowd.look() == 5, "the last five are served")
    assert not crowd.waiting
    assert listener(host)["spurious"] == 0


def test_who_is_refused_takes_no_place(
    begin: Begin, crowd_of: Callable[[RunningHost], Crowd]
) -> None:
    host, _ = begin(4, 'max_per_client = 2\nrefuse = "close"')
    with ExitStack() as stack:
        refused = [stack.enter_context(host.connect()) for _ in range(6)]
        eventually(lambda: held(host) == 2, "two are let in")
        closed = [sock for sock in refused if select.select([sock], [], [], patience(1))[0]]
        assert len(closed) == 4
    eventually(lambda: held(host) == 0, "all have gone")
    crowd = crowd_of(host)
    crowd.come(2)
    eventually(lambda: crowd.look() == 2, "two more are served")


def test_the_places_of_workers_that_die_are_free_again(
    begin: Begin, crowd_of: Callable[[RunningHost], Crowd]
) -> None:
    host, _ = begin(6, workers=2)
    crowd = crowd_of(host)
    crowd.come(6)
    eventually(lambda: crowd.look() == 6, "all places are taken")
    crowd.come(3)
    mark = host.mark()
    os.kill(host.workers[0], signal.SIGKILL)
    host.wait_for("worker_died", since=mark)
    eventually(lambda: crowd.look() == 9, "those of the dead worker are given to who waits")
    assert held(host) == 6


def test_connections_of_older_generations_keep_their_places(
    begin: Begin, crowd_of: Callable[[RunningHost], Crowd]
) -> None:
    host, config = begin(4, workers=2)
    crowd = crowd_of(host)
    crowd.come(4)
    eventually(lambda: crowd.look() == 4, "all places are taken")
    crowd.come(3)
    for generation in (1, 2):
        config.write_text(CONFIG.format(places=4, options="", more="respawn = true"))
        host.signal(signal.SIGHUP)
        host.wait_for("generation_ready", generation=generation)
        assert (held(host), crowd.look()) == (4, 4)
    for _ in range(2):  # the first one who leaves ends no worker, which would be noticed, too
        crowd.leave(1)
        eventually(lambda: crowd.look() == 4, "one of those who wait is served")
    assert (held(host), len(crowd.waiting)) == (4, 1)
