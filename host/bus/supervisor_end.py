"""The supervisor's side of the bus: the channels to the workers, with the hub between them."""

from __future__ import annotations

import socket

from host.bus.frames import BadFrameError, Channel, Frame, Kind
from host.bus.hub import Hub
from host.runtime.loop import READ, WRITE, Loop
from host.telemetry.emitter import Telemetry
from host.telemetry.events import BUS_DROPPED


class BusRouter:
    """Passes frames between the workers, and never waits for any of them.

    A worker that does not take what is sent to it loses messages beyond its queue, and is told how
    many as soon as there is room. One that sends rubbish is cut off from the bus.
    """

    def __init__(self, loop: Loop, telemetry: Telemetry) -> None:
        self._loop, self._telemetry = loop, telemetry
        self._hub = Hub(self._send)
        self._channels: dict[int, Channel] = {}
        self._touched: dict[int, None] = {}
        self._blocked: set[int] = set()

    def add(
        self, member: int, sock: socket.socket, state: tuple[bytes, bytes, int] | None = None
    ) -> None:
        """Take in a worker's end, as `state` told of it before an exec, if there was one.

        It is closed by `remove` or `close`.
        """
        channel = Channel(sock)
        if state is not None:
            channel.restore(*state)
            self._touched[member] = None
        self._channels[member] = channel
        self._hub.join(member)
        self._loop.add(channel.fileno(), READ, lambda mask: self._on_event(member, mask))

    def state(self, member: int) -> tuple[int, tuple[bytes, bytes, int]] | None:
        """Return a worker's descriptor and what its channel holds; None if it was cut off."""
        channel = self._channels.get(member)
        return None if channel is None else (channel.fileno(), channel.state())

    @property
    def hub(self) -> Hub:
        """Who hears what."""
        return self._hub

    def remove(self, member: int) -> None:
        """Let a worker go that has ended; harmless if it is gone."""
        channel = self._channels.get(member)
        if channel is not None:
            self._read(member, channel)  # what it said last is in the socket
            self._cut_off(member)

    def flush(self) -> None:
        """Send what waits; the supervisor calls it at the end of each turn."""
        while self._touched:
            member, _ = self._touched.popitem()
            if member not in self._blocked:
                self._flush(member)

    def close(self) -> None:
        """Close all channels."""
        for channel in self._channels.values():
            channel.close()

    def _send(self, member: int, packed: bytes) -> None:
        channel = self._channels.get(member)
        if channel is None:
            return
        if not channel.put(packed) and channel.dropped == 1:
            self._telemetry.emit(BUS_DROPPED, pid=member)
        self._touched[member] = None

    def _on_event(self, member: int, mask: int) -> None:
        channel = self._channels[member]
        if mask & WRITE:
            self._flush(member)
        if mask & ~WRITE and member in self._channels:
            self._read(member, channel)

    def _read(self, member: int, channel: Channel) -> None:
        try:
            frames = channel.receive()
            if frames is None:
                raise BadFrameError("end of file")
            for frame in frames:
                self._hub.receive(member, frame)
        except BadFrameError:
            self._cut_off(member)

    def _cut_off(self, member: int) -> None:
        channel = self._channels.pop(member, None)
        if channel is None:
            return
        self._loop.remove(channel.fileno())
        channel.close()
        self._touched.pop(member, None)
        self._blocked.discard(member)
        self._hub.leave(member)

    def _flush(self, member: int) -> None:
        channel = self._channels[member]
        try:
            empty = channel.flush()
        except OSError:  # it has died; its exit is on the way
            return
        if lost := channel.take_dropped():
            channel.put(Frame(Kind.LOST, lost, b"").pack())
            empty = False
        if empty is (member in self._blocked):
            self._loop.modify(channel.fileno(), READ if empty else READ | WRITE)
            (self._blocked.discard if empty else self._blocked.add)(member)
