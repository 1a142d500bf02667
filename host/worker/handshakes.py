"""TLS handshakes: their bytes are read and sent here, and computed in a thread of their own.

One takes half a millisecond or more, mostly of arithmetic. A burst of them on the loop would hold
up all that are served already. A session is in memory only (host.tls.session), so the thread
touches no socket, and what comes of a connection that has ended meanwhile is dropped. To hand a
step over and to be told of it costs half as much as the step, so one that is alone stays here.
"""

from __future__ import annotations

import functools
import math
import os
import queue
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple, Protocol

from host.runtime.loop import READ, WRITE, Loop
from host.tls.client_hello import ClientHellos
from host.tls.session import Session

_READ_BYTES = 16_384
_MAX_BYTES = 262_144
"""More than a ClientHello and a long chain of certificates."""
_HANDSHAKE_RECORD = 0x16
_FATAL_ALERT = b"\x15\x03\x03\x00\x02\x02"
"""A record of an alert, but for its number (RFC 8446, 5.1 and 6)."""
_UNRECOGNIZED_NAME, _NO_APPLICATION_PROTOCOL = 112, 120
_BUDGET_SECONDS = 0.002
_OUR_REFUSAL = "CALLBACK_FAILED"
"""OpenSSL's reason for a handshake that ServerContext ends, since no name fits."""
_BURST_SECONDS = 0.02
"""How long after the last step of a burst one is not alone: each sleep of the thread costs, too."""


class Computed(NamedTuple):
    """What has come of a step.

    Attributes:
        done: whether the handshake is done.
        cause: why it has failed, or "".
    """

    done: bool
    cause: str


class Step(Protocol):
    """Has steps of handshakes computed."""

    def __call__(self, session: Session, tell: Callable[[Computed], object]) -> Computed | None:
        """Compute one step, and return what has come of it.

        None, if it is computed later: then `tell` is called with that, on the loop.
        """


def _told(_cause: str | None) -> None:
    """Do nothing: how a handshake has gone is told once."""


def _always() -> bool:
    """Let a handshake begin at any time."""
    return True


