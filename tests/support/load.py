"""The clients, in a process of their own, so that they share no interpreter lock with the test.

Standard input has one command a line (JSON), standard output one answer a line. A command is the
name of a function below and its arguments. `hosting.Load` is the other end.
"""

from __future__ import annotations

import errno
import json
import os
import select
import signal
import socket
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import targets

LIFETIME_SECONDS = 120
REFUSALS = ("ECONNREFUSED", "ENOENT")
RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_GROUPS: dict[str, list[Client]] = {}


class Client:
    """One non-blocking connection.

    Attributes:
        began: when connect() was called.
        failure: why it has failed, or None: the name of an errno, `eof`, `timeout`, `garbled`.
        answer: the line that it was answered with last.
        sent: whether the line was sent.
        waited: seconds from `began`, or from the command, to that answer.
    """

    __slots__ = ("answer", "began", "failure", "line", "received", "sent", "sock", "waited")

    def __init__(self, address: str) -> None:
        family, target = targets.parse(address)
        self.sock = socket.socket(family, socket.SOCK_STREAM)
        self.sock.setblocking(False)
        self.failure: str | None = None
        self.line = b""
        self.received = b""
        self.answer: bytes | None = None
        self.sent = False
        self.waited = 0.0
        self.began = time.monotonic()
        number = self.sock.connect_ex(target)
        if number not in (0, errno.EINPROGRESS):
            self.fail(errno.errorcode[number])

    def fail(self, cause: str) -> None:
        self.failure = cause
        self.sock.close()

    def say(self, line: bytes, began: float | None) -> None:
        self.line, self.received, self.answer, self.sent = line, b"", None, False
        if began is not None:
            self.began = began

    def send(self) -> bool:
        """Send the line; tell whether it is done with (sent, or failed)."""
        try:
            self.sock.send(self.line)
        except BlockingIOError:
            return False
        except OSError as error:
            self.fail(errno.errorcode[error.errno or 0])
        else:
            self.sent = True
        return True

    def receive(self) -> bool:
        """Receive; tell whether it is done with (answered, or failed)."""
        try:
            data = self.sock.recv(65_536)
        except BlockingIOError:
            return False
        except OSError as error:
            self.fail(errno.errorcode[error.errno or 0])
            return True
        if not data:
            self.fail("eof")
            return True
        self.received += data
        if not self.received.endswith(b"\n"):
            return False
        self.waited = time.monotonic() - self.began
        if not self.received.endswith(self.line) or self.received.count(b"\n") != 1:
            self.fail("garbled")
            return True
        self.answer = self.received[: -len(self.line)]
        return True


def opened(group: str, address: str, count: int) -> dict[str, Any]:
    """Call connect() for `count` connections and wait for none of them."""
    began = time.monotonic()
    _GROUPS.setdefault(group, []).extend(Client(address) for _ in range(count))
    return {"seconds": time.monotonic() - began}


def exchange(group: str, patience: float, fresh: bool = False, leave: bool = False) -> Any:
    """Send a line on every connection and wait for each one's answer.

    Args:
        group: the connections.
        patience: seconds after which those that wait have failed.
        fresh: whether waits count from each connect() and not from now.
        leave: whether each one closes as soon as it is answered.
    """
    clients = [client for client in _GROUPS[group] if client.failure is None]
    epoll = select.epoll()
    waiting: dict[int, Client] = {}
    now = time.monotonic()
    for number, client in enumerate(clients):
        client.say(b"hello %d\n" % number, None if fresh else now)
        waiting[client.sock.fileno()] = client
        epoll.register(client.sock.fileno(), select.EPOLLOUT)
    deadline = now + patience
    while waiting and (left := deadline - time.monotonic()) > 0:
        for fd, _ in epoll.poll(left):
            client = waiting[fd]
            if client.sent:
                done = client.receive()
            else:
                client.send()
                done = client.failure is not None
                if client.sent:
                    epoll.modify(fd, select.EPOLLIN)
            if done:
                del waiting[fd]
                if client.failure is None:
                    epoll.unregister(fd)
                    if leave:
                        client.sock.close()
    for client in waiting.values():
        client.fail("timeout")
    epoll.close()
    return _result(_GROUPS[group])


def _result(clients: list[Client]) -> dict[str, Any]:
    answered = [client for client in clients if client.failure is None]
    return {
        "answers": [
            [int(field) for field in client.answer.split()]
            for client in answered
            if client.answer is not None
        ],
        "waits": [client.waited for client in answered],
        "failures": Counter(client.failure for client in clients if client.failure is not None),
    }


def burst(group: str, address: str, count: int, patience: float) -> Any:
    """Open all connections at once, then exchange a line on each."""
    began = time.monotonic()
    opened(group, address, count)
    result = exchange(group, patience, fresh=True)
    return {**result, "seconds": time.monotonic() - began}


def close(group: str, count: int | None = None, reset: bool = False) -> None:
    """Close the first `count` connections of a group, or all; forget those that have failed."""
    clients = [client for client in _GROUPS.get(group, []) if client.failure is None]
    count = len(clients) if count is None else count
    for client in clients[:count]:
        if reset:
            client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        client.sock.close()
    _GROUPS[group] = clients[count:]


