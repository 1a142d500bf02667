"""Datagrams without a socket: the host's own, whose replies the test sees."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from host.interfaces import Listener
from host.plugin.binding import ListenerHooks
from host.testing.worker import FakeWorker
from host.worker.datagrams import (
    Address,
    Datagram,
    DatagramCells,
    DatagramContext,
    ShardReader,
)

PLAIN_UDP_LISTENER = Listener(0, "udp://127.0.0.1:7000", "test")
DEFAULT_SENDER = ("127.0.0.1", 50_211)
_CELLS = 32


class FakeDatagram(Datagram):
    """A datagram whose sender is the test, for functions of a plugin that the test calls itself.

        datagram = FakeDatagram(b"hello")
        echo.on_datagram(datagram)
        assert datagram.replies == [b"hello"]

    Args:
        data: its bytes.
        address: its sender.
        worker: the worker that handles it.
        reply_factor: as the setting; 0 for no limit.

    Attributes:
        replies: what was sent to the sender.
    """

    __slots__ = ("replies",)

    def __init__(
        self,
        data: bytes,
        *,
        address: tuple[str, int] = DEFAULT_SENDER,
        worker: FakeWorker | None = None,
        reply_factor: float = 3.0,
    ) -> None:
        self.replies: list[bytes] = []
        context = datagram_context(worker or FakeWorker(), PLAIN_UDP_LISTENER, reply_factor)
        super().__init__(data, address, _sender(self.replies), context)


def datagram_context(
    worker: FakeWorker,
    listener: Listener,
    reply_factor: float,
    hooks: ListenerHooks | None = None,
) -> DatagramContext:
    """Return what the datagrams of a listener share.

    Args:
        worker: the worker that handles them.
        listener: what plugins see of the listener.
        reply_factor: as the setting.
        hooks: the hooks of its plugins; None if the test calls the plugin itself.
    """
    on_datagram = hooks.on_datagram if hooks else None
    return DatagramContext(
        listener,
        worker=worker,
        on_datagram=on_datagram or (lambda _: None),
        blame=hooks.blame if hooks else lambda _: "test",
        report=worker.report,
        factor=reply_factor or math.inf,
        admits=None,
        on_refused=lambda *_: None,
        call_soon=lambda _: None,
        cells=memoryview(bytearray(8 * _CELLS)).cast("Q"),
        call_cell=0,
        peer_place=8 * (_CELLS - 8),
        counters=DatagramCells(),
    )


def send(context: DatagramContext, data: bytes, address: tuple[str, int]) -> list[bytes]:
    """Have a datagram arrive; return what was sent in reply, to which later replies are added."""
    replies: list[bytes] = []
    arrived = [(data, address)]

    def receive(_size: int) -> tuple[bytes, Address]:
        if not arrived:
            raise BlockingIOError
        return arrived.pop()

    ShardReader(receive, _sender(replies), context).on_event(0)
    return replies


def _sender(replies: list[bytes]) -> Callable[[Any, Address], int]:
    def take(data: Any, _address: Address) -> int:
        replies.append(bytes(data))
        return len(data)

    return take
