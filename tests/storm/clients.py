"""The clients of a storm, in a process of their own; `load.Clients` is the other end.

Arguments: a plan, as JSON, and by what its patience is multiplied on this machine. Loops connect,
send a line, take the answer, close, and begin again. Sessions stay: each sends a line with a
sequence number every so often. Standard input has commands, standard output one answer each, as
JSON lines. A session whose host says `bye` closes and comes back.
"""

from __future__ import annotations

import errno
import heapq
import itertools
import json
import os
import select
import socket
import sys
import time
from array import array
from collections import Counter
from collections.abc import Callable
from typing import Any

FAILURES_KEPT = 1_000_000
AGAIN_SECONDS = 0.01
LOOK_SECONDS = 0.1
LIFETIME_SECONDS = 2 * 3600
_CAUSES = {
    "ECONNREFUSED": "refused",
    "ENOENT": "refused",
    "ECONNRESET": "reset",
    "EPIPE": "reset",
    "ETIMEDOUT": "timeout",
}
CONNECTING, WAITING, IDLE, PAUSED = range(4)


def target_of(address: str) -> tuple[int, Any]:
    """Return family and socket address of `tcp://…` or `unix:…`."""
    if address.startswith("unix:"):
        return socket.AF_UNIX, address.removeprefix("unix:")
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    return family, (host.strip("[]"), int(port))


class Client:
    """One place among the clients; its connections come and go.

    Attributes:
        kind: `loop` or `session`.
        number: its number.
        sock: the present connection, or None.
        began: when the present exchange began: at connect() or at sending.
        line: what was sent last.
        owner: the pid of who serves the connection, once it has answered.
        leaving: whether the host has said `bye`.
        ticket: the number of the call that it waits for; an earlier one is void.
    """

    __slots__ = (
        "began",
        "kind",
        "leaving",
        "line",
        "number",
        "owner",
        "received",
        "sequence",
        "sock",
        "state",
        "ticket",
    )

    def __init__(self, kind: str, number: int) -> None:
        self.kind, self.number = kind, number
        self.sock: socket.socket | None = None
        self.sequence = 0
        self.ticket = 0
        self.fresh()

    def fresh(self) -> None:
        self.state, self.began, self.line, self.received = PAUSED, 0.0, b"", b""
        self.owner: int | None = None
        self.leaving = False


