"""Users of the chat with a script, over real sockets."""

from __future__ import annotations

import re
import select
import time
from collections.abc import Sequence
from contextlib import ExitStack

from host.testing.machine import patience
from support.address import connect
from support.hosting import Host
from support.processes import descriptors
from support.targets import parse


class Client:
    """A user with a script.

    Args:
        address: where the host listens.

    Attributes:
        lines: all lines that have come so far.
    """

    def __init__(self, address: str) -> None:
        self.sock = connect(address)
        self.lines: list[str] = []
        self._rest = b""
        self.ended = False
        self.nick = self.wait_for(r"-- you are (\w+)").group(1)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, *lines: str) -> None:
        self.sock.sendall("".join(f"{line}\r\n" for line in lines).encode())

    def receive(self, seconds: float) -> bool:
        """Wait for more; false if none has come, or the end."""
        if self.ended or not select.select([self.sock], [], [], seconds)[0]:
            return False
        try:
            data = self.sock.recv(65_536)
        except ConnectionResetError:
            data = b""
        if not data:
            self.ended = True
            return False
        *lines, self._rest = (self._rest + data).split(b"\n")
        self.lines += [line.decode().removesuffix("\r") for line in lines]
        return True

    def wait_for(self, pattern: str, since: int = 0, seconds: float = 10.0) -> re.Match[str]:
        """Wait for a line that matches from its beginning."""
        deadline = time.monotonic() + patience(seconds)
        while True:
            for line in self.lines[since:]:
                if found := re.match(pattern, line):
                    return found
            since = len(self.lines)
            left = deadline - time.monotonic()
            last = [line[-100:] for line in self.lines[-20:]]
            assert left > 0, f"no {pattern} within {seconds} s: {last}"
            if not self.receive(left):
                assert not self.ended, f"closed without {pattern}: {last}"

    def ask(self, line: str, pattern: str) -> re.Match[str]:
        """Send a line, and wait for an answer that comes after it."""
        since = len(self.lines)
        self.send(line)
        return self.wait_for(pattern, since)

    def until_closed(self) -> list[str]:
        while self.receive(patience(10.0)):
            pass
        assert self.ended
        return self.lines

    @property
    def said(self) -> list[str]:
        """What was said in rooms."""
        return [line for line in self.lines if line.startswith("[#")]


class People:
    """Connects users, and hangs up for all of them in the end."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack

    def __call__(
        self, hosts: Host | Sequence[Host], count: int, *rooms: str, name: str = "u"
    ) -> list[Client]:
        """Return so many users, called `u0`, `u1`, …, who are in these rooms.

        Of several hosts each has every second, third, … of them.
        """
        if isinstance(hosts, Host):
            hosts = [hosts]
        clients = [
            self._stack.enter_context(Client(hosts[number % len(hosts)].address))
            for number in range(count)
        ]
        for number, client in enumerate(clients):
            client.ask(f"/nick {name}{number}", rf"-- \w+ is now {name}{number}$")
            for room in rooms:
                client.ask(f"/join {room}", rf"-- {name}{number} has joined {room}")
        return clients


def slots_of(host: Host, clients: list[Client]) -> list[int]:
    """Return for each client the slot of the worker that serves it."""
    with open("/proc/net/tcp", encoding="ascii") as table:
        rows = [line.split() for line in table.readlines()[1:]]
    _, (_, port) = parse(host.address)
    inodes = {
        int(row[2].rpartition(":")[2], 16): f"socket:[{row[9]}]"
        for row in rows
        if row[1].endswith(f":{int(port):04X}") and row[9] != "0"  # 0: it has ended
    }
    slots = {target: slot for slot, pid in host.workers.items() for target in descriptors(pid)}
    return [slots[inodes[client.sock.getsockname()[1]]] for client in clients]
