"""Clients of HTTP that send one request after the other, and count what fails."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import NamedTuple

from host.testing.machine import patience
from support.hosting import eventually

CLIENTS = 12


class Failure(NamedTuple):
    """A request that has failed, and the worker that had answered on its connection before."""

    error: str
    worker: int | None


class Clients:
    """Clients that each send one request after the other, until nobody listens any more.

    They are answered by the page of `asgi_app.py`, which names its worker.
    """

    def __init__(self, port: int) -> None:
        self.counts, self.stopping = [0] * CLIENTS, threading.Event()
        self.failures: list[Failure] = []
        self._workers: list[int | None] = [None] * CLIENTS
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
        """Wait until so many more requests are answered, or one fails."""
        wanted, failed = self.count + more, len(self.failures)
        eventually(lambda: self.count >= wanted or len(self.failures) > failed, f"{more} answers")

    def _run(self, number: int) -> None:
        client = http.client.HTTPConnection("127.0.0.1", self._port, timeout=patience(20))
        with closing(client):
            while not self.stopping.is_set():
                self._workers[number] = None
                try:
                    client.connect()
                except ConnectionRefusedError:
                    return
                try:
                    self._use(client, number)
                except (OSError, http.client.HTTPException) as error:
                    self.failures.append(Failure(repr(error), self._workers[number]))
                client.close()

    def _use(self, client: http.client.HTTPConnection, number: int) -> None:
        """Send requests on one connection until it is closed in order."""
        while client.sock is not None and not self.stopping.is_set():
            client.request("GET", "/")
            answer = client.getresponse()
            assert answer.status == 200
            self._workers[number] = json.loads(answer.read())["pid"]
            self.counts[number] += 1
