"""Datagrams: each is read, handed to the plugin, and answered, without anything to be kept."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from host.hookspecs import on_datagram
from host.interfaces import Listener, Worker
from host.ipc.current_call import SERIAL_UNIT, kind_of, pack_call
from host.ipc.current_peer import put_peer
from host.ipc.scoreboard import Cells
from host.net.sockets import describe
from host.telemetry.emitter import ReportFailure

BATCH = 16
"""So many datagrams of a shard are handled in a turn of the loop at most; then others go first. A
client that asks again as soon as it is answered would keep its shard busy, and 16 of each of 64
shards take 5 ms."""
MAX_BYTES = 65_535
"""No datagram is longer (udp(7)): so much is asked for, or the rest would be lost."""
MAX_TRUSTED = 10_000
"""How many addresses a worker trusts at one listener; then the first of them is forgotten."""
_LONGEST_PAUSE = 8
"""After so many events at most a shard is asked whether it has more datagrams than usual."""
_LAST_SERIAL = 1 << 39
"""The serial number of the scoreboard's word has 40 bits: then it begins anew."""
_IP_PKTINFO = 8  # ip(7); not in the module socket
_ANCILLARY_BYTES = socket.CMSG_SPACE(20)  # struct in6_pktinfo, the larger one
_IN_PKTINFO, _IN6_PKTINFO = struct.Struct("=I4s4s"), struct.Struct("=16sI")
_NO_ADDRESS = bytes(4)

Address = tuple[Any, ...]
Receive = Callable[[int], tuple[bytes, Address]]
Send = Callable[[Any, Address], int]


@dataclass(slots=True, eq=False)
class DatagramCells:
    """Which cells of the scoreboard count for one listener."""

    received: int = 1
    bytes_in: int = 2
    replies: int = 3
    bytes_out: int = 4
    dropped: int = 5
    refused: int = 6


@dataclass(slots=True, eq=False)
class DatagramContext:
    """What all datagrams of one listener in one worker share.

    Attributes:
        on_datagram: the bound hook of the listener's plugin; it is not isolated.
        blame: names the plugin that an exception of it comes from.
        report: tells of a failed hook: plugin, hook, error, the hook's arguments.
        factor: bytes that may answer each byte of a sender that is not trusted.
        admits: tells whether a datagram of a host is taken, and counts it if not; None if all are.
            Nothing has been done for the datagram yet.
        on_refused: told of each reply that `factor` does not allow, with its size.
        call_soon: calls a function in a moment: counts are written then, all at once.
        cells, call_cell: the scoreboard's cells, and which of them says what is being called.
        peer_place: where the sender is noted in these cells, in bytes.
        counters: which cells count.
        trusted: the addresses that the plugin trusts, in the order in which it began to.
        call_word: what the call's cell says, but for the serial number.
        received, bytes_in, replies, bytes_out, dropped, refused: what was counted and not written
            there yet.
        is_counting: whether `call_soon` was asked to have it written.
    """

    listener: Listener
    worker: Worker
    on_datagram: Callable[[Any], object]
    blame: Callable[[BaseException], str]
    report: ReportFailure
    factor: float
    admits: Callable[[str], bool] | None
    on_refused: Callable[[Datagram, int], object]
    call_soon: Callable[[Callable[[], None]], object]
    cells: Cells
    call_cell: int
    peer_place: int
    counters: DatagramCells
    trusted: dict[Address, None] = field(default_factory=dict)
    call_word: int = field(init=False)
    received: int = 0
    bytes_in: int = 0
    replies: int = 0
    bytes_out: int = 0
    dropped: int = 0
    refused: int = 0
    is_counting: bool = False

    def __post_init__(self) -> None:
        """Work out what the call's cell says."""
        self.call_word = pack_call(kind_of(on_datagram), 1, self.listener.index)

    def trust(self, address: Address) -> None:
        """Let an address be answered with any number of bytes."""
        trusted = self.trusted
        trusted.pop(address, None)
        trusted[address] = None
        if len(trusted) > MAX_TRUSTED:
            del trusted[next(iter(trusted))]

    def count_soon(self) -> None:
        """Have what was counted written in a moment; call it if `is_counting` is not set."""
        self.is_counting = True
        self.call_soon(self.write_counts)

    def write_counts(self) -> None:
        """Add to the scoreboard what was counted."""
        cells, counters = self.cells, self.counters
        cells[counters.received] += self.received
        cells[counters.bytes_in] += self.bytes_in
        cells[counters.replies] += self.replies
        cells[counters.bytes_out] += self.bytes_out
        cells[counters.dropped] += self.dropped
        cells[counters.refused] += self.refused
        self.received = self.bytes_in = self.replies = self.bytes_out = 0
        self.dropped = self.refused = 0
        self.is_counting = False


