"""A listener with a rate hands out no more, whatever happens to the host, and loses nobody."""

import signal
from contextlib import ExitStack

import pytest

from host.control import client as control
from host.testing.machine import patience
from support.asking import fresh_name
from support.hosting import eventually

pytestmark = pytest.mark.process

CLIENTS = 40
FULL_BUCKETS = 3
"""At the start, after the exec, and of the new generation: one connection each at this rate."""
CONFIG = """
plugins = ["echo"]
{more}
[[listen]]
address = "tcp://127.0.0.1:0"
max_rate = {rate}
"""


@pytest.fixture
def paced(host_server, tmp_path):
    """Start a host with a rate; return it, its file, and what asks for its only paced listener."""

    def start(rate, more=""):
        config, name = tmp_path / "host.toml", fresh_name()
        config.write_text(CONFIG.format(rate=rate, more=more))
        flags = ["--config", str(config), "--name", name]
        host = host_server(listen=(), workers=2, flags=flags)

        def listener():
            status = control.ask(name, "status", {}, patience(20))
            return status["listeners"][-1]

        return host, config, listener

    return start


def test_a_reload_keeps_the_rate(paced):
    host, config, listener = paced(0.01)
    with ExitStack() as stack:
        for _ in range(CLIENTS):
            stack.enter_context(host.connect(host.addresses[-1]))
        eventually(lambda: listener()["waiting"] == CLIENTS - 1, "one is served")
        config.write_text(CONFIG.format(rate=0.01, more="respawn = true"))
        host.signal(signal.SIGHUP)
        host.wait_for("generation_ready", generation=1)
        assert listener()["waiting"] >= CLIENTS - FULL_BUCKETS


def test_a_listener_that_goes_leaves_the_rate_of_another_alone(paced):
    other = f'[[listen]]\naddress = "unix:@{fresh_name()}"\nplugin = "echo"\n'
    host, config, listener = paced(0.01, other)
    with ExitStack() as stack:
        for _ in range(CLIENTS):
            stack.enter_context(host.connect(host.addresses[-1]))
        config.write_text(CONFIG.format(rate=0.01, more=""))
        host.signal(signal.SIGHUP)
        host.wait_for("generation_ready", generation=1)
        assert listener()["waiting"] >= CLIENTS - FULL_BUCKETS


def test_a_stop_serves_whoever_waits(paced):
    host, _, _ = paced(0.01)
    with ExitStack() as stack:
        clients = [stack.enter_context(host.connect()) for _ in range(CLIENTS)]
        for client in clients:
            client.sendall(b"hello")
        host.signal(signal.SIGTERM)
        assert [client.recv(10) for client in clients] == [b"hello"] * CLIENTS
    assert host.wait() == 0
