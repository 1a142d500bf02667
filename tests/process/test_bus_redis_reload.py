"""Hosts on one broker, of which one reloads."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import shouting
from support.address import connect
from support.redis_server import RedisServer

pytestmark = pytest.mark.process


@pytest.fixture
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A server that ends after the hosts, whose folder has no socket left in it."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.close()


def test_a_reload_loses_no_message(broker, start):
    plugin = f"{Path(shouting.__file__)}:Shouting"
    chosen = {"bus.url": broker.url, "bus.lease_seconds": 20.0}
    one, other = (start(plugin=plugin, settings=chosen | {"bus.node": node}) for node in ("a", "b"))
    for host in (one, other):
        host.wait_for("bus_connected")
    with connect(one.address) as speaker, connect(other.address) as hearer:
        sent, heard = speaker.makefile("rwb", 0), hearer.makefile("rb")
        assert sent.readline() == heard.readline() == b"welcome\n"
        numbers = itertools.count()

        def say(count: int) -> None:
            for number in itertools.islice(numbers, count):
                sent.write(b"%d\n" % number)
                assert sent.readline() == b"%d\n" % number  # it has been to the broker

        say(50)
        mark = other.mark()
        other.signal(signal.SIGHUP)
        say(200)
        other.wait_for("generation_ready", since=mark)
        other.wait_for("bus_connected", since=mark)
        say(50)
        assert [heard.readline() for _ in range(300)] == [b"%d\n" % each for each in range(300)]
    for host in (one, other):
        assert not host.events("bus_missed")
