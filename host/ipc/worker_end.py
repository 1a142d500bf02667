"""The worker's end of the control channel."""

from __future__ import annotations

import os
import socket
import struct
from collections import deque
from collections.abc import Callable

from host.ipc.protocol import Instruction, OrderParser, Report
from host.runtime.loop import READ, WRITE, Loop

_READ_BYTES = 65_536
_DESCRIPTOR = struct.Struct("=i")
_MAX_QUEUED_BYTES = 8_388_608


class WorkerChannel:
    """Hears what the supervisor orders, and reports to it without ever waiting.

    Args:
        sock: a connected stream socket; `close` closes it.
        loop: the worker's loop; `watch` begins to watch the socket.
        descriptors: whether some may come with orders (unix(7), SCM_RIGHTS).

    Attributes:
        descriptors: those that have come; whoever takes one out closes it.
    """

    def __init__(self, sock: socket.socket, loop: Loop, *, descriptors: bool = False) -> None:
        sock.setblocking(False)
        self._sock, self._loop = sock, loop
        self.descriptors: deque[int] = deque()
        self._read = self._read_with_descriptors if descriptors else sock.recv
        self._orders = OrderParser()
        self._unsent = bytearray()
        self._watched = False

    def watch(self, heard: Callable[[list[Instruction] | None], object]) -> None:
        """Call `heard` with what is ordered; None means that the supervisor is gone."""

        def on_event(mask: int) -> None:
            if mask & WRITE:
                self._flush()
            if mask & ~WRITE and (notices := self._receive()) != []:
                heard(notices)

        wanted = READ | WRITE if self._unsent else READ
        self._loop.add(self._sock.fileno(), wanted, on_event)
        self._watched = True

    def report(self, report: Report) -> None:
        """Report; what is not taken waits, and what is too much is lost."""
        line = report.line()
        if len(self._unsent) + len(line) > _MAX_QUEUED_BYTES:
            return
        waits = bool(self._unsent)
        self._unsent += line
        if not waits:
            self._flush()

    @property
    def waiting(self) -> bool:
        """Whether something waits that the supervisor has not taken yet."""
        return bool(self._unsent)

    def close(self) -> None:
        """Close the socket, and descriptors that nobody has taken."""
        self._sock.close()
        while self.descriptors:
            os.close(self.descriptors.popleft())

    def _receive(self) -> list[Instruction] | None:
        try:
            data = self._read(_READ_BYTES)
        except BlockingIOError:
            return []
        except OSError:
            data = b""
        if data:
            return self._orders.feed(data)
        self._loop.remove(self._sock.fileno())
        self._watched = False
        return None

    def _read_with_descriptors(self, size: int) -> bytes:
        # What comes with a descriptor is never read together with what comes after it. This is not
        # `socket.recv_fds`, which forgets its flags: programs that plugins start would inherit it.
        room, flags = socket.CMSG_SPACE(_DESCRIPTOR.size), socket.MSG_CMSG_CLOEXEC
        data, found, _, _ = self._sock.recvmsg(size, room, flags)
        for _, kind, given in found:
            if kind == socket.SCM_RIGHTS:
                self.descriptors += (each for (each,) in _DESCRIPTOR.iter_unpack(given))
        return data

    def _flush(self) -> None:
        try:
            sent = self._sock.send(self._unsent)
        except BlockingIOError:
            sent = 0
        except OSError:  # the supervisor is gone: this process ends as well
            sent = len(self._unsent)
        del self._unsent[:sent]
        if self._watched:
            wanted = READ | WRITE if self._unsent else READ
            self._loop.modify(self._sock.fileno(), wanted)
