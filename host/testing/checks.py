"""The checks of a protocol in memory, one function each: peers of all kinds, without sockets."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from host.interfaces import CloseReason
from host.testing.connection import FakeConnection
from host.testing.conversation import (
    Conversation,
    NotConformingError,
    check_greeting,
    check_same,
    named,
    shown,
)
from host.testing.harness import Harness, Options
from host.text import counted

MAX_KEPT_BYTES = 2_097_152
_PIECES = 65_536
_OVERSIZE = 8_388_608
_CUTS = 64
_SPLITS = 20
_JUNK_ROUNDS = 100
_SEED = 1
_BEFORE_SECONDS = 5
_HIGH, _LOW, _READ = 16_384, 4096, 4096
_HOLD_BACK = "stop at connection.congested, go on with connection.call_when_writable"

_ENDED_BY_PEER = (CloseReason.PEER_FINISHED, CloseReason.PLUGIN)


@dataclass(frozen=True)
class Subject:
    """What is checked.

    Attributes:
        plugins: what is selected, as with `--plugin`.
        talk: the conversation.
        options: options by the name of the plugin.
        settings: settings by their dotted names, for all checks.
        max_kept: how many bytes a peer may cost whose message does not end.
        most_seconds: how many seconds of CPU time a check may take.
    """

    plugins: tuple[str, ...]
    talk: Conversation
    options: Options
    settings: Mapping[str, object] = field(default_factory=dict)
    max_kept: int = MAX_KEPT_BYTES
    most_seconds: float = 60.0

    def harness(self, **settings: object) -> Harness:
        """Make a harness, started some time ago: workers may have to find each other first."""
        chosen = {**self.settings, **settings}
        made = Harness(*self.plugins, options=self.options, settings=chosen)
        made.start()
        made.advance(_BEFORE_SECONDS)
        return made

    def harnesses(self, count: int) -> Iterator[Harness]:
        """Yield the harness of each of `count` connections: the same one, if that can be."""
        if self.talk.once:
            for _ in range(count):
                with self.harness() as harness:
                    yield harness
        else:
            with self.harness() as harness:
                for _ in range(count):
                    yield harness

    def begin(self, harness: Harness) -> FakeConnection:
        """Connect, and take the greeting."""
        connection = harness.connect()
        check_greeting(connection.take(), self.talk.greeting)
        return connection

    def serves_on(self, harness: Harness, after: str) -> None:
        """See that the worker serves a new connection, with a conversation that nobody has held."""
        connection = self.begin(harness)
        connection.feed(self.talk.requests)
        what = f"on a new connection, after {after}"
        check_same(what, connection.take(), self.talk.replies)
        connection.reset()


def _whole(subject: Subject) -> None:
    with subject.harness() as harness:
        connection = subject.begin(harness)
        for number, (request, reply) in enumerate(subject.talk.exchanges, 1):
            connection.feed(request)
            check_same(named(number, request), connection.take(), reply)


def _byte_by_byte(subject: Subject) -> None:
    with subject.harness() as harness:
        connection = subject.begin(harness)
        for number, (request, reply) in enumerate(subject.talk.exchanges, 1):
            for place in range(len(request)):
                connection.feed(request[place : place + 1])
            check_same(named(number, request), connection.take(), reply)


def _several_at_once(subject: Subject) -> None:
    talk, times = subject.talk, subject.talk.times(3)
    with subject.harness() as harness:
        connection = subject.begin(harness)
        connection.feed(talk.requests * times)
        what = f"all requests in one piece, {times} times"
        check_same(what, connection.take(), talk.replies * times)
    for size in (1, 7):
        with subject.harness(**{"connection.read_size_bytes": size}) as harness:
            connection = subject.begin(harness)
            connection.feed(talk.requests)
            check_same(f"read {counted(size, 'byte')} at a time", connection.take(), talk.replies)


def _split_anywhere(subject: Subject) -> None:
    chance = random.Random(_SEED)
    times = subject.talk.times(2)
    data = subject.talk.requests * times
    for harness in subject.harnesses(_SPLITS):
        connection = subject.begin(harness)
        cuts = sorted(chance.randrange(len(data) + 1) for _ in range(4))
        for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
            connection.feed(data[start:end])
        check_same(f"cut after {cuts} bytes", connection.take(), subject.talk.replies * times)
        connection.reset()


def _close_in_the_middle(subject: Subject) -> None:
    data = subject.talk.requests
    ends = range(0, len(data) + 1, max(1, len(data) // _CUTS))
    ways = [(end, how) for end in ends for how in ("reset", "end of file")]
    for (end, how), harness in zip(ways, subject.harnesses(len(ways)), strict=True):
        connection = subject.begin(harness)
        connection.feed(data[:end])
        if how == "reset":
            connection.reset()
            _check_end(connection, f"a reset after {counted(end, 'byte')}", (CloseReason.RESET,))
        else:
            connection.feed_eof()
            _check_end(connection, f"the end of file after {counted(end, 'byte')}", _ENDED_BY_PEER)
        if (end, how) == ways[-1] and not subject.talk.once:
            subject.serves_on(harness, "connections that ended in the middle")


def _half_close(subject: Subject) -> None:
    with subject.harness() as harness:
        connection = subject.begin(harness)
        connection.window = 0
        connection.feed(subject.talk.requests)
        connection.feed_eof()
        connection.window = None
        what = "the peer has finished sending"
        check_same(what, connection.take(), subject.talk.replies)
        _check_end(connection, "the end of file", _ENDED_BY_PEER)


def _farewell(subject: Subject) -> None:
    if subject.talk.farewell is None:
        return
    request, reply = subject.talk.farewell
    what = f"the farewell {shown(request)}"
    with subject.harness() as harness:
        connection = subject.begin(harness)
        connection.feed(request + subject.talk.requests)
        got = connection.take()
        if connection.was_reset:
            raise NotConformingError(
                f"{what}: the connection was reset, which may cost its reply: use close()"
            )
        if got != reply and got.startswith(reply):
            more = shown(got[len(reply) :])
            raise NotConformingError(f"{what}: more is sent after its reply {reply!r}: {more}")
        check_same(what, got, reply)
        _check_end(connection, what, (CloseReason.PLUGIN,))


def _oversize(subject: Subject) -> None:
    """Send the beginning of a message without end; measure what is kept of it."""
    unfinished = subject.talk.unfinished
    piece = unfinished * max(1, _PIECES // len(unfinished))
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
                    raise NotConformingError(
                        f"{kept} bytes are kept of a message that does not end, "
                        f"{subject.max_kept} are allowed"
                    )
                if connection.reason is not None:
                    break
        finally:
            tracemalloc.stop()
        subject.serves_on(harness, "a message that did not end")


def _slow_reader(subject: Subject) -> None:
    """Pipeline without reading: the peer is to be held back, and to get everything at last."""
    _held_back(subject)
    _goes_on(subject)


def _held_back(subject: Subject) -> None:
    """Send more than is taken before the peer reads, in reads of a few KiB."""
    talk = subject.talk
    times = talk.times((8 * _HIGH) // max(1, len(talk.replies)) + 1)
    biggest = max(len(reply) for _, reply in talk.exchanges)
    with subject.harness(**_marks(_HIGH, _LOW, _READ)) as harness:
        connection = subject.begin(harness)
        connection.window = 0
        connection.feed(talk.requests * times)
        sent = f"a peer that does not read, and has sent the conversation {times} times"
        if connection.reason is not None:
            how = connection.reason.value
            raise NotConformingError(f"{sent}: its connection ended with {how!r}; {_HOLD_BACK}")
        # One read's worth of requests may be answered beyond the mark, if replies are as long as
        # requests; a plugin that makes much of little input stops at `congested`.
        allowed = _HIGH + _READ + 2 * biggest
        if connection.unsent > allowed:
            raise NotConformingError(
                f"{sent}: {connection.unsent} bytes wait for it, {allowed} are allowed; "
                f"{_HOLD_BACK}"
            )
        if len(talk.replies) * times > allowed and not connection.congested:
            raise NotConformingError(
                f"{sent}: it is not held back, though only {connection.unsent} bytes of its "
                f"{len(talk.replies) * times} bytes of replies were written; what is not "
                "written yet has to wait unread, or in a place of limited size"
            )
        connection.feed_eof()
        _take_slowly(connection, talk.replies * times)
        _check_end(connection, "the end of file", _ENDED_BY_PEER)


def _goes_on(subject: Subject) -> None:
    """Send some requests in one read and no more: what was put off is answered all the same."""
    talk = subject.talk
    times = talk.times(10)
    data, replies = talk.requests * times, talk.replies * times
    with subject.harness(**_marks(max(1, len(replies) // 8), 0, len(data))) as harness:
        connection = subject.begin(harness)
        connection.window = 0
        connection.feed(data)
        _take_slowly(connection, replies)


def _marks(high: int, low: int, read_size: int) -> dict[str, object]:
    """Return the settings that say from when on a peer is held back, in bytes."""
    return {
        "connection.high_water_bytes": high,
        "connection.low_water_bytes": low,
        "connection.read_size_bytes": read_size,
    }


def _take_slowly(connection: FakeConnection, expected: bytes) -> None:
    """Have a peer that has not read so far take everything, 1,000 bytes at a time."""
    connection.window = 1000
    received = bytearray()
    while part := connection.take():
        received += part
    got = bytes(received)
    if got != expected and expected.startswith(got):
        raise NotConformingError(
            f"a peer that reads again gets {len(got)} of {len(expected)} bytes of replies, and "
            f"then nothing more; {_HOLD_BACK}"
        )
    check_same("a peer that reads again", got, expected)


def _junk(subject: Subject) -> None:
    chance = random.Random(_SEED)
    for number, harness in enumerate(subject.harnesses(_JUNK_ROUNDS)):
        junk = _some_junk(chance, subject.talk.requests)
        connection = harness.connect()
        try:
            for piece in _pieces(chance, junk):
                connection.feed(piece)
            if connection.reason is None:
                connection.feed_eof()
        except Exception as error:
            error.add_note(f"round {number}, after {shown(junk)}")
            raise
        _check_end(connection, f"round {number}, {shown(junk)}", _ENDED_BY_PEER)
        if number == _JUNK_ROUNDS - 1 and not subject.talk.once:
            subject.serves_on(harness, "junk")


def _drain(subject: Subject) -> None:
    with subject.harness() as harness:
        idle, middle = subject.begin(harness), subject.begin(harness)
        middle.feed(subject.talk.exchanges[0][0][:-1])
        harness.drain(seconds=5)
        harness.advance(5)
        allowed = (CloseReason.PLUGIN, CloseReason.DEADLINE, CloseReason.TIMEOUT)
        _check_end(idle, "draining", allowed)
        _check_end(middle, "draining in the middle of a request", allowed)


CHECKS: dict[str, Callable[[Subject], None]] = {
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


def _check_end(connection: FakeConnection, what: str, allowed: Sequence[CloseReason]) -> None:
    """See that a connection has ended, for one of the reasons that are allowed."""
    connection.fake.run()
    endings = connection.fake.endings.get(connection, [])
    if not endings:
        raise NotConformingError(f"{what}: the connection is still open")
    if len(endings) > 1:
        told = counted(len(endings), "time")
        raise NotConformingError(f"{what}: on_close was told {told}, not once")
    if endings[0] not in allowed:
        expected = " or ".join(repr(reason.value) for reason in allowed)
        raise NotConformingError(
            f"{what}: the connection ended with {endings[0].value!r}, not {expected}"
        )