def churn(address: str, clients: int, patience: float, announce: int) -> Any:
    """Connect, send a line, take the answer, close; again and again until the host has gone.

    Each of the clients goes on until it is refused. After `announce` answers a line says so.
    """
    return Churn(address, patience, announce).run(clients)


class Churn:
    """Clients in closed loops; see `churn`."""

    def __init__(self, address: str, patience: float, announce: int) -> None:
        self._address, self._patience, self._announce = address, patience, announce
        self._epoll = select.epoll()
        self._active: dict[int, Client] = {}
        self._served = self._refused = 0
        self._failures: Counter[str] = Counter()

    def run(self, clients: int) -> dict[str, Any]:
        for _ in range(clients):
            self._begin()
        while self._active:
            for fd, _ in self._epoll.poll(self._patience):
                client = self._active[fd]
                if self._step(client):
                    del self._active[fd]
                    self._settle(client)
            self._give_up()
        self._epoll.close()
        return {"served": self._served, "refused": self._refused, "failures": self._failures}

    def _begin(self) -> None:
        """Begin a new connection in the place of one that has ended."""
        while True:
            client = Client(self._address)
            if client.failure is None:
                client.say(b"hello %d\n" % self._served, None)
                self._active[client.sock.fileno()] = client
                self._epoll.register(client.sock.fileno(), select.EPOLLOUT)
                return
            if client.failure in REFUSALS:
                self._refused += 1
                return
            self._failures[client.failure] += 1

    def _step(self, client: Client) -> bool:
        """Go on with a connection; tell whether it is over."""
        if client.sent:
            return client.receive()
        number = client.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            client.fail(errno.errorcode[number])
        elif client.send() and client.failure is None:
            self._epoll.modify(client.sock.fileno(), select.EPOLLIN)
        return client.failure is not None

    def _settle(self, client: Client) -> None:
        if client.failure in REFUSALS and not client.sent:
            self._refused += 1
            return
        if client.failure is None:
            self._served += 1
            if self._served == self._announce:
                answer({"under_way": True})
            client.sock.close()
        else:
            self._failures[client.failure] += 1
        self._begin()

    def _give_up(self) -> None:
        """Count those that have waited for too long."""
        oldest = time.monotonic() - self._patience
        for fd, client in list(self._active.items()):
            if client.began < oldest:
                del self._active[fd]
                client.fail("timeout")
                self._settle(client)


def connected(address: str) -> socket.socket:
    """Return a connected socket."""
    family, target = targets.parse(address)
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.connect(target)
    return sock


def half_close(address: str, rounds: int, size: int) -> Any:
    """Send `size` bytes, finish sending, and read all of them back until the end of file."""
    data = os.urandom(size)
    whole, failures = 0, Counter[str]()
    for _ in range(rounds):
        with connected(address) as sock:
            sock.setblocking(False)
            try:
                back = _both_ways(sock, data)
            except OSError as error:
                failures[errno.errorcode.get(error.errno or 0, str(error))] += 1
                continue
        if back == data:
            whole += 1
        else:
            failures[f"{len(back)} bytes"] += 1
    return {"whole": whole, "failures": failures}


def _both_ways(sock: socket.socket, data: bytes) -> bytes:
    sent, back = 0, bytearray()
    poll = select.poll()
    poll.register(sock, select.POLLIN | select.POLLOUT)
    while True:
        if not (events := poll.poll(10_000)):
            raise TimeoutError(errno.ETIMEDOUT, "nothing happened for 10 s")
        mask = events[0][1]
        if mask & select.POLLOUT and sent < len(data):
            sent += sock.send(data[sent : sent + 262_144])
            if sent == len(data):
                sock.shutdown(socket.SHUT_WR)
                poll.modify(sock, select.POLLIN)
        if mask & (select.POLLIN | select.POLLHUP | select.POLLERR):
            received = sock.recv(262_144)
            if not received:
                return bytes(back)
            back += received


def flood(address: str, size: int, patience: float) -> Any:
    """Send up to `size` bytes and read nothing, until the host closes the connection.

    A line says so when nothing was taken for the first time in a tenth of a second.
    """
    data = bytes(1 << 20)
    sent, stuck_at = 0, 0.0
    with connected(address) as sock:
        sock.setblocking(False)
        poll = select.poll()
        poll.register(sock, select.POLLOUT)
        began = time.monotonic()
        while sent < size and time.monotonic() - began < patience:
            if not poll.poll(100):
                if not stuck_at:
                    stuck_at = time.monotonic()
                    answer({"under_way": True, "sent": sent})
                continue
            try:
                sent += sock.send(data[: size - sent])
            except BlockingIOError:
                continue
            except OSError as error:
                cause = errno.errorcode[error.errno or 0]
                now = time.monotonic()
                return {
                    "sent": sent,
                    "ended": cause,
                    "open_seconds": now - began,
                    "stuck_seconds": now - stuck_at,
                }
    return {"sent": sent, "ended": None, "open_seconds": 0.0, "stuck_seconds": 0.0}


def answer(value: Any) -> None:
    """Write one answer."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


COMMANDS: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (opened, exchange, burst, close, churn, half_close, flood)
}


def main() -> None:
    signal.alarm(LIFETIME_SECONDS)
    for line in sys.stdin:
        command = json.loads(line)
        answer(COMMANDS[command.pop("do")](**command))


if __name__ == "__main__":
    main()
