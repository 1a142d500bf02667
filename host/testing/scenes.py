"""The scenes of a chaos run, one function each: peers that are slow or odd, faults of the host."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from host.testing.checks import CHECKS, Subject
from host.testing.conversation import (
    NotConformingError,
    check_same,
    replies_of,
    requests_of,
    shown,
)
from host.testing.peer import Peer, is_cut
from host.testing.stage import Stage

_SLOW_BYTES = 1_048_576
_MOST_BYTES = 4_194_304
_PIECES = 3
_CONNECTIONS = 12
_MARKS: Mapping[str, object] = {
    "connection.high_water_bytes": 16_384,
    "connection.low_water_bytes": 4096,
    # Everybody is told at once that a worker goes away.
    "lifecycle.drain_spread_seconds": 0,
    "lifecycle.quiet_seconds": 0.05,
}


@dataclass(frozen=True)
class Scene:
    """What is done to a host while a conversation is held.

    Attributes:
        name: what tables call it.
        play: does it; raises NotConformingError if the protocol does not hold.
        settings: the settings of the host that it needs, by their dotted names.
        in_memory: the check that does the same without a host, or None.
    """

    name: str
    play: Callable[[Stage], None]
    settings: Mapping[str, object] = field(default_factory=lambda: _MARKS)
    in_memory: Callable[[Subject], None] | None = None


def _whole(stage: Stage) -> None:
    with stage.peer() as peer:
        peer.hold(stage.talk.exchanges)


def _byte_by_byte(stage: Stage) -> None:
    data = stage.talk.requests
    middle = len(data) // 2
    with stage.peer() as peer:
        for place in range(len(data)):
            if place == middle:
                stage.serves(stage.talk.again, "while another is in the middle of a request")
            peer.send(data[place : place + 1])
            peer.receive_ready()
        peer.receive("each byte by itself", stage.talk.replies)


def _in_one_piece(stage: Stage) -> None:
    times = stage.talk.times(_PIECES)
    with stage.peer() as peer:
        peer.send(stage.talk.requests * times)
        what = f"all requests in one piece, {times} times"
        peer.receive(what, stage.talk.replies * times)


def _slow_reader(stage: Stage) -> None:
    talk = stage.talk
    times = _SLOW_BYTES // max(1, len(talk.replies)) + 1
    times = talk.times(min(times, _MOST_BYTES // len(talk.requests) + 1))
    with stage.peer() as peer:
        peer.exchange_slowly(talk.requests * times, talk.replies * times)


def _half_close(stage: Stage) -> None:
    with stage.peer() as peer:
        peer.send(stage.talk.requests)
        peer.finish()
        what = "the peer has finished sending"
        got, end = peer.rest(what)
        check_same(what, got, stage.talk.replies)
        if end != "the end":
            raise NotConformingError(f"{what}: all replies came, and then {end}")


def _descriptors_closed(stage: Stage) -> None:
    """Count what connections leave behind: those that end well, in the middle, and by a reset."""
    talk = stage.talk
    stage.serves(talk.again, "before the count")
    before = stage.open_descriptors()
    for number in range(_CONNECTIONS):
        with stage.peer() as peer:
            peer.hold(talk.again)
            peer.send(talk.requests[:-1] if number % 2 and not talk.once else b"")
    if left := stage.left_open(before, _CONNECTIONS):
        raise NotConformingError(
            f"{_CONNECTIONS} connections have ended, and the worker has {len(left)} descriptors "
            f"more than before, such as {left[-1]}"
        )


def _worker_stopped(stage: Stage) -> None:
    """Send everything to workers that are stopped; once they go on they answer it."""
    with stage.peer() as peer, ExitStack() as later:
        with stage.stopped_workers():
            peer.send(stage.talk.requests)
            waiting = later.enter_context(stage.connect())
        peer.receive("workers were stopped, and go on", stage.talk.replies)
        waiting.greeted(stage.talk.greeting)
        waiting.hold(stage.talk.again)


def _descriptors_exhausted(stage: Stage) -> None:
    """Go on with an open connection while nobody can be accepted, and serve the others later."""
    # A call that has no descriptor for a file of its own raises, and may end its connection.
    stage.allow("hook_failed")
    with _middle(stage) as middle, ExitStack() as later:
        with stage.no_descriptors():
            waiting = later.enter_context(stage.connect())
            stage.wait_for("accept_failed")
            middle.go_on("without a free descriptor")
        waiting.greeted(stage.talk.greeting)
        waiting.hold(stage.talk.again)


def _reload(stage: Stage) -> None:
    """Reload in the middle: the connection goes on or is ended whole, and new ones are served."""
    with _middle(stage) as middle:
        stage.reload()
        middle.go_on("after a reload")
    stage.serves(stage.talk.recovered, "after a reload")


def _worker_killed(stage: Stage) -> None:
    """Kill the workers in the middle: no half reply is made up, and new connections are served."""
    with _middle(stage) as middle:
        stage.kill_workers()
        what = "its worker was killed in the middle of a request"
        got, _ = middle.peer.rest(what)
        check_same(what, got, replies_of(middle.left)[: len(got)])
    stage.wait_for("worker_ready", count=len(stage.host.workers))
    stage.serves(stage.talk.recovered, "after its worker was killed")


class _Middle:
    """A peer in the middle of a conversation: with some exchanges held, and half a request sent."""

    def __init__(self, stage: Stage, peer: Peer) -> None:
        exchanges = stage.talk.exchanges
        held = len(exchanges) // 2
        self.peer, self.left, self._goodbye = peer, exchanges[held:], stage.talk.goodbye
        self._sent = len(self.left[0][0]) // 2
        peer.hold(exchanges[:held])
        peer.send(self.left[0][0][: self._sent])

    def go_on(self, when: str) -> None:
        """Send the rest; the replies come, or the connection ends without a wrong one."""
        sent, replies = requests_of(self.left)[self._sent :], replies_of(self.left)
        cut = self.peer.go_on(when, sent, replies)
        if cut is not None and not is_cut(cut, self.left, self._goodbye):
            raise NotConformingError(
                f"{when} a connection was ended, but neither after a whole reply nor with the "
                f"goodbye: expected {shown(replies)}, got {shown(cut)}"
            )


@contextmanager
def _middle(stage: Stage) -> Iterator[_Middle]:
    """Connect, hold half of the conversation, and disconnect at the end."""
    with stage.peer() as peer:
        yield _Middle(stage, peer)


SCENES = (
    Scene("whole", _whole, in_memory=CHECKS["whole"]),
    Scene(
        "byte by byte",
        _byte_by_byte,
        # The kernel puts bytes together; read one by one they are apart again.
        {**_MARKS, "connection.read_size_bytes": 1},
        CHECKS["byte by byte"],
    ),
    Scene("in one piece", _in_one_piece, in_memory=CHECKS["several at once"]),
    Scene("slow reader", _slow_reader, in_memory=CHECKS["slow reader"]),
    Scene("half-close", _half_close, in_memory=CHECKS["half-close"]),
    Scene("descriptors closed", _descriptors_closed),
    Scene("descriptors exhausted", _descriptors_exhausted),
    Scene("worker stopped", _worker_stopped),
    Scene("reload", _reload, in_memory=CHECKS["drain"]),
    Scene("worker killed", _worker_killed),
)
"""All scenes, in the order of the table's rows."""
