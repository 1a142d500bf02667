"""The conformance check: what every protocol plugin should do, whatever it speaks."""

from __future__ import annotations

import random
import re
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from host.interfaces import CloseReason
from host.testing.connection import FakeConnection
from host.testing.harness import Harness, Options
from host.text import counted

BusRouter = tuple[bytes, bytes]
"""A request and its reply."""

_SHOWN = 80
_PIECES = 65_536
_OVERSIZE = 8_388_608
_CUTS = 64
_SPLITS = 20
_JUNK_ROUNDS = 100
_SEED = 1
_BEFORE_SECONDS = 5

_ENDED_BY_PEER = (CloseReason.PEER_FINISHED, CloseReason.PLUGIN)


class _NotConformingError(Exception):
    """A check has found something; its text says what."""


@dataclass(frozen=True)
class _Subject:
    """What is checked."""

    plugins: tuple[str, ...]
    conversation: tuple[BusRouter, ...]
    greeting: bytes | re.Pattern[bytes]
    farewell: BusRouter | None
    unfinished: bytes
    max_kept: int
    options: Options

    @property
    def requests(self) -> bytes:
        return b"".join(request for request, _ in self.conversation)

    @property
    def replies(self) -> bytes:
        return b"".join(reply for _, reply in self.conversation)

    def harness(self, **settings: object) -> Harness:
        """Make a harness, started some time ago: workers may have to find each other first."""
        made = Harness(*self.plugins, options=self.options, settings=settings)
        made.start()
        made.advance(_BEFORE_SECONDS)
        return made

    def begin(self, harness: Harness) -> FakeConnection:
        """Connect, and take the greeting."""
        connection = harness.connect()
        greeting = connection.take()
        if isinstance(self.greeting, bytes):
            _same("on connecting", greeting, self.greeting)
        elif not self.greeting.fullmatch(greeting):
            wanted = f"what matches {self.greeting.pattern!r}"
            raise _NotConformingError(f"on connecting: expected {wanted}, got {_shown(greeting)}")
        return connection

    def serves_on(self, harness: Harness, after: str) -> None:
        """See that the worker serves a new connection."""
        connection = self.begin(harness)
        connection.feed(self.requests)
        _same(f"on a new connection, after {after}", connection.take(), self.replies)
        connection.reset()


def check_protocol(
    selection: str | Sequence[str],
    conversation: Sequence[BusRouter],
    *,
    greeting: bytes | re.Pattern[bytes] = b"",
    farewell: BusRouter | None = None,
    unfinished: bytes = b"x",
    max_kept_bytes: int = 2_097_152,
    options: Options | None = None,
) -> None:
    """Check that a protocol plugin deals well with whatever peers do.

    No sockets are involved and nothing is left to chance: what fails once fails each time.

    Args:
        selection: the plugin, or all the plugins that are needed, as with `--plugin`; the first
            protocol among them is checked.
        conversation: requests, each with its reply. It is held many times, also several times on
            one connection, and must have the same replies each time.
        greeting: what a peer is sent when it connects, or a pattern of all of it.
        farewell: a request after whose reply the plugin closes.
        unfinished: the beginning of a message; repeated without end, it is never a whole one, or
            one that is answered.
        max_kept_bytes: how much memory a peer may cost who sends 8 MiB of `unfinished`.
        options: options by the name of the plugin.

    Raises:
        AssertionError: with each check that failed, and in what.
    """
    plugins = (selection,) if isinstance(selection, str) else tuple(selection)
    if not conversation or not all(request for request, _ in conversation):
        raise ValueError("a conversation has at least one request, and no empty ones")
    subject = _Subject(
        plugins,
        tuple(conversation),
        greeting,
        farewell,
        unfinished,
        max_kept_bytes,
        options or {},
    )
    problems = []
    for name, check in CHECKS.items():
        if problem := _problem(check, subject):
            problems.append(f"{name}: {problem}")
        if problems and name == "whole":
            problems.append("the other checks have no sense before the conversation is right")
            break
    if problems:
        raise AssertionError("\n  ".join([f"{' '.join(plugins)} does not conform:", *problems]))


def _problem(check: Callable[[_Subject], None], subject: _Subject) -> str | None:
    """Return what a check has found, or None."""
    try:
        check(subject)
    except _NotConformingError as error:
        return str(error)
    except Exception as error:
        said = [f"{type(error).__name__}: {error}", *getattr(error, "__notes__", ())]
        return "; ".join(said)
    return None