class Datagram:
    """One datagram, as a plugin sees it (`host.Datagram`).

    Args:
        data: its bytes.
        address: its sender, as recvfrom(2) has returned it.
        send: sends to that address.
        context: what it shares with others.
    """

    __slots__ = ("_address", "_context", "_replied", "_send", "data")

    def __init__(self, data: bytes, address: Address, send: Send, context: DatagramContext) -> None:
        self.data, self._address, self._send, self._context = data, address, send, context
        self._replied = 0

    def __repr__(self) -> str:
        return f"<datagram of {len(self.data)} bytes from {self.peer}>"

    @property
    def peer(self) -> str:
        """The sender: `127.0.0.1:50211` or `[::1]:50211`."""
        return describe(self._address)

    @property
    def listener(self) -> Listener:
        """The listener that it came in on."""
        return self._context.listener

    @property
    def worker(self) -> Worker:
        """The worker that handles it."""
        return self._context.worker

    def reply(self, data: bytes | bytearray | memoryview) -> bool:
        """Send one datagram to its sender; return whether the kernel has taken it."""
        context, size = self._context, len(data)
        replied = self._replied + size
        if replied > context.factor * len(self.data) and self._address not in context.trusted:
            context.on_refused(self, size)
            context.refused += 1
            if not context.is_counting:
                context.count_soon()
            return False
        self._replied = replied
        try:
            self._send(data, self._address)
        except OSError as error:
            self._drop(error, size)
            return False
        context.replies += 1
        context.bytes_out += size
        if not context.is_counting:
            context.count_soon()
        return True

    def trust(self) -> None:
        """Let its sender be answered with any number of bytes from now on."""
        self._context.trust(self._address)

    def _drop(self, error: OSError, size: int) -> None:
        """Count a reply that the kernel did not take.

        EAGAIN and ENOBUFS say that too much waits to be sent, ECONNREFUSED tells of an ICMP message
        for a datagram before, EINVAL of a sender with port 0; UDP promises nothing.

        Raises:
            ValueError: no datagram can be so long.
        """
        context = self._context
        if error.errno == errno.EMSGSIZE:
            raise ValueError(f"a reply of {size} bytes is too long for a datagram") from error
        context.dropped += 1
        if not context.is_counting:
            context.count_soon()


