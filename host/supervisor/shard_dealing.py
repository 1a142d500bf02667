"""Deals the shards of UDP listeners to the workers that serve, and tells them."""

from __future__ import annotations

from collections.abc import Callable

from host.dispatch.sharding import Move
from host.ipc.protocol import shard_order
from host.runtime.loop import Loop, TimerHandle
from host.supervisor.generations import Generations

_RETRY_SECONDS = 0.05


class ShardDealer:
    """Deals the shards anew whenever a worker comes or goes.

    Args:
        loop: calls again when somebody could not be told.
        generations: know who serves, and the shards; `deal_shards` is set here.
        send: sends to the worker with this pid without waiting; False if it was not taken.
    """

    def __init__(
        self, loop: Loop, generations: Generations, send: Callable[[int, bytes], bool]
    ) -> None:
        self._loop, self._generations, self._send = loop, generations, send
        self._timer: TimerHandle | None = None
        generations.deal_shards = self.deal

    def deal(self) -> None:
        """Give each worker that serves its share of each UDP listener of that generation."""
        serving, table = self._generations.serving, self._generations.shards
        if self._generations.keeps_shards or serving.handing_out is None:
            return
        groups = [group.shards for group in serving.groups]
        if not groups and not table.owners:
            return
        workers = serving.handing_out.dispatcher.workers
        members = [each.pid for each in workers if not each.held]
        if not table.deal(groups, members, self._tell) and self._timer is None:
            due = self._loop.now + _RETRY_SECONDS
            self._timer = self._loop.call_at(due, self._deal_again)

    def _deal_again(self) -> None:
        self._timer = None
        self.deal()

    def _tell(self, move: Move) -> bool:
        return self._send(move.pid, shard_order(move.shard, takes=move.takes))
