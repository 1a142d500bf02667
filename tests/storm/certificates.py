"""Certificates that are replaced while clients come and go."""

from __future__ import annotations

import socket
import ssl
import threading
import time

from host.control.client import ask
from host.errors import RemoteError
from host.testing.machine import patience
from storm.hosts import StormHost
from storm.rows import Trial, row
from support.certificates import Authority, chain_of

CLIENTS = 4
SECONDS = 20.0
CONFIG = """
[[listen]]
address = "tcp://127.0.0.1:0"
plugin = "echo"
tls = "public"
[tls.public]
certificates = [{files}]
check_seconds = 0.2
"""


class Visitors:
    """Threads that connect, are served and leave, again and again; two in three resume sessions."""

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        self._port, self._context = port, context
        self._end = threading.Event()
        self.failures: list[str] = []
        self.served, self.resumed = 0, 0
        self._count = threading.Lock()
        self._threads = [threading.Thread(target=self._run) for _ in range(CLIENTS)]
        for each in self._threads:
            each.start()

    def end(self) -> None:
        self._end.set()
        for each in self._threads:
            each.join()

    def _run(self) -> None:
        session: ssl.SSLSession | None = None
        number = 0
        while not self._end.is_set():
            number += 1
            try:
                session, resumed = self._visit(session if number % 3 else None)
            except (OSError, AssertionError) as error:
                self.failures.append(repr(error))
                session = None
                continue
            with self._count:
                self.served += 1
                self.resumed += resumed

    def _visit(self, session: ssl.SSLSession | None) -> tuple[ssl.SSLSession | None, bool]:
        address = ("127.0.0.1", self._port)
        with (
            socket.create_connection(address, timeout=patience(SECONDS)) as sock,
            self._context.wrap_socket(sock, server_hostname="a.example", session=session) as client,
        ):
            client.sendall(b"hello")
            assert client.recv(16) == b"hello"
            return client.session, bool(client.session_reused)


@row(
    52,
    "certificates replaced 300 times under load, half of them with a key that does not fit",
    "0 failed; sessions are resumed; no worker is replaced; the last certificate is shown by all",
)
def rotations(trial: Trial) -> str:
    authority = Authority(trial.folder)
    files = authority.files("a", "a.example")
    config = trial.folder / "tls.toml"
    config.write_text(CONFIG.format(files=files.toml))
    flags = ("--config", str(config))
    host = trial.start("echo", listen=(), flags=flags)
    workers = set(host.workers.values())
    context = authority.client()
    visitors = Visitors(host.port, context)
    took, refused = [], 0
    try:
        for number in trial.rounds(range(6), range(150)):
            leaf = authority.leaf("a.example", f"n{number}.example")
            files.certificate.write_bytes(chain_of(leaf))  # its key comes later
            refused += not renewed(host)
            files.key.write_bytes(leaf.private_key_pem.bytes())
            began = time.monotonic()
            trial.must(renewed(host), f"certificate {number} is not taken")
            took.append(time.monotonic() - began)
    finally:
        visitors.end()
    (listed,) = ask(host.name, "certificates", {}, patience(SECONDS))["certificates"]
    trial.must(f"n{number}.example" in listed["names"], f"in the end: {listed['names']}")
    trial.must(not visitors.failures, f"failures: {visitors.failures[:3]}")
    trial.must(visitors.resumed, "no session was resumed")
    trial.must(set(host.workers.values()) == workers, "a worker was replaced")
    took.sort()
    return (
        f"{len(took)} taken over, {refused} refused; {visitors.served:,} served,"
        f" {visitors.resumed:,} of them resumed, {len(visitors.failures)} failed; until all workers"
        f" have one it takes {took[len(took) // 2] * 1000:.0f} ms (median)"
    )


def renewed(host: StormHost) -> bool:
    """Have new certificates taken over; tell whether they can be used."""
    try:
        ask(host.name, "reload", {"certificates": True}, patience(SECONDS))
    except RemoteError:
        return False
    return True