def _whole(subject: _Subject) -> None:
    with subject.harness() as harness:
        connection = subject.begin(harness)
        for number, (request, reply) in enumerate(subject.conversation, 1):
            connection.feed(request)
            _same(f"request {number}, {_shown(request)}", connection.take(), reply)


def _byte_by_byte(subject: _Subject) -> None:
    with subject.harness() as harness:
        connection = subject.begin(harness)
        for number, (request, reply) in enumerate(subject.conversation, 1):
            for place in range(len(request)):
                connection.feed(request[place : place + 1])
            _same(f"request {number}, {_shown(request)}", connection.take(), reply)


def _several_at_once(subject: _Subject) -> None:
    with subject.harness() as harness:
        connection = subject.begin(harness)
        connection.feed(subject.requests * 3)
        _same("all requests in one piece, three times", connection.take(), subject.replies * 3)
    for size in (1, 7):
        with subject.harness(**{"connection.read_size_bytes": size}) as harness:
            connection = subject.begin(harness)
            connection.feed(subject.requests)
            _same(f"read {counted(size, 'byte')} at a time", connection.take(), subject.replies)


def _split_anywhere(subject: _Subject) -> None:
    chance = random.Random(_SEED)
    data = subject.requests * 2
    with subject.harness() as harness:
        for _ in range(_SPLITS):
            connection = subject.begin(harness)
            cuts = sorted(chance.randrange(len(data) + 1) for _ in range(4))
            for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
                connection.feed(data[start:end])
            _same(f"cut after {cuts} bytes", connection.take(), subject.replies * 2)
            connection.reset()


