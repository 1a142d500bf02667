"""Who reads which shard: against a model of workers that come, go, die and hear late."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from host.dispatch.sharding import Ownership, ShardTable

GROUPS = (tuple(range(10, 17)), tuple(range(20, 24)))
ALL = [shard for group in GROUPS for shard in group]


class World(RuleBasedStateMachine):
    """Workers with their channels: what is on its way down and up, and what each reads."""

    def __init__(self):
        super().__init__()
        self.table = ShardTable()
        self.members, self.alive = [], {}
        self.orders, self.reports = {}, {}
        self.full = set()
        self.owed = False
        self.next_pid = 1

    def deal(self):
        self.owed = not self.table.deal(GROUPS, self.members, self.send)

    def send(self, move):
        if move.pid in self.full or move.pid not in self.alive:
            return False
        self.orders[move.pid].append(move)
        return True

    @rule()
    def comes(self):
        pid, self.next_pid = self.next_pid, self.next_pid + 1
        self.alive[pid], self.orders[pid], self.reports[pid] = set(), [], []
        self.members.append(pid)
        self.deal()

    @precondition(lambda self: self.members)
    @rule(data=st.data())
    def drains(self, data):
        pid = data.draw(st.sampled_from(self.members))
        self.members.remove(pid)
        self.deal()

    @precondition(lambda self: self.alive)
    @rule(data=st.data())
    def dies(self, data):
        pid = data.draw(st.sampled_from(sorted(self.alive)))
        for records in (self.alive, self.orders, self.reports):
            del records[pid]
        self.full.discard(pid)
        if pid in self.members:
            self.members.remove(pid)
        self.table.gone(pid)
        self.deal()

    @precondition(lambda self: self.members)
    @rule(count=st.integers(1, 3))
    def is_reloaded(self, count):
        """A generation takes over: all members go at once, others are there."""
        new = range(self.next_pid, self.next_pid + count)
        self.next_pid += count
        for pid in new:
            self.alive[pid], self.orders[pid], self.reports[pid] = set(), [], []
        self.members = list(new)
        self.deal()

    @rule()
    def is_executed_anew(self):
        self.table = ShardTable(self.table.owners)

    @precondition(lambda self: any(self.orders.values()))
    @rule(data=st.data())
    def hears(self, data):
        pid = data.draw(st.sampled_from([pid for pid, sent in self.orders.items() if sent]))
        move = self.orders[pid].pop(0)
        if move.takes:
            assert move.shard not in self.alive[pid]
            self.alive[pid].add(move.shard)
        else:
            assert move.shard in self.alive[pid]
            self.alive[pid].remove(move.shard)
            self.reports[pid].append(move.shard)

    @precondition(lambda self: any(self.reports.values()))
    @rule(data=st.data())
    def is_heard(self, data):
        pid = data.draw(st.sampled_from([pid for pid, said in self.reports.items() if said]))
        self.table.released(pid, self.reports[pid].pop(0))
        self.deal()

    @precondition(lambda self: self.alive)
    @rule(data=st.data())
    def does_not_read(self, data):
        self.full.add(data.draw(st.sampled_from(sorted(self.alive))))

    @rule()
    def reads_again(self):
        self.full.clear()
        self.deal()

    @invariant()
    def nobody_reads_what_another_reads(self):
        read = [shard for shards in self.alive.values() for shard in shards]
        assert len(read) == len(set(read))

    @invariant()
    def who_reads_a_shard_is_its_owner(self):
        owners = self.table.owners
        for pid, shards in self.alive.items():
            on_the_way = set(self.reports[pid])
            assert all(owners[shard].pid == pid for shard in shards | on_the_way)

    def teardown(self):
        """When all is heard, each shard is read, and workers have their shares of each group."""
        self.full.clear()
        self.deal()
        while any(self.orders.values()) or any(self.reports.values()):
            for pid in self.alive:
                while self.orders[pid]:
                    move = self.orders[pid].pop(0)
                    (self.alive[pid].add if move.takes else self.alive[pid].remove)(move.shard)
                    if not move.takes:
                        self.reports[pid].append(move.shard)
                while self.reports[pid]:
                    self.table.released(pid, self.reports[pid].pop(0))
            self.deal()
        assert not self.owed
        for group in GROUPS if self.members else ():
            counts = [len(self.alive[pid] & set(group)) for pid in self.members]
            assert sum(counts) == len(group)
            assert max(counts) - min(counts) <= 1
        for pid in self.alive.keys() - set(self.members):
            assert not self.alive[pid]


TestWorld = World.TestCase
TestWorld.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


def dealt(table, groups, members):
    moves = []

    def send(move):
        moves.append(move)
        return True

    assert table.deal(groups, members, send)
    return moves


@given(st.integers(1, 40), st.integers(1, 12))
def test_a_worker_that_comes_takes_no_more_than_its_share(shards, workers):
    table, group = ShardTable(), tuple(range(shards))
    dealt(table, [group], list(range(workers)))
    moves = dealt(table, [group], list(range(workers + 1)))
    assert len(moves) == shards // (workers + 1)
    assert not any(move.takes for move in moves)


def test_what_is_over_goes_to_others_in_the_next_group():
    table = ShardTable()
    dealt(table, [(1, 2, 3), (4, 5, 6)], [7, 8])
    assert (table.owned(7), table.owned(8)) == (3, 3)


def test_a_group_that_is_no_more_is_forgotten():
    table = ShardTable({1: Ownership(7), 9: Ownership(7)})
    assert dealt(table, [(1,)], [7]) == []
    assert table.owners == {1: Ownership(7)}


@pytest.mark.parametrize("pid", [8, 0])
def test_nobody_gives_back_what_another_owns(pid):
    table = ShardTable({1: Ownership(7)})
    table.released(pid, 1)
    table.released(pid, 2)
    assert table.owners == {1: Ownership(7)}
