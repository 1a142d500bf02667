"""A relay between a host and its broker, that holds, delays and breaks what passes."""

from __future__ import annotations

import os
import selectors
import socket
import struct
import threading
import time
from collections import deque
from contextlib import suppress
from pathlib import Path

_READ_BYTES = 65_536
_MOST_BYTES = 1_048_576
"""So much may be on the way in one direction: then nothing more is read, as by a full window."""
_LINGER_NONE = struct.pack("ii", 1, 0)

TO_BROKER, TO_HOST = 0, 1
BOTH = (TO_BROKER, TO_HOST)


class _Half:
    """One direction of a connection: what was read and when it may be written."""

    def __init__(self, source: socket.socket, sink: socket.socket, direction: int) -> None:
        self.source, self.sink, self.direction = source, sink, direction
        self.waiting: deque[tuple[float, bytes]] = deque()
        self.size = 0
        self.is_ended = False


class Relay:
    """Listens on the loopback and passes bytes on to a broker, in a thread of its own.

    What is held is not lost: it comes when it is let go, as what TCP sends again after a partition.
    So does the end of a connection.

    Args:
        target: the Unix socket of the broker.

    Attributes:
        port: where it listens.
    """

    def __init__(self, target: Path) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self._listener.setblocking(False)
        self._halves: dict[socket.socket, _Half] = {}
        self._held: set[int] = set()
        self._delay = 0.0
        self._lock = threading.Lock()
        self._wake, self._woken = socket.socketpair()
        self._is_closed = False
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def hold(self, *directions: int) -> None:
        """Let nothing pass in some directions; without any, nobody can connect either."""
        with self._lock:
            self._held.update(directions or BOTH)
        self._wake.send(b"x")

    def release(self) -> None:
        """Let everything pass that waits, and what comes."""
        with self._lock:
            self._held.clear()
        self._wake.send(b"x")

    def delay(self, seconds: float) -> None:
        """Let what comes from now on pass so much later."""
        with self._lock:
            self._delay = seconds

    def cut(self) -> None:
        """Break all connections: both ends are told, and what is on the way is lost."""
        with self._lock:
            for sock in self._halves:
                _reset(sock)
            self._halves.clear()
        self._wake.send(b"x")

    def close(self) -> None:
        """End it, with all connections."""
        self._is_closed = True
        self._wake.send(b"x")
        self._thread.join()
        self.cut()
        for sock in (self._listener, self._wake, self._woken):
            sock.close()

    def _run(self) -> None:
        while not self._is_closed:
            with selectors.DefaultSelector() as selector:
                selector.register(self._woken, selectors.EVENT_READ)
                with self._lock:
                    wait = self._watch(selector)
                ready = {key.fileobj: mask for key, mask in selector.select(wait)}
            with self._lock:
                if self._woken in ready:
                    self._woken.recv(_READ_BYTES)
                if self._listener in ready and TO_BROKER not in self._held:
                    self._accept()
                for half in tuple(self._halves.values()):
                    if ready.get(half.source, 0) & selectors.EVENT_READ:
                        self._read(half)
                    self._write(half)

    def _watch(self, selector: selectors.BaseSelector) -> float | None:
        """Register what is waited for; return for how long at most."""
        if TO_BROKER not in self._held:
            selector.register(self._listener, selectors.EVENT_READ)
        masks = dict.fromkeys(self._halves, 0)
        now, wait = time.monotonic(), None
        for half in self._halves.values():
            if half.size < _MOST_BYTES and not half.is_ended:
                masks[half.source] |= selectors.EVENT_READ
            if half.waiting and half.direction not in self._held:
                if (left := half.waiting[0][0] - now) <= 0:
                    masks[half.sink] |= selectors.EVENT_WRITE
                else:
                    wait = left if wait is None else min(wait, left)
        for sock, mask in masks.items():
            if mask:
                selector.register(sock, mask)
        return wait

    def _accept(self) -> None:
        with suppress(BlockingIOError):
            host, _ = self._listener.accept()
            host.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            broker = socket.socket(socket.AF_UNIX)
            try:
                broker.connect(os.fspath(self._target))
            except OSError:
                _reset(host)
                broker.close()
                return
            for sock in (host, broker):
                sock.setblocking(False)
            self._halves[host] = _Half(host, broker, TO_BROKER)
            self._halves[broker] = _Half(broker, host, TO_HOST)

    def _read(self, half: _Half) -> None:
        try:
            data = half.source.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        half.is_ended = not data
        half.waiting.append((time.monotonic() + self._delay, data))
        half.size += len(data)

    def _write(self, half: _Half) -> None:
        while half.waiting and half.direction not in self._held:
            due, data = half.waiting[0]
            if half.source not in self._halves or due > time.monotonic():
                return
            if not data:
                self._end(half)
                return
            try:
                sent = half.sink.send(data)
            except BlockingIOError:
                return
            except OSError:
                if len(self._held) == 1:  # the word that one end is gone does not get through
                    sent = len(data)
                else:
                    self._end(half)
                    return
            half.size -= sent
            half.waiting.popleft()
            if sent < len(data):
                half.waiting.appendleft((due, data[sent:]))

    def _end(self, half: _Half) -> None:
        for sock in (half.source, half.sink):
            self._halves.pop(sock, None)
            sock.close()


def _reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NONE)
    sock.close()