class Handshake:
    """One handshake, until it is done or has failed.

    Args:
        fd: the non-blocking descriptor, which stays the caller's.
        make: makes the session, once the client has sent something: one that is silent costs no
            more than without TLS.
        loop: the worker's loop.
        step: has steps computed.
        protocols: those of the listener, of which a client must offer one if it offers any
            (RFC 7301, 3.2); none if any will do.
        tell: called with why it has failed, "" if it is done, and None if the peer has gone.
        may_begin: asked when there is something to be read first; if it says no, nothing is read
            until `go_on` is called.

    Attributes:
        session: the session, once the client has sent something.
        has_told: whether it has failed, and the peer has been sent why.
    """

    def __init__(
        self,
        fd: int,
        make: Callable[[], Session],
        loop: Loop,
        step: Step,
        protocols: frozenset[bytes],
        tell: Callable[[str | None], object],
        may_begin: Callable[[], bool] = _always,
    ) -> None:
        self.session: Session | None = None
        self.has_told = False
        self._make, self._may_begin = make, may_begin
        self._fd, self._loop, self._step, self._tell = fd, loop, step, tell
        self._protocols = protocols
        self._hellos = ClientHellos(wants_protocols=bool(protocols))
        self._size = 0
        self._ended = False
        self._watched = 0

    def begin(self, data: bytes = b"") -> None:
        """Watch the descriptor, or go on with what has been read of the handshake already.

        Raises:
            OSError: ENOSPC or ENOMEM (epoll_ctl(2)).
        """
        self._watch(READ)
        if data:
            self._check(data)

    def go_on(self) -> None:
        """Watch the descriptor again: now the handshake may begin."""
        try:
            self._watch(READ)
        except OSError:  # ENOSPC or ENOMEM (epoll_ctl(2))
            self._finish(None)

    def end(self) -> None:
        """Do nothing any more: the descriptor is about to be used or closed by somebody else."""
        self._ended = True
        # Who would be told has this handshake: without a circle it is freed at once, and its
        # session, which is tens of kilobytes.
        self._tell, self._may_begin = _told, _always
        self._unwatch()

    def _watch(self, events: int) -> None:
        if self._watched == events:
            return
        self._unwatch()
        self._loop.add(self._fd, events, self._on_event)
        self._watched = events

    def _unwatch(self) -> None:
        # With a mask of 0 epoll would still report a hang-up, in every turn.
        if self._watched:
            self._watched = 0
            self._loop.remove(self._fd)

    def _on_event(self, mask: int) -> None:
        if mask & WRITE:
            self._go_on()
            return
        if not (self._size or self._may_begin()):
            self._unwatch()
            return
        try:
            data = os.read(self._fd, _READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._check(data)
        else:
            self._finish(None)

    def _check(self, data: bytes) -> None:
        """Take what the client has sent, unless it cannot be a part of a handshake."""
        first = not self._size
        self._size += len(data)
        if first and data[0] != _HANDSHAKE_RECORD:
            self._finish("what it sends is not TLS")
        elif self._size > _MAX_BYTES:
            self._finish("its handshake is too long")
        else:
            self._take(data)

    def _take(self, data: bytes) -> None:
        """Have OpenSSL go on with what the client has sent, unless it would not refuse that.

        It could not decode a name of other bytes, and it ignores protocols that it does not know.
        """
        hellos = self._hellos
        hellos.feed(data)
        if not hellos.name_is_ascii:
            self._refuse(
                _UNRECOGNIZED_NAME, "the host name that it asks for is not ASCII (RFC 6066, 3)"
            )
            return
        if self._protocols and hellos.protocols and self._protocols.isdisjoint(hellos.protocols):
            self._refuse(_NO_APPLICATION_PROTOCOL, "it asks for protocols that are not in alpn")
            return
        if self.session is None:
            self.session = self._make()
        self.session.feed(data)
        computed = self._step(self.session, self._stepped)
        if computed is None:
            self._unwatch()
        else:
            self._stepped(computed)

    def _refuse(self, alert: int, cause: str) -> None:
        """End the handshake, and say why: nothing is encrypted before the answer to a hello."""
        with suppress(OSError):
            if self._flush():
                record = _FATAL_ALERT + bytes((alert,))
                self.has_told = os.write(self._fd, record) == len(record)
        self._finish(cause)

    def _stepped(self, computed: Computed) -> None:
        """Send what a step has made, and wait for the answer to it."""
        if self._ended:
            return
        if computed.cause:
            self.has_told = self._flush() is True  # the alert
            self._finish(computed.cause)
        elif not computed.done:
            self._go_on()
        else:
            self._flush()  # with TLS 1.2 the client waits for it (RFC 5246, 7.3)
            self._finish("")

    def _go_on(self) -> None:
        """Wait for the peer to take or to send something."""
        flushed = self._flush()
        if flushed is None:
            self._finish(None)
            return
        try:
            self._watch(READ if flushed else WRITE)
        except OSError:  # ENOSPC or ENOMEM (epoll_ctl(2))
            self._finish(None)

    def _flush(self) -> bool | None:
        """Send; return whether the kernel has taken all, None if it takes nothing any more."""
        if self.session is None:  # nobody has computed anything yet
            return True
        try:
            return self.session.flush(self._fd)
        except OSError:
            return None

    def _finish(self, cause: str | None) -> None:
        tell = self._tell
        self.end()
        tell(cause)


def compute(session: Session) -> Computed:
    """Go one step on with the handshake of a session."""
    try:
        return Computed(session.step(), "")
    except ssl.SSLError as error:
        if error.reason == _OUR_REFUSAL:
            cause = "it asks for no host name that a certificate has (unknown_name is refuse)"
            return Computed(False, cause)
        return Computed(False, f"its TLS handshake has failed ({error.reason or error})")
    except Exception as error:  # of a callback: this connection only
        return Computed(False, f"its TLS handshake has failed ({error!r})")


class ThreadedSteps:
    """Computes steps in one thread, which begins with the first of them that is not alone.

    One is alone if the turn has had no other, and the thread has none and has been given none for
    `_BURST_SECONDS`. It is computed at once, unless any such step has taken more than the part of a
    turn that handshakes may have: those with an RSA key of 4,096 bits do.

    Args:
        loop: told what has come of them.
        budget: how long a step may take that is computed at once, in seconds of CPU time.
    """

    def __init__(self, loop: Loop, budget: float = _BUDGET_SECONDS) -> None:
        self._loop, self._budget = loop, budget
        self._after = -math.inf  # only in a later turn than this one is a step alone
        self._under_way = 0  # in the thread, or told by it and not heard yet
        self._waiting: queue.SimpleQueue[tuple[Session, Callable[[Computed], object]]]
        self._waiting = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def __call__(self, session: Session, tell: Callable[[Computed], object]) -> Computed | None:
        """Compute one step, or have the thread do so."""
        now = self._loop.now
        if not self._under_way and now > self._after:
            self._after = now
            return self._compute_here(session)
        self._after = max(self._after, now + _BURST_SECONDS)
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="handshakes", daemon=True)
            self._thread.start()
        self._under_way += 1
        self._waiting.put((session, tell))
        return None

    def _compute_here(self, session: Session) -> Computed:
        began = time.thread_time()
        computed = compute(session)
        if time.thread_time() - began > self._budget:
            self._after = math.inf
        return computed

    def _work(self) -> None:
        while True:
            session, tell = self._waiting.get()
            computed = compute(session)
            self._loop.call_from_thread(functools.partial(self._tell, tell, computed))

    def _tell(self, tell: Callable[[Computed], object], computed: Computed) -> None:
        self._under_way -= 1
        tell(computed)


class LoopSteps:
    """Computes steps on the loop, one after the other, for a part of each turn.

    Args:
        loop: the loop.
    """

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._waiting: deque[tuple[Session, Callable[[Computed], object]]] = deque()

    def __call__(self, session: Session, tell: Callable[[Computed], object]) -> None:
        """Have one step computed in one of the next turns."""
        if not self._waiting:
            self._loop.call_from_thread(self._work)
        self._waiting.append((session, tell))

    def _work(self) -> None:
        until = self._loop.time() + _BUDGET_SECONDS
        while self._waiting and self._loop.time() < until:
            session, tell = self._waiting.popleft()
            tell(compute(session))
        if self._waiting:
            self._loop.call_from_thread(self._work)
