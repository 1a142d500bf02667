"""One process of a pool, as its worker sees it: spawned, given one task at a time, and killed."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

from host.offload.child import ANSWERS, FOLLOWED, HEADER, LAST, LINEAGE, SETUP, SOCKET, TASK
from host.runtime.loop import READ, WRITE, Loop
from host.runtime.processes import OOM_HIGHEST, Exit, offer_to_oom_killer, reap_one
from host.runtime.scheduling import groups_by_session

_FIRST_PIECE = 16_384
"""How many bytes are read where a frame begins: most are whole then. A buffer of more than 128 KiB
takes glibc a mapping of its own (mallopt(3), M_MMAP_THRESHOLD), four times what the call costs."""
_PIECE = 262_144
"""How many bytes of a frame that has begun are read in one go: what a socket's buffer takes."""
_SMALL = 65_536
"""What is less is copied behind its header rather than sent in two pieces."""
_IDLE = -1


class Start(NamedTuple):
    """How the processes of a pool are started.

    Attributes:
        program: the descriptor of a file with the text of `child`, from its beginning.
        setup: what each is told first (`child.Setup`), pickled.
        lineage: the descriptor by which the supervisor tells what they are; None for none.
        title: what the list of processes shows behind the interpreter.
        poll_seconds: for how long worker and process look for what they wait for before they sleep.
    """

    program: int
    setup: bytes
    lineage: int | None
    title: str
    poll_seconds: float = 0.0


