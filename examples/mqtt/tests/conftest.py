"""Workers in one process; two hosts that Redis connects."""

import shutil

import pytest
from broker_of_hosts import Redis

from host.testing import Harness

OPTIONS = {"sys_seconds": 0}


@pytest.fixture
def make():
    """Return what makes workers, given how many, and the options."""
    made = []

    def make(workers=2, *plugins, **options):
        made.append(Harness("mqtt", *plugins, options={"mqtt": OPTIONS | options}, workers=workers))
        made[-1].start()
        made[-1].run()
        return made[-1]

    yield make
    for each in made:
        assert each.failures == []
        each.stop()


@pytest.fixture
def redis(tmp_path):
    """A redis-server."""
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed (Debian: redis-server)")
    server = Redis(tmp_path)
    yield server
    server.kill()


@pytest.fixture
def make_hosts(host_server, redis):
    """Return what starts two hosts with two workers each, given the seconds of their lease."""

    def make(lease_seconds):
        bus = {"bus.url": f"unix://{redis.path}", "bus.lease_seconds": lease_seconds}
        return [
            host_server(
                "mqtt",
                workers=2,
                options={"mqtt": {"sys_seconds": 0}},
                settings=bus | {"bus.node": node},
            )
            for node in ("a", "b")
        ]

    return make