class ShardReader:
    """Reads the datagrams of one shard.

    Args:
        receive: reads one datagram, as `socket.recvfrom` does.
        send: sends one, as `socket.sendto` does.
        context: what its datagrams share.
    """

    __slots__ = ("_context", "_pause", "_receive", "_send", "_skipped", "_usual", "_word")

    def __init__(self, receive: Receive, send: Send, context: DatagramContext) -> None:
        self._receive, self._send, self._context = receive, send, context
        self._word = context.call_word
        self._usual = 1  # so many datagrams were there when the shard was emptied last
        self._skipped = 0  # so many events more are taken to be of as many
        self._pause = 1

    def write_counts(self) -> None:
        """Write to the scoreboard what was counted of the listener: the worker ends."""
        self._context.write_counts()

    def on_event(self, _mask: int) -> bool:
        """Handle the datagrams that wait, some at most; tell whether there may be more.

        A read that finds nothing costs half as much as one that finds something. So a shard whose
        datagrams come one by one, or always as many at once, is read as often for an event, and
        asked for another one now and then only. If there is one, the loop tells at once, and the
        next look finds out.

        What is called and for whom is written to the scoreboard before each call, since a worker
        that dies or hangs in it cannot say so any more. An exception is caught here, and not by a
        wrapper around the hook, as for connections: that would be one call more for each.
        """
        context, receive, send, word = self._context, self._receive, self._send, self._word
        cells, call_cell, place = context.cells, context.call_cell, context.peer_place
        on_datagram, admits = context.on_datagram, context.admits
        limit, taken, size, noted = (self._usual if self._skipped else BATCH), 0, 0, None
        while taken < limit:
            try:
                data, address = receive(MAX_BYTES)
            except OSError:  # EAGAIN, or an ICMP message for something sent before (udp(7))
                break
            taken += 1
            size += len(data)
            if admits is not None and not admits(address[0]):
                continue
            word += SERIAL_UNIT
            cells[call_cell] = word
            if address != noted:
                put_peer(cells, place, address[0].encode(), address[1])
                noted = address
            datagram = Datagram(data, address, send, context)
            try:
                on_datagram(datagram)
            except BaseException as failure:  # SystemExit too: the others are served
                context.report(context.blame(failure), "on_datagram", failure, (datagram,))
        self._word = word if word < _LAST_SERIAL * SERIAL_UNIT else context.call_word
        context.received += taken
        context.bytes_in += size
        if not context.is_counting:
            context.count_soon()
        if self._skipped:
            self._skipped -= 1
        elif taken == self._usual:
            self._skipped = self._pause
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        else:
            self._usual, self._pause = max(taken, 1), 1
        return taken == limit


class AskedAddress(tuple[Any, ...]):
    """The address of a sender, with the address of this machine that it has asked.

    Attributes:
        ancillary: that address, as sendmsg(2) takes it, to be the source of the reply.
    """

    ancillary: tuple[int, int, bytes] | None = None


def receive_from(sock: socket.socket) -> tuple[Receive, Send]:
    """Return what receives and what sends on a socket that has one address."""
    return sock.recvfrom, sock.sendto


def receive_at_any(sock: socket.socket) -> tuple[Receive, Send]:
    """Return what receives and what sends on a socket that has all addresses of the machine.

    A reply leaves from the address that was asked (IP_PKTINFO in ip(7), IPV6_PKTINFO in ipv6(7)):
    its sender would not take it from another.
    """
    recvmsg, sendmsg = sock.recvmsg, sock.sendmsg

    def receive(size: int) -> tuple[bytes, Address]:
        data, ancillary, _flags, sender = recvmsg(size, _ANCILLARY_BYTES)
        address = AskedAddress(sender)
        for level, kind, info in ancillary:
            address.ancillary = _source(level, kind, info) or address.ancillary
        return data, address

    def send(data: Any, address: Address) -> int:
        ancillary = address.ancillary if isinstance(address, AskedAddress) else None
        return sendmsg([data], [ancillary] if ancillary else [], 0, tuple(address))

    return receive, send


def _source(level: int, kind: int, info: bytes) -> tuple[int, int, bytes] | None:
    """Return what makes the address that was asked the source of the reply."""
    if level == socket.IPPROTO_IP and kind == _IP_PKTINFO:
        _interface, local, _asked = _IN_PKTINFO.unpack(info)
        return level, kind, _IN_PKTINFO.pack(0, local, _NO_ADDRESS)
    if level == socket.IPPROTO_IPV6 and kind == socket.IPV6_PKTINFO and info[0] != 0xFF:
        local, interface = _IN6_PKTINFO.unpack(info)
        is_link_local = local[0] == 0xFE and local[1] & 0xC0 == 0x80
        return level, kind, _IN6_PKTINFO.pack(local, interface if is_link_local else 0)
    return None