class PoolProcess:
    """A process of a pool.

    Its end shows in the end of its pid descriptor (pidfd_open(2)) and not in that of its socket,
    which a process that a task has started may have, too.

    Args:
        start: how it is started.
        loop: the worker's loop.
        on_frame: called with this object, the kind of a frame, and what it has.
        on_end: called with this object and with how the process has ended, once.

    Attributes:
        pid: its process id.
        task: what it does now; None if it has nothing to do.
        has_worked: whether it has done a task.
        was_sent: whether the kernel has taken anything of its task for it.
        is_ready: whether it has begun, so that it can do tasks.
        is_leaving: whether it has said that it ends, or is killed with a task.

    Raises:
        OSError: it cannot be started.
    """

    __slots__ = (
        "_data",
        "_kind",
        "_loop",
        "_on_end",
        "_on_frame",
        "_pidfd",
        "_reads",
        "_size",
        "_sock",
        "_start_of_frame",
        "_unsent",
        "has_worked",
        "is_leaving",
        "is_ready",
        "pid",
        "task",
        "was_sent",
    )

    def __init__(
        self,
        start: Start,
        loop: Loop,
        on_frame: Callable[[PoolProcess, int, bytes | bytearray], object],
        on_end: Callable[[PoolProcess, Exit], object],
    ) -> None:
        self._loop, self._on_frame, self._on_end = loop, on_frame, on_end
        self.task: Any = None
        self.is_ready = self.is_leaving = self.has_worked = self.was_sent = False
        self._start_of_frame = b""
        self._kind, self._size = _IDLE, 0
        self._data = bytearray()  # of a frame that is not complete
        self._unsent: list[memoryview] = []
        self._sock, other = socket.socketpair()
        self._pidfd, self._reads = -1, READ
        try:
            with other:
                self.pid = _spawn(start, other)
            self._pidfd = os.pidfd_open(self.pid)
            self._sock.setblocking(False)
            loop.add(self._sock.fileno(), READ, self._on_event)
            loop.add(self._pidfd, READ, lambda _: self._ended())
        except OSError:
            self._sock.close()  # what was started ends by that
            raise
        self._send(SETUP, start.setup)

    def __repr__(self) -> str:
        return f"<pool process {self.pid}>"

    def give(self, task: Any, *, is_followed: bool) -> None:
        """Give it a task; it has none.

        Args:
            task: the task.
            is_followed: whether others wait.
        """
        self.task, self.was_sent = task, False
        function, rest = task.work
        self._send(TASK | FOLLOWED if is_followed else TASK, rest, function)

    def hold(self) -> None:
        """Take nothing more from it, until `go_on` is called: then it soon waits."""
        self._read(0)

    def go_on(self) -> None:
        """Take what it sends again."""
        self._read(READ)

    def kill(self) -> None:
        """Kill it; `on_end` is called when it has ended. Harmless if it has ended."""
        with suppress(OSError):  # it has ended, or is another user's by now
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def close(self) -> None:
        """Have nothing to do with it any more; it ends when it is idle."""
        if self._pidfd >= 0:
            self._loop.remove(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1
        self._leave_socket()

    def close_in_fork(self) -> None:
        """Close the descriptors, in a child that a plugin has forked."""
        self._sock.close()
        if self._pidfd >= 0:
            os.close(self._pidfd)

    def wait(self, seconds: float) -> None:
        """Wait so long until it has ended after `kill`, and reap it.

        One that has no CPU to end on is left to who takes over the worker's children.
        """
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        if poll.poll(seconds * 1000):
            reap_one(self.pid)

    def _send(self, kind: int, payload: bytes, first: bytes = b"") -> None:
        """Send what the kernel takes of a frame, and keep the rest.

        Args:
            kind: its kind.
            payload: what it has; if that is large it is not copied.
            first: what it has before that.
        """
        header = HEADER.pack(kind, len(first) + len(payload)) + first
        for piece in (header + payload,) if len(payload) < _SMALL else (header, payload):
            sent = 0 if self._unsent else self._write(piece)
            if sent < len(piece):
                if not self._unsent:
                    self._loop.modify(self._sock.fileno(), self._reads | WRITE)
                self._unsent.append(memoryview(piece)[sent:])

    def _send_unsent(self) -> None:
        unsent = self._unsent
        while unsent:
            sent = self._write(unsent[0])
            if sent < len(unsent[0]):
                unsent[0] = unsent[0][sent:]
                return
            del unsent[0]
        self._loop.modify(self._sock.fileno(), self._reads)

    def _read(self, events: int) -> None:
        """Watch for what it sends, or do not; harmless if it has ended."""
        if self._reads != events and self._sock.fileno() >= 0:
            self._reads = events
            self._loop.modify(self._sock.fileno(), events | (WRITE if self._unsent else 0))

    def _write(self, data: bytes | memoryview) -> int:
        """Send what the kernel takes; return how much that was."""
        try:
            sent = self._sock.send(data)
        except BlockingIOError:
            return 0
        except OSError:  # it has ended, which is told elsewhere
            return len(data)
        self.was_sent = True
        return sent

    def _on_event(self, mask: int) -> None:
        if mask & WRITE:
            self._send_unsent()
        if mask & ~WRITE and not self._receive():
            self._leave_socket()
            if not self.is_leaving:
                self.kill()

    def _receive(self) -> bool:
        """Read once, and hand on the frames that are complete; False at the end."""
        try:
            if self._kind != _IDLE:
                # It grows with what comes: a broken process may say any length.
                more = self._sock.recv(min(_PIECE, self._size - len(self._data)))
                self._data += more
                if len(self._data) == self._size:
                    kind, frame = self._kind, self._data
                    self._kind, self._data = _IDLE, bytearray()
                    self._on_frame(self, kind, frame)
                return bool(more)
            data = self._sock.recv(_FIRST_PIECE)
        except BlockingIOError:
            return True
        except OSError:
            return False
        if not data:
            return False
        self._parse(self._start_of_frame + data if self._start_of_frame else data)
        return True

    def _parse(self, data: bytes) -> None:
        """Hand on the frames in `data`, and keep the rest."""
        place, end = 0, len(data)
        while end - place >= HEADER.size:
            kind, size = HEADER.unpack_from(data, place)
            if kind & ~LAST not in ANSWERS:  # a task has written to the socket
                self.kill()
                self._leave_socket()  # nobody knows whose answer the next one is
                return
            start = place + HEADER.size
            place = start + size
            if place == end:  # as nearly always
                self._start_of_frame = b""
                self._on_frame(self, kind, data[start:])
                return
            if place > end:
                self._data += data[start:]
                self._kind, self._size = kind, size
                break
            self._on_frame(self, kind, data[start:place])
        self._start_of_frame = data[place:]

    def _leave_socket(self) -> None:
        if self._sock.fileno() >= 0:
            self._loop.remove(self._sock.fileno())
            self._sock.close()

    def _ended(self) -> None:
        """Take what it has still sent, and tell of its end."""
        while self._sock.fileno() >= 0:
            waits = select.poll()
            waits.register(self._sock.fileno(), select.POLLIN)
            if not waits.poll(0) or not self._receive():
                self._leave_socket()
        self.close()
        self._on_end(self, reap_one(self.pid))


def _spawn(start: Start, sock: socket.socket) -> int:
    """Start an interpreter; return its pid.

    posix_spawn(3) neither copies the worker nor runs any of its code in the new process, which
    would not be safe beside threads. Descriptors are close-on-exec; the child closes all others.

    Raises:
        OSError: EAGAIN, ENOMEM, or there is no interpreter any more.
    """
    options = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    # Safe path: nothing that it begins with comes from the working directory.
    arguments = [sys.executable, *options, "-P", "-", start.title, str(os.getpid())]
    # Opened anew, since all that have one open file would read it together (open(2)).
    program = f"/proc/self/fd/{start.program}"
    descriptors: list[Any] = [
        (os.POSIX_SPAWN_OPEN, 0, program, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_DUP2, sock.fileno(), SOCKET),
    ]
    if start.lineage is not None:
        descriptors.append((os.POSIX_SPAWN_DUP2, start.lineage, LINEAGE))
        arguments.append("lineage")
    pid = os.posix_spawn(
        sys.executable,
        arguments,
        os.environ,
        file_actions=descriptors,
        setsid=groups_by_session(),  # see `have_session_give_way`
        setsigmask=[],
        setsigdef=[signal.SIGPIPE],
    )
    # Here and not there: an interpreter takes its first megabytes before it runs a line. By all
    # there is: a worker has three times the memory of a process that begins.
    offer_to_oom_killer(f"/proc/{pid}/oom_score_adj", OOM_HIGHEST)
    return pid
