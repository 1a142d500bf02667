"""The other end of a real connection, with a deadline for all that it waits for."""

from __future__ import annotations

import itertools
import re
import select
import socket
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from host.testing.conversation import (
    Exchange,
    NotConformingError,
    check_same,
    matches,
    named,
    shown,
)
from host.testing.machine import Stopwatch, patience
from host.testing.tls_client import TlsClient

_READ_BYTES = 65_536
_SLOW_BYTES = 1000
_SENT_AT_ONCE = 65_536
_STUCK_SECONDS = 0.1


class Peer:
    """A peer that says what its conversation says, and is strict about what comes back.

    A context manager that closes the connection.

    Args:
        sock: the connection.
        seconds: how long a reply may take on an idle machine.
        least: for how many seconds, of any machine, it is waited for at least.
    """

    def __init__(self, sock: socket.socket | TlsClient, seconds: float, least: float = 0.0) -> None:
        self._sock, self._seconds, self._least = sock, seconds, least
        self._received = bytearray()
        self._end: str | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._sock.close()

    def send(self, data: bytes) -> None:
        """Send all of `data`; that the host has ended the connection shows in what comes back."""
        try:
            self._sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            return
        except TimeoutError as error:
            raise NotConformingError(f"what is sent is not read: {shown(data)}") from error

    def finish(self) -> None:
        """Finish sending, and go on receiving: a half-close."""
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:  # it has ended already, which shows in what comes back
            return

    def greeted(self, greeting: bytes | re.Pattern[bytes]) -> None:
        """Wait for the greeting, and with TLS for the handshake before it."""
        if isinstance(self._sock, TlsClient):
            self._sock.meet()
        if isinstance(greeting, bytes):
            self.receive("on connecting", greeting)
            return
        wait = Stopwatch()
        while not greeting.fullmatch(self._received):
            if not self._more(wait):
                wanted = f"what matches {greeting.pattern!r}"
                raise NotConformingError(
                    f"on connecting: expected {wanted}, got {self._story(bytes(self._received))}"
                )
        self._received.clear()

    def hold(self, exchanges: Sequence[Exchange], first: int = 1) -> None:
        """Hold exchanges, one after the other, each in one piece; `first` is the first's number."""
        for number, (request, reply) in enumerate(exchanges, first):
            self.send(request)
            self.receive(named(number, request), reply)

    def receive(self, what: str, expected: bytes) -> None:
        """Wait for so many bytes, and compare; `what` says after what.

        Raises:
            NotConformingError: others come, or not all of them come in time.
        """
        wait = Stopwatch()
        while len(self._received) < len(expected):
            if not expected.startswith(self._received):
                break
            if not self._more(wait):
                wanted, got = shown(expected), self._story(bytes(self._received))
                raise NotConformingError(f"{what}: expected {wanted}, got {got}")
        check_same(what, bytes(self._received[: len(expected)]), expected)
        del self._received[: len(expected)]

    def receive_ready(self) -> None:
        """Take what has come already, so that whoever answers is not held back."""
        self._sock.setblocking(False)
        while self._end is None and self._take(_READ_BYTES):
            pass
        self._sock.settimeout(patience(self._seconds))

    def rest(self, what: str) -> tuple[bytes, str]:
        """Wait for the end of the connection; return what comes before it, and which end it is.

        Returns:
            What had not been received yet, and `the end` or `a reset`.

        Raises:
            NotConformingError: it does not end in time.
        """
        wait = Stopwatch()
        while self._more(wait):
            pass
        if self._end is None:
            got = self._story(bytes(self._received))
            raise NotConformingError(f"{what}: the connection does not end: got {got}")
        rest = bytes(self._received)
        self._received.clear()
        return rest, self._end

    def go_on(self, when: str, sent: bytes, replies: bytes) -> bytes | None:
        """Send what is left of a conversation that may have been ended; `when` is for messages.

        Returns:
            None when all replies came; else what came before the connection ended.

        Raises:
            NotConformingError: neither happens in time.
        """
        self.send(sent)
        wait = Stopwatch()
        while bytes(self._received) != replies and self._more(wait):
            pass
        if bytes(self._received) == replies:
            return None
        if self._end is None:
            wanted, got = shown(replies), self._story(bytes(self._received))
            raise NotConformingError(f"{when}: expected {wanted} or the end, got {got}")
        return bytes(self._received)

    def exchange_slowly(self, sent: bytes, expected: bytes) -> None:
        """Send without reading until nothing more is taken; then read a little, send, and so on.

        Raises:
            NotConformingError: others come, or not all of them come in time.
        """
        self._sock.setblocking(False)
        left, wait = self._send_unread(memoryview(sent)), Stopwatch()
        while len(self._received) < len(expected) and self._end is None:
            if not self._can_go_on(bool(left), self._left(wait)):
                break
            before = len(self._received), len(left)
            left = self._send_some(left)
            self._take(_SLOW_BYTES)
            if (len(self._received), len(left)) != before:
                wait = Stopwatch()
        got = bytes(self._received)
        if len(got) < len(expected) and expected.startswith(got):
            raise NotConformingError(
                f"{len(got)} of {len(expected)} bytes of replies came, {self._last(got)}"
            )
        check_same("all replies", got[: len(expected)], expected)
        del self._received[: len(expected)]

    def _can_go_on(self, sends: bool, seconds: float) -> bool:
        """Wait until something can be received, or sent if something is to be."""
        if isinstance(self._sock, TlsClient):
            if self._sock.pending:
                return True
            sends = sends or self._sock.unsent
        poll = select.poll()
        poll.register(self._sock, select.POLLIN | (select.POLLOUT if sends else 0))
        return bool(poll.poll(seconds * 1000))

    def _send_unread(self, left: memoryview) -> memoryview:
        """Send until the host takes nothing for a moment; return what is left.

        Nobody is told that the host holds a peer back: it just does not read.
        """
        poll = select.poll()
        poll.register(self._sock, select.POLLOUT)
        while left and poll.poll(patience(_STUCK_SECONDS) * 1000):
            left = self._send_some(left)
        return left

    def _send_some(self, left: memoryview) -> memoryview:
        """Send what is taken at once; return what is left."""
        try:
            return left[self._sock.send(left[:_SENT_AT_ONCE]) :] if left else left
        except BlockingIOError:
            return left
        except (BrokenPipeError, ConnectionResetError):  # which shows in what comes back
            return left[:0]

    def _more(self, wait: Stopwatch) -> bool:
        """Receive more; tell whether anything came before the end, and in time."""
        left = self._left(wait)
        if self._end is not None or not left:
            return False
        self._sock.settimeout(left)
        return self._take(_READ_BYTES) or self._more(wait)

    def _left(self, wait: Stopwatch) -> float:
        """Return for how many seconds to wait on."""
        return max(wait.left(self._seconds), self._least - wait.seconds)

    def _take(self, size: int) -> bool:
        """Receive once; tell whether anything came."""
        try:
            data = self._sock.recv(size)
        except (TimeoutError, BlockingIOError):
            return False
        except ConnectionResetError:
            self._end = "a reset"
            return False
        if not data:
            self._end = "the end"
        self._received += data
        return bool(data)

    def _story(self, got: bytes) -> str:
        """Return what came, for a message, with what came after it."""
        return f"{shown(got) if got else 'nothing'}, {self._last(got)}"

    def _last(self, got: bytes) -> str:
        """Return what came after everything else."""
        more = "nothing more" if got else "nothing"
        return f"then {self._end}" if self._end else f"{more} within {self._seconds:g} s"


def is_cut(got: bytes, exchanges: Sequence[Exchange], goodbye: bytes | re.Pattern[bytes]) -> bool:
    """Tell whether `got` is what comes where a connection is ended in good order.

    That is some of the replies, then perhaps a goodbye. Of the first reply it may be a part, since
    there are protocols that answer a request while it comes.
    """
    replies = [reply for _, reply in exchanges]
    ends = {*range(len(replies[0])), *itertools.accumulate(map(len, replies))}
    whole = b"".join(replies)
    return any(
        got[:end] == whole[:end] and (len(got) == end or matches(got[end:], goodbye))
        for end in ends
    )
