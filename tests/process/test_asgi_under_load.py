"""The plugin `asgi` is stopped and reloaded under load, and no request fails."""

from __future__ import annotations

import http.client
import signal
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from host.testing.machine import patience
from support.hosting import SUPPORT, Host, Start, eventually

pytestmark = pytest.mark.process

CLIENTS = 12


class Clients:
    """Clients that each send one request after the other, until nobody listens any more."""

    def __init__(self, port: int) -> None:
        self.counts, self.failures, self.stopping = [0] * CLIENTS, [], threading.Event()
        self._port = port
        self._threads = [threading.Thread(target=self._run, args=(n,)) for n in range(CLIENTS)]

    @property
    def count(self) -> int:
        return sum(self.counts)

    @contextmanager
    def running(self) -> Iterator[None]:
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self.stopping.set()
            for thread in self._threads:
                thread.join()

    def answered(self, more: int) -> None:
        """Wait until so many more requests are answered."""
        wanted = self.count + more
        eventually(lambda: self.count >= wanted or bool(self.failures), f"{more} answers")

    def _run(self, number: int) -> None:
        client = http.client.HTTPConnection("127.0.0.1", self._port, timeout=patience(20))
        with closing(client):
            while not self.stopping.is_set():
                try:
                    client.connect()
                except ConnectionRefusedError:
                    return
                try:
                    self._use(client, number)
                except (OSError, http.client.HTTPException) as error:
                    self.failures.append(repr(error))
                client.close()

    def _use(self, client: http.client.HTTPConnection, number: int) -> None:
        """Send requests on one connection until it is closed in order."""
        while client.sock is not None and not self.stopping.is_set():
            client.request("GET", "/")
            answer = client.getresponse()
            assert answer.status == 200
            answer.read()
            self.counts[number] += 1


def serve(start: Start) -> Host:
    options = {"options.asgi.app": "asgi_app:app", "options.asgi.app_folder": SUPPORT}
    return start(plugin="asgi", settings=options)


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
