"""CPU time of redis-server per message, with any number of subscribers."""

from __future__ import annotations

import selectors
import shutil
import socket
import subprocess
import threading
from typing import Self

from bench.clients import PATIENCE_SECONDS, LoadError
from bench.contenders import REDIS
from bench.servers import Server
from host.bridge.scripts import SCRIPTS

PROGRAM = "redis-benchmark"
NODE, SENDER, TOPIC, PAYLOAD = "node", "node:1", "topic", "x" * 64
PREFIX = "prefork:{capacity}:"
SUBSCRIBERS = (1, 10, 100)
DEPTHS = (1, 16)
CLIENTS = 10
RETAINED = 100
FIRST = 1_000_000_000
"""What messages are counted from: with as many digits for each, each is as long as the others."""
CHANNEL = f"{PREFIX}live:{TOPIC}"
MESSAGE = f"{FIRST} {10**15} {SENDER} {len(TOPIC)} {TOPIC}{PAYLOAD}"
"""A message as the bus has it: its epoch is a time in microseconds."""
_DAY_MS = "86400000"

_DELIVERED = len(
    f"*3\r\n$7\r\nmessage\r\n${len(CHANNEL)}\r\n{CHANNEL}\r\n${len(MESSAGE)}\r\n{MESSAGE}\r\n"
)


def _command(connection: socket.socket, *words: str) -> bytes:
    """Send one command; return what comes next, up to 64 KiB."""
    parts = [f"*{len(words)}\r\n", *(f"${len(word)}\r\n{word}\r\n" for word in words)]
    connection.sendall("".join(parts).encode())
    return connection.recv(65_536)


class Subscribers:
    """Subscribers to one topic, which read what comes and count it; a context manager.

    Args:
        port: that of the broker, on the loopback.
        count: how many there are.
    """

    def __init__(self, port: int, count: int) -> None:
        self._ready = selectors.DefaultSelector()
        self._sockets: list[socket.socket] = []
        self._stop, self._stopped = socket.socketpair()
        self._changed = threading.Condition()
        self._bytes = 0
        for _ in range(count):
            one = socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS)
            self._sockets.append(one)
            _command(one, "SUBSCRIBE", CHANNEL)
            self._ready.register(one, selectors.EVENT_READ)
        self._ready.register(self._stopped, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.close()
        self._thread.join()
        for one in (*self._sockets, self._stopped):
            one.close()
        self._ready.close()

    def _read(self) -> None:
        while True:
            count = 0
            for key, _ in self._ready.select():
                assert isinstance(key.fileobj, socket.socket)
                data = key.fileobj.recv(262_144)
                if not data:  # told to stop; or the broker has cut one off, which `wait_for` finds
                    return
                count += len(data)
            with self._changed:
                self._bytes += count
                self._changed.notify()

    def wait_for(self, messages: int) -> None:
        """Wait until all of them together have had so many messages.

        Raises:
            LoadError: they have not had them in time.
        """
        with self._changed:
            enough = self._changed.wait_for(
                lambda: self._bytes >= messages * _DELIVERED, PATIENCE_SECONDS
            )
            if not enough or self._bytes != messages * _DELIVERED:
                raise LoadError(f"{self._bytes / _DELIVERED:.1f} messages for {messages} came")


def script(server: Server) -> tuple[str, ...]:
    """Join as a node of the bus does; return the command that has a message published."""
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE_SECONDS) as connection:
        join, publish = (
            _command(connection, "SCRIPT", "LOAD", SCRIPTS[name]).split()[1].decode()
            for name in ("join", "publish")
        )
        _command(connection, "HSET", f"{PREFIX}bus", "count", str(FIRST))
        joined = _command(connection, "EVALSHA", join, "1", PREFIX, NODE, _DAY_MS, SENDER)
        session = joined.split()[2].decode()
    call = ("EVALSHA", publish, "1", PREFIX, NODE, session)
    return *call, "1", TOPIC, SENDER, str(RETAINED), PAYLOAD


def cpu_us(server: Server, command: tuple[str, ...], subscribers: int, depth: int) -> float:
    """Return the CPU time, in µs, that the broker takes for a message that is published.

    Args:
        server: the broker.
        command: what publishes a message, in words.
        subscribers: how many it is delivered to.
        depth: how many commands each client sends before it waits for the replies.

    Raises:
        LoadError: it did not work, or not every message was delivered to everybody.
    """
    if shutil.which(PROGRAM) is None:
        raise LoadError(f"{PROGRAM} is not installed")
    count = 40_000 if subscribers < 100 else 8_000
    call = [PROGRAM, "-h", "127.0.0.1", "-p", str(server.port), "-c", str(CLIENTS)]
    call += ["-P", str(depth), "-n", str(count), "-q", *command]
    with Subscribers(server.port, subscribers) as there:
        before = server.cpu_seconds()
        done = subprocess.run(
            call, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
        )
        if done.returncode:
            raise LoadError(f"{PROGRAM} failed: {done.stderr or done.stdout}")
        there.wait_for(count * subscribers)
        return (server.cpu_seconds() - before) / count * 1e6


def measure(rounds: int) -> dict[str, list[float]]:
    """Measure the broker; return the CPU times in µs, by "command, subscribers, depth".

    Args:
        rounds: how often each case is measured.
    """
    found: dict[str, list[float]] = {}
    with Server(REDIS) as server:
        commands = {"PUBLISH": ("PUBLISH", CHANNEL, MESSAGE), "script": script(server)}
        for _ in range(rounds):
            for name, command in commands.items():
                for depth in DEPTHS:
                    for count in SUBSCRIBERS:
                        took = cpu_us(server, command, count, depth)
                        found.setdefault(f"{name}, {count}, {depth}", []).append(took)
    return found
