"""The supervisor's side of the bus: the channels to the workers, with the hub between them."""

from __future__ import annotations

import math
import select
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple, Protocol

from host.bus.frames import (
    BRIDGE,
    DELIVERIES,
    KIND_AT,
    PUBLICATIONS,
    BadFrameError,
    Channel,
    Frame,
    Kind,
)
from host.bus.hub import Hub, Send
from host.runtime.loop import READ, WRITE, Loop
from host.telemetry.emitter import Telemetry
from host.telemetry.events import BUS_DROPPED

_TURN = 256
"""How much is passed on in one turn, in frames and pieces of 4 KiB that come and go: 0.5 ms."""

_LAST_READS = 4
"""How often the socket of a worker that has ended is read: more than it has room for, and not for
ever where a child of the worker writes to it.
"""


class _AnyHub(Protocol):
    """What knows who hears what: `Hub`, or `RemoteHub`."""

    @property
    def node(self) -> str: ...

    def join(self, member: int) -> None: ...

    def leave(self, member: int) -> None: ...

    def receive(self, member: int, frame: Frame) -> None: ...

    def lose_bridge(self, cause: str) -> None: ...

    def state(self) -> Any: ...

    def restore(self, state: Any) -> None: ...


class _Cells(Protocol):
    """Counters in shared memory, by their numbers."""

    def __getitem__(self, number: int, /) -> int: ...

    def __setitem__(self, number: int, value: int, /) -> None: ...


class MessageCounts(NamedTuple):
    """Where the messages of one worker are counted.

    Attributes:
        cells: the counters.
        published: which of them counts those that the hub has taken of it.
        delivered: those that were queued for it.
        dropped: those that were not, since its queue was full.
    """

    cells: _Cells
    published: int
    delivered: int
    dropped: int


