"""What a message, a line and a connection cost in system calls, which no busy machine changes."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from support.hosting import Host, Start, eventually

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed"),
]

CALL = re.compile(r"(\d+) +(\w+)\(")
MESSAGE = b"x" * 63 + b"\n"
MANY = 200
ATTACHING = 4
"""Calls that the tracer makes a process repeat by attaching to it."""
WAITS = "epoll_wait"
BEAT = {WAITS: 2, "newfstatat": 1, "fstat": 1, "fcntl": 1, "rt_sigprocmask": 1} | {
    "getitimer": 3,
    "prlimit64": 1,
}
"""What a process may do once a second while nothing happens: beat, and look after its sockets, and
after signals that a plugin may have blocked, timers that it may have left, and limits.

Which of the two calls asks for the state of a descriptor is the C library's choice.
"""


class Costs:
    """Counts the calls of a host's processes between the beginning and the end of a block.

    Attributes:
        seconds: how long the block has taken.
    """

    def __init__(self, host: Host) -> None:
        self.supervisor, self.workers = host.pid, set(host.workers.values())
        self._counts: dict[int, Counter[str]] = {pid: Counter() for pid in self._pids}
        self.seconds = 0.0

    @property
    def _pids(self) -> list[int]:
        return [self.supervisor, *self.workers]

    @contextmanager
    def counted(self, notes: Path) -> Iterator[None]:
        """Count."""
        command = ["strace", "-f", "-qq", "-o", str(notes)]
        for pid in self._pids:
            command += ["-p", str(pid)]
        tracer = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        try:
            eventually(lambda: self._traced() or tracer.poll() is not None, "strace attaches")
            if tracer.poll() is not None:
                assert tracer.stderr is not None
                pytest.skip(f"strace cannot trace here: {tracer.stderr.read().strip()}")
            began = time.monotonic()
            yield
            self.seconds = time.monotonic() - began
        finally:
            if tracer.poll() is None:
                tracer.send_signal(signal.SIGINT)  # it detaches
            tracer.communicate()
        for line in notes.read_text().splitlines():
            if found := CALL.match(line):
                self._counts.setdefault(int(found[1]), Counter())[found[2]] += 1

    def _traced(self) -> bool:
        tasks = [task for pid in self._pids for task in Path(f"/proc/{pid}/task").iterdir()]
        return all("TracerPid:\t0\n" not in (task / "status").read_text() for task in tasks)

    def of_workers(self) -> Counter[str]:
        """Return the calls of everyone but the supervisor."""
        every: Counter[str] = Counter()
        for pid, counts in self._counts.items():
            if pid != self.supervisor:
                every += counts
        return every

    def of_supervisor(self) -> Counter[str]:
        """Return the calls of the supervisor."""
        return self._counts[self.supervisor]

    def check(
        self, counts: Counter[str], times: int, each: dict[str, float], processes: int
    ) -> None:
        """Check that no call was made oftener than `each` says, `times` times, besides beats."""
        beats = (int(self.seconds) + 2) * processes
        for call, count in counts.items():
            allowed = times * each.get(call, 0) + beats * BEAT.get(call, 0) + ATTACHING * processes
            assert count <= allowed, f"{call}: {count} for {times}, at most {allowed}; {counts}"


def exchange(client: socket.socket, data: bytes) -> None:
    """Send data and wait for as much."""
    client.sendall(data)
    collect(client, len(data))


def collect(client: socket.socket, size: int) -> None:
    """Wait for an answer of that size."""
    while size:
        data = client.recv(size)
        assert data, "the host has closed the connection"
        size -= len(data)


def test_a_message_takes_one_wait_one_read_and_one_write(start: Start, tmp_path: Path) -> None:
    host = start(plugin="echo", workers=1)
    costs = Costs(host)
    with host.connect() as client:
        exchange(client, MESSAGE)
        with costs.counted(tmp_path / "notes"):
            for _ in range(MANY):
                exchange(client, MESSAGE)
    costs.check(costs.of_workers(), MANY, {WAITS: 1, "read": 1, "write": 1}, 1)
    costs.check(costs.of_supervisor(), MANY, {}, 1)


def test_busy_connections_share_their_waits(start: Start, tmp_path: Path) -> None:
    host = start(plugin="echo", workers=1)
    costs, rounds = Costs(host), 20
    with ExitStack() as stack:
        clients = [stack.enter_context(host.connect()) for _ in range(50)]
        for client in clients:
            exchange(client, MESSAGE)
        with costs.counted(tmp_path / "notes"):
            for _ in range(rounds):
                for client in clients:
                    client.sendall(MESSAGE)
                for client in clients:
                    collect(client, len(MESSAGE))
    # How many messages one wait tells of depends on how fast they come: nearly all of the round,
    # in general. A wait for each would be 1.
    each = {WAITS: 0.4, "read": 1, "write": 1}
    costs.check(costs.of_workers(), rounds * len(clients), each, 1)


def test_lines_that_come_together_are_read_and_answered_together(
    start: Start, tmp_path: Path
) -> None:
    plugin = tmp_path / "answering.py"
    plugin.write_text(
        "from host import hookimpl\n"
        "@hookimpl\n"
        "def on_line(connection, line):\n"
        "    connection.write(line + b'\\n')\n"
        "    return True\n"
    )
    host = start(
        "--plugin",
        str(plugin),
        plugin="line",
        workers=1,
        settings={"options.line.commands": '["answering"]'},
    )
    costs = Costs(host)
    with host.connect() as client:
        exchange(client, MESSAGE)
        with costs.counted(tmp_path / "notes"):
            for _ in range(MANY):
                exchange(client, 16 * MESSAGE)
    costs.check(costs.of_workers(), MANY, {WAITS: 1, "read": 1, "write": 1}, 1)


def test_what_a_connection_takes(start: Start, tmp_path: Path) -> None:
    host = start(plugin="echo", workers=2)
    costs = Costs(host)
    with costs.counted(tmp_path / "notes"):
        for _ in range(MANY):
            with host.connect() as client:
                exchange(client, MESSAGE)
    of_worker = {
        WAITS: 3,  # the notification, the message, the end
        "recvfrom": 1,  # the notification
        "accept4": 1,
        "ioctl": 1,  # it is made non-blocking
        "epoll_ctl": 2,  # the connection, and no longer
        "read": 2,  # the message, the end
        "write": 1,
        "close": 1,
    }
    of_supervisor = {
        # The edge; and a second look, if an accept was under way to the last.
        WAITS: 2,
        # The length of the queue, read again while an accept is under way (REREADS).
        "getsockopt": 8,
        "sendto": 1,  # the notification
    }
    costs.check(costs.of_workers(), MANY, of_worker, 2)
    costs.check(costs.of_supervisor(), MANY, of_supervisor, 1)
    assert costs.of_workers()["accept4"] == MANY, "an accept found nobody"


def test_at_rest_a_process_beats_once_a_second_and_does_nothing_else(
    start: Start, tmp_path: Path
) -> None:
    host = start(plugin="echo", workers=2)
    costs = Costs(host)
    with ExitStack() as stack:
        for _ in range(100):
            exchange(stack.enter_context(host.connect()), MESSAGE)
        with costs.counted(tmp_path / "notes"):
            time.sleep(3.0)  # it is what does not happen meanwhile that counts
    costs.check(costs.of_workers(), 0, {}, 2)
    costs.check(costs.of_supervisor(), 0, {}, 1)
    assert os.path.getsize(tmp_path / "notes") > 0