def _close_in_the_middle(subject: _Subject) -> None:
    data = subject.requests
    step = max(1, len(data) // _CUTS)
    with subject.harness() as harness:
        for end in range(0, len(data) + 1, step):
            for how in ("reset", "end of file"):
                connection = subject.begin(harness)
                connection.feed(data[:end])
                if how == "reset":
                    connection.reset()
                    _ended(
                        connection, f"a reset after {counted(end, 'byte')}", (CloseReason.RESET,)
                    )
                else:
                    connection.feed_eof()
                    _ended(
                        connection, f"the end of file after {counted(end, 'byte')}", _ENDED_BY_PEER
                    )
        subject.serves_on(harness, "connections that ended in the middle")


def _half_close(subject: _Subject) -> None:
    with subject.harness() as harness:
        connection = subject.begin(harness)
        connection.window = 0
        connection.feed(subject.requests)
        connection.feed_eof()
        connection.window = None
        _same("the peer has finished sending", connection.take(), subject.replies)
        _ended(connection, "the end of file", _ENDED_BY_PEER)


def _farewell(subject: _Subject) -> None:
    if subject.farewell is None:
        return
    request, reply = subject.farewell
    with subject.harness() as harness:
        connection = subject.begin(harness)
        connection.feed(request + subject.requests)
        _same("nothing is answered after the farewell", connection.take(), reply)
        _ended(connection, f"the farewell {_shown(request)}", (CloseReason.PLUGIN,))


def _oversize(subject: _Subject) -> None:
    """Send the beginning of a message without end; measure what is kept of it."""
    piece = subject.unfinished * max(1, _PIECES // len(subject.unfinished))
    with subject.harness() as harness:
        connection = subject.begin(harness)
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            for _ in range(_OVERSIZE // len(piece)):
                connection.feed(piece)
                connection.take()
                kept = tracemalloc.get_traced_memory()[0] - before
                if kept > subject.max_kept:
                    raise _NotConformingError(
                        f"{kept} bytes are kept of a message that does not end, "
                        f"{subject.max_kept} are allowed"
                    )
                if connection.reason is not None:
                    break
        finally:
            tracemalloc.stop()
        subject.serves_on(harness, "a message that did not end")


def _slow_reader(subject: _Subject) -> None:
    """Pipeline without reading: the peer is to be held back, and to get everything at last."""
    high, low = 16_384, 4096
    biggest = max(len(reply) for _, reply in subject.conversation)
    marks: dict[str, object] = {
        "connection.high_water_bytes": high,
        "connection.low_water_bytes": low,
        "connection.read_size_bytes": 4096,
    }
    rounds = (8 * high) // max(1, len(subject.replies)) + 1
    with subject.harness(**marks) as harness:
        connection = subject.begin(harness)
        connection.window = 0
        connection.feed(subject.requests * rounds)
        # One read's worth of requests may be answered beyond the mark, if replies are as long as
        # requests; a plugin that makes much of little input stops at `congested`.
        allowed = high + 4096 + 2 * biggest
        if connection.unsent > allowed:
            raise _NotConformingError(
                f"{connection.unsent} bytes wait for a peer that does not read, {allowed} are "
                "allowed: stop at connection.congested, go on with connection.call_when_writable"
            )
        if subject.replies and not connection.congested:
            raise _NotConformingError(
                f"a peer that does not read is not held back: {rounds} times the conversation was "
                f"sent, {connection.unsent} bytes wait"
            )
        connection.feed_eof()
        connection.window = 1000
        received = bytearray()
        while part := connection.take():
            received += part
        _same(f"{rounds} times the conversation", bytes(received), subject.replies * rounds)
        _ended(connection, "the end of file", _ENDED_BY_PEER)


def _junk(subject: _Subject) -> None:
    chance = random.Random(_SEED)
    with subject.harness() as harness:
        for number in range(_JUNK_ROUNDS):
            junk = _some_junk(chance, subject.requests)
            connection = harness.connect()
            try:
                for piece in _pieces(chance, junk):
                    connection.feed(piece)
                if connection.reason is None:
                    connection.feed_eof()
            except Exception as error:
                error.add_note(f"round {number}, after {_shown(junk)}")
                raise
            _ended(connection, f"round {number}, {_shown(junk)}", _ENDED_BY_PEER)
        subject.serves_on(harness, "junk")


def _drain(subject: _Subject) -> None:
    with subject.harness() as harness:
        idle, middle = subject.begin(harness), subject.begin(harness)
        middle.feed(subject.conversation[0][0][:-1])
        harness.drain(seconds=5)
        harness.advance(5)
        allowed = (CloseReason.PLUGIN, CloseReason.DEADLINE)
        _ended(idle, "draining", allowed)
        _ended(middle, "draining in the middle of a request", allowed)


CHECKS: dict[str, Callable[[_Subject], None]] = {
    "whole": _whole,
    "byte by byte": _byte_by_byte,
    "several at once": _several_at_once,
    "split anywhere": _split_anywhere,
    "close in the middle": _close_in_the_middle,
    "half-close": _half_close,
    "farewell": _farewell,
    "oversize": _oversize,
    "slow reader": _slow_reader,
    "junk": _junk,
    "drain": _drain,
}
"""All checks by the names that messages have."""


def _some_junk(chance: random.Random, requests: bytes) -> bytes:
    """Return random bytes, or the requests with some of their bytes changed, lost or doubled."""
    if chance.random() < 0.5:
        return chance.randbytes(chance.randrange(1, 2000))
    data = bytearray(requests)
    for _ in range(chance.randrange(1, 6)):
        place = chance.randrange(len(data)) if data else 0
        match chance.randrange(3):
            case 0:
                data[place : place + 1] = chance.randbytes(1)
            case 1:
                del data[place : place + chance.randrange(1, 10)]
            case _:
                data[place:place] = data[place : place + chance.randrange(1, 10)]
    return bytes(data)


def _pieces(chance: random.Random, data: bytes) -> Iterator[bytes]:
    place = 0
    while place < len(data):
        size = chance.choice((1, 3, 50, 5000))
        yield data[place : place + size]
        place += size


def _same(what: str, got: bytes, expected: bytes) -> None:
    if got != expected:
        pairs = enumerate(zip(got, expected, strict=False))
        shorter = min(len(got), len(expected))
        place = next((at for at, (one, other) in pairs if one != other), shorter)
        beyond = f", differing from byte {place} on" if place else ""
        raise _NotConformingError(
            f"{what}: expected {_shown(expected, place)}, got {_shown(got, place)}{beyond}"
        )


def _ended(connection: FakeConnection, what: str, allowed: Sequence[CloseReason]) -> None:
    connection.fake.run()
    endings = connection.fake.endings.get(connection, [])
    if len(endings) != 1:
        raise _NotConformingError(
            f"{what}: on_close was told {counted(len(endings), 'time')}, not once"
        )
    if endings[0] not in allowed:
        expected = " or ".join(repr(reason.value) for reason in allowed)
        raise _NotConformingError(
            f"{what}: the connection ended with {endings[0].value!r}, not {expected}"
        )


def _shown(data: bytes, around: int = 0) -> str:
    """Return bytes as a message shows them: what is around a place, with the length if cut."""
    start = max(0, around - _SHOWN // 2)
    part = data[start : start + _SHOWN]
    if len(part) == len(data):
        return repr(data)
    return f"{'…' if start else ''}{part!r}… ({counted(len(data), 'byte')})"