class BusRouter:
    """Passes frames between the workers, and never waits for any of them.

    What workers say waits until the end of the turn, and only so much of it is passed on in each:
    connections are handed out before.

    A worker that does not take what is sent to it loses messages beyond its queue, and is told how
    many as soon as there is room. One that sends rubbish is cut off from the bus.

    Args:
        loop: what watches the channels.
        telemetry: told of what is dropped.
        make_hub: makes the hub, given what sends a frame to a member or to the bridge.
    """

    def __init__(
        self, loop: Loop, telemetry: Telemetry, make_hub: Callable[[Send], _AnyHub] = Hub
    ) -> None:
        self._loop, self._telemetry = loop, telemetry
        self._hub = make_hub(self._send)
        self._channels: dict[int, Channel] = {}
        self._counts: dict[int, MessageCounts] = {}
        self._readable: dict[int, bool] = {}  # whether frames that were read wait of it
        self._touched: dict[int, None] = {}
        self._passed = 0
        self._blocked: set[int] = set()

    def add(
        self,
        member: int,
        sock: socket.socket,
        state: tuple[bytes, bytes, int] | None = None,
        counts: MessageCounts | None = None,
    ) -> None:
        """Take in a worker.

        Args:
            member: its pid.
            sock: the end of its channel; it is closed by `remove` or `close`.
            state: what `state` has told of that channel before an exec, if there was one.
            counts: where its messages are counted; None if nowhere.
        """
        channel = Channel(sock, closes_gaps=True)
        if state is not None:
            channel.restore(*state)
            self._touched[member], self._readable[member] = None, True
        self._channels[member] = channel
        if counts is not None:
            self._counts[member] = counts
        self._hub.join(member)
        self._loop.add(channel.fileno(), READ, partial(self._on_event, member))

    def add_bridge(self, sock: socket.socket) -> None:
        """Take in the end of the bridge to a broker; `remove_bridge` or `close` closes it."""
        channel = Channel(sock, sys.maxsize)  # what waits for the broker is bounded by the hub
        self._channels[BRIDGE] = channel
        self._loop.add(channel.fileno(), READ, partial(self._on_event, BRIDGE))

    def remove_bridge(self) -> None:
        """Let the bridge go; harmless if it is gone."""
        self._cut_off(BRIDGE)

    def flush_bridge(self, seconds: float) -> None:
        """Send what waits for the bridge, at the end of the host; that takes so long at most."""
        channel = self._channels.get(BRIDGE)
        if channel is None:
            return
        poll, due = select.poll(), time.monotonic() + seconds
        poll.register(channel, select.POLLOUT)
        with suppress(OSError):
            while not channel.flush() and (left := due - time.monotonic()) > 0:
                poll.poll(1000 * left)

    def state(self, member: int) -> tuple[int, tuple[bytes, bytes, int]] | None:
        """Return a worker's descriptor and what its channel holds; None if it was cut off."""
        channel = self._channels.get(member)
        return None if channel is None else (channel.fileno(), channel.state())

    @property
    def hub(self) -> _AnyHub:
        """Who hears what."""
        return self._hub

    def remove(self, member: int) -> None:
        """Let a worker go that has ended; harmless if it is gone."""
        channel = self._channels.get(member)
        if channel is not None:
            with suppress(BadFrameError):  # what it said last is in the socket
                for _ in range(_LAST_READS):
                    self._pass_frames(member, channel, math.inf)
                    if channel.receive() <= 0:
                        break
            self._cut_off(member)

    def pass_on(self) -> None:
        """Pass on what workers have said, and send what waits, so much as one turn takes.

        The supervisor calls it at the end of each turn.
        """
        self._passed = 0
        while self._readable and self._passed < _TURN:
            self._read(next(iter(self._readable)))
        while self._touched:
            member, _ = self._touched.popitem()
            if member not in self._blocked:
                self._flush(member)
        if self._readable:  # frames that are in no socket any more
            self._loop.call_at(self._loop.now, _nothing)

    def close(self) -> None:
        """Close all channels."""
        for channel in self._channels.values():
            channel.close()

    def _send(self, member: int, packed: bytes) -> bool:
        channel = self._channels.get(member)
        if channel is None:
            return False
        self._passed += 1 + (len(packed) >> 12)
        taken = channel.put(packed)
        if not taken and channel.dropped == 1:
            self._telemetry.emit(BUS_DROPPED, pid=member)
        counts = self._counts.get(member)
        if counts is not None and packed[KIND_AT] in DELIVERIES:
            counts.cells[counts.delivered if taken else counts.dropped] += 1
        self._touched[member] = None
        return taken

    def _on_event(self, member: int, mask: int) -> None:
        if mask & WRITE:
            self._flush(member)
        if mask & ~WRITE:
            self._readable.setdefault(member, False)

    def _read(self, member: int) -> None:
        """Pass on what a worker has said; the next time it is the turn of others first."""
        channel, is_behind = self._channels[member], self._readable.pop(member)
        try:
            if not is_behind or self._pass_frames(member, channel, _TURN):
                if channel.receive() < 0:
                    raise BadFrameError("end of file")
                if self._pass_frames(member, channel, _TURN):
                    return
        except BadFrameError:
            self._cut_off(member)
        else:
            self._readable[member] = True

    def _pass_frames(self, member: int, channel: Channel, most: float) -> bool:
        """Pass on frames that have come; False if there may be more than a turn takes."""
        receive, published = self._hub.receive, 0
        counts = self._counts.get(member)  # before: a member that is cut off meanwhile has none
        try:
            for frame in channel.frames():
                receive(member, frame)
                published += frame.kind in PUBLICATIONS
                self._passed += 1 + (len(frame.payload) >> 12)
                if self._passed >= most:
                    return False
        finally:
            if published and counts is not None:
                counts.cells[counts.published] += published
        return True

    def _cut_off(self, member: int) -> None:
        channel = self._channels.pop(member, None)
        if channel is None:
            return
        self._counts.pop(member, None)
        self._loop.remove(channel.fileno())
        channel.close()
        self._readable.pop(member, None)
        self._touched.pop(member, None)
        self._blocked.discard(member)
        if member == BRIDGE:
            self._hub.lose_bridge("the bridge has ended")
        else:
            self._hub.leave(member)

    def _flush(self, member: int) -> None:
        channel = self._channels[member]
        try:
            empty = channel.flush(1)
        except OSError:  # it has died; its exit is on the way
            return
        if channel.dropped and (lost := channel.take_dropped()):
            channel.put(Frame(Kind.LOST, lost, b"").pack())
            empty = False
        if empty is (member in self._blocked):
            self._loop.modify(channel.fileno(), READ if empty else READ | WRITE)
            (self._blocked.discard if empty else self._blocked.add)(member)


def _nothing() -> None:
    """Have the loop make another turn."""