class Clients:
    """All clients of this process, and what they have met with.

    Args:
        plan: `address`; `loops` and `sessions`, how many; `pause`, seconds a loop waits before
            it begins again; `every`, seconds between the lines of a session; `patience`, seconds
            before a wait has failed; `plain`, whether lines come back as they are;
            `end_when_refused`.
    """

    def __init__(self, plan: dict[str, Any]) -> None:
        self.family, self.target = target_of(plan["address"])
        self.pause, self.every = plan["pause"], plan["every"]
        self.patience, self.plain = plan["patience"] * float(sys.argv[2]), plan["plain"]
        self.end_when_refused = plan["end_when_refused"]
        self.epoll = select.epoll()
        self.clients = [Client("loop", number) for number in range(plan["loops"])]
        self.clients += [Client("session", number) for number in range(plan["sessions"])]
        self.by_fd: dict[int, Client] = {}
        self.due: list[tuple[float, int, Client]] = []
        self.order = itertools.count(1)
        self.times, self.waits = array("d"), array("d")
        self.counts: Counter[str] = Counter()
        self.failures: list[list[Any]] = []
        self.refused = self.farewells = self.ended = 0
        self.announced = False
        self.until: float | None = None

    def run(self) -> None:
        """Go on until told to end, or for as long as this process may live."""
        spread = self.every / max(1, len(self.clients))
        for number, client in enumerate(self.clients):
            self.later(client, spread * number if client.kind == "session" else 0.0)
        self.epoll.register(0, select.EPOLLIN)
        look, last = 0.0, time.monotonic() + LIFETIME_SECONDS
        while (now := time.monotonic()) < last and not self.over(now):
            while self.due and self.due[0][0] <= now:
                _, ticket, client = heapq.heappop(self.due)
                if ticket == client.ticket:
                    self.wake(client)
            wait = self.due[0][0] - now if self.due else LOOK_SECONDS
            for fd, _ in self.epoll.poll(min(max(wait, 0.0), LOOK_SECONDS)):
                if fd == 0:
                    self.command()
                elif (found := self.by_fd.get(fd)) is not None:
                    self.step(found)
            if now >= look:
                look = now + LOOK_SECONDS
                self.give_up(now)
        self.answer(self.result())

    def over(self, now: float) -> bool:
        if self.until is None:
            return False
        return now >= self.until or self.ended == len(self.clients)

    def later(self, client: Client, seconds: float) -> None:
        client.ticket = next(self.order)
        heapq.heappush(self.due, (time.monotonic() + seconds, client.ticket, client))

    def wake(self, client: Client) -> None:
        """Begin a connection, or the next exchange of one."""
        if client.state == IDLE:
            self.say(client)
        elif client.state == PAUSED:
            self.connect(client)

    def connect(self, client: Client) -> None:
        client.fresh()
        client.began = time.monotonic()
        client.sock = sock = socket.socket(self.family, socket.SOCK_STREAM)
        sock.setblocking(False)
        number = sock.connect_ex(self.target)
        client.state = CONNECTING
        self.by_fd[sock.fileno()] = client
        if number not in (0, errno.EINPROGRESS):
            self.failed(client, errno.errorcode[number])
            return
        self.epoll.register(sock.fileno(), select.EPOLLOUT)

    def step(self, client: Client) -> None:
        assert client.sock is not None
        try:
            if client.state == CONNECTING:
                number = client.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if number:
                    self.failed(client, errno.errorcode[number])
                    return
                self.epoll.modify(client.sock.fileno(), select.EPOLLIN)
                self.say(client, began=client.began)
                return
            data = client.sock.recv(65_536)
        except BlockingIOError:
            return
        except OSError as error:
            self.failed(client, errno.errorcode.get(error.errno or 0, "error"))
            return
        if not data:
            self.failed(client, "empty" if not client.received and not client.owner else "cut")
            return
        self.take(client, data)

    def say(self, client: Client, began: float | None = None) -> None:
        """Send the next line."""
        assert client.sock is not None
        client.began = time.monotonic() if began is None else began
        client.line = b"%s %d %d" % (client.kind.encode(), client.number, client.sequence)
        client.sequence += 1
        client.state = WAITING
        try:
            client.sock.send(client.line + b"\n")
        except OSError as error:
            self.failed(client, errno.errorcode.get(error.errno or 0, "error"))

    def take(self, client: Client, data: bytes) -> None:
        *lines, client.received = (client.received + data).split(b"\n")
        for line in lines:
            if line == b"bye" and not client.leaving:
                client.leaving = True
            elif client.state == WAITING and self.right(client, line):
                self.served(client)
            else:
                self.failed(client, "wrong")
                return
            if client.state == PAUSED:
                return
        if client.leaving and client.state == IDLE:
            self.farewells += 1
            self.hang_up(client, 0.0)

    def right(self, client: Client, line: bytes) -> bool:
        """Tell whether it is the answer, from whom it must come."""
        if self.plain:
            return line == client.line
        _slot, pid, _active, said = [*line.split(b" ", 3), b"", b"", b"", b""][:4]
        if said != client.line or not pid.isdigit() or client.owner not in (None, int(pid)):
            return False
        client.owner = int(pid)
        return True

    def served(self, client: Client) -> None:
        now = time.monotonic()
        self.times.append(now)
        self.waits.append(now - client.began)
        self.counts[client.kind] += 1
        if client.kind == "loop":
            self.hang_up(client, self.pause)
        else:
            client.state = IDLE
            if not client.leaving:
                self.later(client, self.every)

    def hang_up(self, client: Client, again: float) -> None:
        """Close the connection; come back after so many seconds."""
        if client.sock is not None:
            self.by_fd.pop(client.sock.fileno(), None)
            client.sock.close()
            client.sock = None
        client.state, client.ticket = PAUSED, 0
        if self.until is not None and not self.end_when_refused:
            self.ended += 1
        else:
            self.later(client, again)

    def failed(self, client: Client, what: str) -> None:
        cause = _CAUSES.get(what, what)
        if cause == "refused" and self.end_when_refused:
            self.refused += 1
            self.ended += 1
            assert client.sock is not None
            self.by_fd.pop(client.sock.fileno(), None)
            client.sock.close()
            client.sock, client.state, client.ticket = None, PAUSED, 0
            return
        now = time.monotonic()
        self.counts[cause] += 1
        if len(self.failures) < FAILURES_KEPT:
            self.failures.append([now, cause, client.kind, client.owner, now - client.began])
        self.hang_up(client, AGAIN_SECONDS)

    def give_up(self, now: float) -> None:
        for client in self.clients:
            waiting = client.state in (CONNECTING, WAITING)
            if waiting and now - client.began > self.patience:
                self.failed(client, "timeout")
        if not self.announced and self.everybody_was_served():
            self.announced = True
            self.answer({"under_way": True})

    def everybody_was_served(self) -> bool:
        return all(client.sequence > 1 or client.owner for client in self.clients)

    # The other end

    def command(self) -> None:
        data = os.read(0, 65_536)
        if not data:
            self.until = 0.0
        for line in data.splitlines():
            given = json.loads(line)
            if given["do"] == "spans":
                self.answer([self.within(each) for each in given["spans"]])
            else:
                self.until = time.monotonic() + given["drain"]

    def within(self, spans: list[tuple[float, float]]) -> list[float]:
        """Return count, median, 99th percentile and maximum of the waits that ended in there."""
        waits = sorted(
            wait
            for moment, wait in zip(self.times, self.waits, strict=True)
            if any(begin <= moment < end for begin, end in spans)
        )
        if not waits:
            return [0, 0.0, 0.0, 0.0]
        count = len(waits)
        return [count, waits[count // 2], waits[min(count - 1, count * 99 // 100)], waits[-1]]

    def result(self) -> dict[str, Any]:
        served = self.counts.pop("loop", 0) + self.counts.pop("session", 0)
        return {
            "served": served,
            "refused": self.refused,
            "farewells": self.farewells,
            "counts": self.counts,
            "failures": self.failures,
            "waits": self.within([(0.0, float("inf"))]),
        }

    def answer(self, value: Any) -> None:
        sys.stdout.write(json.dumps(value) + "\n")
        sys.stdout.flush()


def main(make: Callable[[dict[str, Any]], Clients] = Clients) -> None:
    make(json.loads(sys.argv[1])).run()


if __name__ == "__main__":
    main()
