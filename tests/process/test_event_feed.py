"""Events of the log reach who hears of them as they come, over kills, reloads and storms."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from host.testing.machine import patience
from support.address import connect
from support.hosting import Host, Start, eventually, freeze, helper_of, thaw

pytestmark = [pytest.mark.process, pytest.mark.warm]

NOISY = """
import logging

from host import hookimpl


@hookimpl
def on_readable(connection):
    for number in range(int(connection.read() or 0)):
        logging.warning("line %d", number)
    connection.write(b"done")
"""


class Hearer(threading.Thread):
    """Hears of events, and connects anew as a browser does."""

    def __init__(self, address: str) -> None:
        super().__init__(daemon=True)
        self._place, _, port = address.removeprefix("tcp://").rpartition(":")
        self._port = int(port)
        self._stopping = False
        self._sock: socket.socket | None = None
        self.events: list[dict[str, Any]] = []
        self.states = 0

    def run(self) -> None:
        while not self._stopping:
            try:
                self._hear()
            except (OSError, http.client.HTTPException, ValueError):
                continue  # it connects anew

    def _hear(self) -> None:
        connection = http.client.HTTPConnection(self._place, self._port, timeout=patience(20))
        with closing(connection):
            connection.request("GET", "/events")
            self._sock = connection.sock  # which it forgets when an answer is the last one
            with connection.getresponse() as lines:
                self._take(lines)

    def _take(self, lines: Iterable[bytes]) -> None:
        kind = b""
        for line in lines:
            if self._stopping:
                return
            if line.startswith(b"event: "):
                kind = line.strip()
            elif line.startswith(b"data: ") and kind == b"event: log":
                self.events.append(json.loads(line.removeprefix(b"data: ")))
            elif line.startswith(b"data: ") and kind == b"event: status":
                self.states += 1

    def has(self, name: str, count: int = 1) -> Callable[[], bool]:
        """Return what tells whether so many different events of this name have come."""
        return lambda: len({str(e) for e in self.events if e["event"] == name}) >= count

    def end(self) -> None:
        self._stopping = True
        if self._sock is not None:
            with suppress(OSError):  # it is closed, and another one is not begun
                self._sock.shutdown(socket.SHUT_RDWR)
        self.join()


@contextmanager
def hearing(host: Host) -> Iterator[Hearer]:
    (listening,) = host.events("ops_listening")
    hearer = Hearer(listening["address"])
    hearer.start()
    try:
        yield hearer
    finally:
        hearer.end()


def test_events_come_over_deaths_and_reloads(start: Start) -> None:
    host = start("--ops", "tcp://127.0.0.1:0")
    with hearing(host) as hearer:
        eventually(hearer.has("host_ready"), "what was before is told")
        pid = host.workers[0]
        os.kill(pid, signal.SIGKILL)
        eventually(hearer.has("worker_died"), "the death of a worker is told")
        states = hearer.states
        eventually(lambda: hearer.states > states + 1, "the state is told each second besides")
        host.signal(signal.SIGHUP)
        eventually(hearer.has("generation_ready"), "a reload is told")
        host.wait_for("worker_exited", count=2)
        os.kill(helper_of(host), signal.SIGKILL)
        eventually(hearer.has("helper_ended"), "the death of who tells it is told")
        os.kill(host.workers[1], signal.SIGKILL)
        eventually(hearer.has("worker_died", 2), "it goes on")
    (died,) = [e for e in hearer.events if str(pid) in e["message"] and e["event"] == "worker_died"]
    assert died["message"] == host.events("worker_died")[0]["message"]
    assert (died["level"], died["slot"]) == ("error", 0)


def test_a_storm_of_lines_makes_nobody_wait_and_what_is_lost_is_counted(
    start: Start, tmp_path: Path
) -> None:
    (tmp_path / "noisy.py").write_text(NOISY)
    log = tmp_path / "log"  # a file takes all, so that the log keeps nobody
    flags = ("--ops", "tcp://127.0.0.1:0", "--set", f"log.file={log}")
    flags += ("--set", "lifecycle.hang_seconds=60")  # one process is stopped, one writes for long
    host = start(*flags, plugin=f"{tmp_path}/noisy.py", ready=False)
    eventually(lambda: "host_ready" in host_log(log), "it is ready")
    events = [json.loads(line) for line in log.read_text().splitlines()]
    (ops,) = [each["address"] for each in events if each["event"] == "ops_listening"]
    (address,) = [each["address"] for each in events if each["event"] == "listening"]
    pid = helper_of(host, [e["pid"] for e in events if e["event"] == "worker_ready"])
    freeze(pid)
    with connect(address) as session:
        session.settimeout(patience(60))
        session.sendall(b"20000")
        assert session.recv(10) == b"done"  # though nobody reads them
        hearer = Hearer(ops)
        thaw(pid)
        hearer.start()
        eventually(hearer.has("plugin_logged"), "some have come")
        session.sendall(b"1")
        assert session.recv(10) == b"done"

        def counted() -> bool:
            return any(each["dropped"] > 10_000 for each in hearer.events)

        eventually(counted, "it is told how many were lost")
    hearer.end()


def host_log(log: Path) -> str:
    return log.read_text() if log.exists() else ""
