"""A conversation: what is sent, what must come back, and what is allowed after a fault."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from host.text import counted

Exchange = tuple[bytes, bytes]
"""A request and its reply."""

_SHOWN = 80


class NotConformingError(Exception):
    """A protocol does not do what its conversation says; the text says where, and what instead."""


@dataclass(frozen=True)
class Conversation:
    """All that is to be known of a protocol to hold a conversation with it, stated once.

    Args:
        exchanges: requests, each with its reply.
        greeting: what a peer is sent when it connects, or a pattern of all of it.
        farewell: a request after whose reply the plugin closes.
        unfinished: the beginning of a message; repeated without end, it is never a whole one, or
            one that is answered.
        once: whether the exchanges can be held a single time only, as when they stop the server or
            register a name. Each time is then with plugins, or a host, that have just started.
        goodbye: what a peer may be sent before the plugin closes because its worker goes away, or a
            pattern of all of it.
        after_fault: what a new connection is sent and answers after a reload, or after its worker
            was killed; None if that is the same as before. Of a conversation that can be held once
            None means that nothing is sent.

    Raises:
        ValueError: there is no exchange, or a request is empty.
        TypeError: a request or a reply is not bytes. Replies that differ from one time to the next
            cannot be stated here.
    """

    exchanges: Sequence[Exchange]
    greeting: bytes | re.Pattern[bytes] = b""
    farewell: Exchange | None = None
    unfinished: bytes = b"x"
    once: bool = False
    goodbye: bytes | re.Pattern[bytes] = b""
    after_fault: Sequence[Exchange] | None = None

    def __post_init__(self) -> None:
        farewell = [self.farewell] if self.farewell else []
        for each in (*self.exchanges, *farewell, *(self.after_fault or ())):
            wrong = [part for part in each if not isinstance(part, bytes)]
            if wrong or len(each) != 2:
                raise TypeError(f"an exchange is a request and its reply, both bytes, not {each!r}")
        if not self.exchanges or not all(request for request, _ in self.exchanges):
            raise ValueError("a conversation has at least one request, and no empty ones")
        if not self.unfinished:
            raise ValueError("the beginning of a message (unfinished) has at least one byte")

    @property
    def requests(self) -> bytes:
        """All requests in one piece."""
        return requests_of(self.exchanges)

    @property
    def replies(self) -> bytes:
        """All replies in one piece."""
        return replies_of(self.exchanges)

    @property
    def again(self) -> Sequence[Exchange]:
        """The exchanges that another connection may have beside the first."""
        return () if self.once else self.exchanges

    @property
    def recovered(self) -> Sequence[Exchange]:
        """The exchanges that a new connection has after a fault."""
        return self.again if self.after_fault is None else self.after_fault

    def times(self, count: int) -> int:
        """Return how many times it is held where it would be held `count` times."""
        return 1 if self.once else count


def requests_of(exchanges: Sequence[Exchange]) -> bytes:
    """Return the requests of exchanges in one piece."""
    return b"".join(request for request, _ in exchanges)


def replies_of(exchanges: Sequence[Exchange]) -> bytes:
    """Return the replies of exchanges in one piece."""
    return b"".join(reply for _, reply in exchanges)


def matches(data: bytes, wanted: bytes | re.Pattern[bytes]) -> bool:
    """Tell whether `data` is what is wanted, all of it."""
    return data == wanted if isinstance(wanted, bytes) else wanted.fullmatch(data) is not None


def check_same(what: str, got: bytes, expected: bytes) -> None:
    """Compare what came with what should have come.

    Raises:
        NotConformingError: they differ; `what` says in what.
    """
    if got != expected:
        pairs = enumerate(zip(got, expected, strict=False))
        shorter = min(len(got), len(expected))
        place = next((at for at, (one, other) in pairs if one != other), shorter)
        beyond = f", differing from byte {place} on" if place else ""
        raise NotConformingError(
            f"{what}: expected {shown(expected, place)}, got {shown(got, place)}{beyond}"
        )


def check_greeting(got: bytes, expected: bytes | re.Pattern[bytes]) -> None:
    """Compare what a peer was sent on connecting with what it should be sent.

    Raises:
        NotConformingError: they differ.
    """
    if isinstance(expected, bytes):
        check_same("on connecting", got, expected)
    elif not expected.fullmatch(got):
        wanted = f"what matches {expected.pattern!r}"
        raise NotConformingError(f"on connecting: expected {wanted}, got {shown(got)}")


def named(number: int, request: bytes) -> str:
    """Return what messages call a request of a conversation; they are counted from 1."""
    return f"request {number}, {shown(request)}"


def shown(data: bytes, around: int = 0) -> str:
    """Return bytes as a message shows them: what is around a place, with the length if cut."""
    start = max(0, around - _SHOWN // 2)
    part = data[start : start + _SHOWN]
    if len(part) == len(data):
        return repr(data)
    return f"{'…' if start else ''}{part!r}… ({counted(len(data), 'byte')})"
