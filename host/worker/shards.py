"""The shards of UDP listeners that a worker reads: as many as the supervisor gives to it."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from time import thread_time
from typing import TYPE_CHECKING, NamedTuple

from host.ipc.protocol import Report, ShardOrder
from host.runtime.loop import READ, Loop

if TYPE_CHECKING:  # only hosts with UDP listeners import it
    from host.worker.datagrams import ShardReader

FINISH_SECONDS = 0.05
"""For so much CPU time what waits is still read when the host stops: who goes on sending is not
waited for."""
_AGAIN_SECONDS = 0.1


class Shard(NamedTuple):
    """A socket that this worker has inherited; it closes it.

    Attributes:
        sock: the socket, whose number is the shard's in all processes.
        reader: reads it.
    """

    sock: socket.socket
    reader: ShardReader


class OwnedShards:
    """Takes shards and gives them back, and reads those that this worker owns.

    Args:
        shards: all that this worker has inherited, by their descriptors.
        loop: the worker's loop.
        report: tells the supervisor.
    """

    def __init__(
        self, shards: Mapping[int, Shard], loop: Loop, report: Callable[[Report], object]
    ) -> None:
        self._shards, self._loop, self._report = dict(shards), loop, report
        self._owned: dict[int, ShardReader] = {}

    def obey(self, order: ShardOrder) -> None:
        """Take a shard, or give it back, between two turns: no datagram of it is being handled."""
        number = order.shard
        if not order.takes:
            self._release([number])
            return
        shard = self._shards.get(number)
        if shard is None or number in self._owned:
            return
        self._owned[number] = shard.reader
        self._watch(number, shard.reader)

    def finish(self) -> None:
        """Read what waits, for a moment at most, and close all sockets: this worker goes.

        Whoever has another worker to give its shards to has taken them away before.
        """
        left = dict(self._owned)
        until = thread_time() + FINISH_SECONDS
        while left and thread_time() < until:
            for number, reader in list(left.items()):
                if not reader.on_event(READ):
                    del left[number]
                if thread_time() >= until:
                    break
        for reader in self._owned.values():
            reader.write_counts()
        self._release(list(self._owned))
        self.close()

    def close(self) -> None:
        """Close all sockets."""
        for shard in self._shards.values():
            shard.sock.close()
        self._shards.clear()

    def _watch(self, number: int, reader: ShardReader) -> None:
        if self._owned.get(number) is not reader:
            return
        try:
            self._loop.add(number, READ, reader.on_event)
        except OSError:  # ENOSPC or ENOMEM (epoll_ctl(2))
            self._loop.call_later(_AGAIN_SECONDS, lambda: self._watch(number, reader))

    def _release(self, numbers: list[int]) -> None:
        released = [each for each in numbers if self._owned.pop(each, None) is not None]
        for number in released:
            self._loop.remove(number)
        if released:
            self._tell(released)

    def _tell(self, numbers: list[int]) -> None:
        self._report(Report("released", data={"shards": numbers}))
