"""Decides which worker reads which socket of a UDP listener. No I/O.

The sockets of a group are its *shards*, named by their descriptors. A shard has one owner or waits
for one. To move, it is first taken from its owner, who finishes what it has read and says so; only
then is it given to the next one: never do two workers read one shard, so what a client sends is
handled in order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple


class Move(NamedTuple):
    """What a worker is told of a shard.

    Attributes:
        pid: the worker.
        shard: the shard's descriptor.
        takes: whether it is to read the shard from now on, or no longer.
    """

    pid: int
    shard: int
    takes: bool


class Ownership(NamedTuple):
    """Who reads a shard, and whether it was told to stop and has not said yet that it did."""

    pid: int
    releasing: bool = False


class ShardTable:
    """Who owns each shard, and who shall.

    Args:
        owners: what is known from before an exec, by shard.
    """

    def __init__(self, owners: Mapping[int, Ownership] | None = None) -> None:
        self._owners = dict(owners or {})

    @property
    def owners(self) -> dict[int, Ownership]:
        """Who owns each shard; one that waits for an owner is not among them."""
        return dict(self._owners)

    def owned(self, pid: int) -> int:
        """Return how many shards a worker owns."""
        return sum(owner.pid == pid for owner in self._owners.values())

    def is_settled(self, groups: Iterable[Sequence[int]]) -> bool:
        """Tell whether each shard has an owner, and none is about to have another."""
        owners = self._owners
        return not any(
            shard not in owners or owners[shard].releasing for group in groups for shard in group
        )

    def released(self, pid: int, shard: int) -> None:
        """Take note that a worker reads a shard no longer."""
        owner = self._owners.get(shard)
        if owner is not None and owner.pid == pid:
            del self._owners[shard]

    def gone(self, pid: int) -> None:
        """Take note that a worker has ended: its shards wait for others."""
        for shard in [each for each, owner in self._owners.items() if owner.pid == pid]:
            del self._owners[shard]

    def deal(
        self,
        groups: Iterable[Sequence[int]],
        members: Sequence[int],
        send: Callable[[Move], bool],
    ) -> bool:
        """Give each worker its share of each group, and move no more shards than that takes.

        Args:
            groups: the shards of each group; what is in none of them is forgotten.
            members: the pids of the workers that may have shards.
            send: tells a worker; False if it could not be told.

        Returns:
            Whether everybody was told; else this is to be called again.
        """
        all_groups = list(groups)
        known = {shard for group in all_groups for shard in group}
        self._owners = {each: owner for each, owner in self._owners.items() if each in known}
        fine = True
        for number, group in enumerate(all_groups):
            fine = self._deal_group(group, _rotated(members, number), send) and fine
        return fine

    def _deal_group(
        self, group: Sequence[int], members: Sequence[int], send: Callable[[Move], bool]
    ) -> bool:
        fine = True
        owned: dict[int, list[int]] = {pid: [] for pid in members}
        waiting = []
        for shard in group:
            owner = self._owners.get(shard)
            if owner is None:
                waiting.append(shard)
            elif owner.pid in owned:
                if not owner.releasing:
                    owned[owner.pid].append(shard)
            elif not owner.releasing:
                fine = self._take_from(owner.pid, shard, send) and fine
        for pid, share in _shares(len(group), owned).items():
            while len(owned[pid]) > share:
                fine = self._take_from(pid, owned[pid].pop(), send) and fine
            while waiting and len(owned[pid]) < share:
                shard = waiting.pop()
                owned[pid].append(shard)
                if send(Move(pid, shard, takes=True)):
                    self._owners[shard] = Ownership(pid)
                else:
                    fine = False
        return fine

    def _take_from(self, pid: int, shard: int, send: Callable[[Move], bool]) -> bool:
        told = send(Move(pid, shard, takes=False))
        if told:
            self._owners[shard] = Ownership(pid, releasing=True)
        return told


def _rotated(members: Sequence[int], number: int) -> list[int]:
    """Return the members in another order for each group: not the same ones get one more of all."""
    start = number % len(members) if members else 0
    return [*members[start:], *members[:start]]


def _shares(shards: int, owned: Mapping[int, Sequence[int]]) -> dict[int, int]:
    """Return how many shards each worker gets; those with most now get the one that is over."""
    if not owned:
        return {}
    least, over = divmod(shards, len(owned))
    most_first = sorted(owned, key=lambda pid: -len(owned[pid]))
    return {pid: least + (place < over) for place, pid in enumerate(most_first)}
