"""The plugin `asgi` is stopped and reloaded under load, and no request fails."""

from __future__ import annotations

import signal

import pytest

from support.hosting import SUPPORT, Host, Start
from support.http_clients import Clients

pytestmark = [pytest.mark.process, pytest.mark.warm]


def serve(start: Start) -> Host:
    options = {"options.asgi.app": "asgi_app:app", "options.asgi.app_folder": SUPPORT}
    return start(plugin="asgi", settings=options)


@pytest.mark.slow
def test_reloads_lose_no_request(start: Start) -> None:
    host = serve(start)
    clients = Clients(host.port)
    with clients.running():
        for _ in range(3):
            clients.answered(100)
            mark = host.mark()
            host.signal(signal.SIGHUP)
            host.wait_for("generation_ready", since=mark)
            host.wait_for("worker_exited", since=mark, count=2)
        clients.answered(100)
    assert clients.failures == []
    assert host.stop() == 0


@pytest.mark.parametrize("round_number", range(3))
def test_stops_lose_no_request(start: Start, round_number: int) -> None:
    host = serve(start)
    clients = Clients(host.port)
    with clients.running():
        clients.answered(100 + 37 * round_number)
        assert host.stop() == 0
    assert clients.failures == []
