"""Shards are dealt as workers come and go, and nobody is forgotten who could not be told."""

from contextlib import contextmanager

from host.ipc.assignment import WorkerId
from host.ipc.protocol import OrderParser, ShardOrder
from host.net.shards import open_group
from host.settings import Listen
from host.supervisor.generation import Generation
from host.supervisor.generations import Generations
from host.supervisor.shard_dealing import ShardDealer
from support.fakes import FakeLoop, Told
from support.generations import again, dispatching, listening

SHARDS = 6


class Scene:
    """A generation with a TCP and a UDP listener; `told` are the orders that each worker got."""

    def __init__(self, group, streams):
        self.loop, self.told, self.deaf = FakeLoop(), {}, set()
        telemetry = Told().telemetry
        self.dispatching = dispatching(self.loop, telemetry, self.send)
        self.serving = self.made(0, group, streams)
        self.generations = Generations(self.loop, telemetry, self.serving)
        self.dealer = ShardDealer(self.loop, self.generations, self.send)

    def made(self, number, group, streams):
        sockets = [*streams, group] if group else list(streams)
        generation = Generation(number, [each.view for each in sockets], sockets)
        self.dispatching.prepare(generation)
        return generation

    def send(self, pid, data):
        if pid in self.deaf:
            return False
        self.told.setdefault(pid, []).extend(OrderParser().feed(data))
        return True

    def comes(self, pid, generation=None):
        generation = generation or self.serving
        generation.add_candidate(generation.take_row(pid), WorkerId(pid, pid, generation.number), 0)
        self.generations.deal_shards()

    def owners(self):
        return sorted(owner.pid for owner in self.generations.shards.owners.values())


@contextmanager
def scene():
    streams = listening()
    group = open_group(Listen(address="udp://127.0.0.1:0", shards=SHARDS), 1, "echo")
    made = Scene(group, streams)
    try:
        yield made
    finally:
        made.generations.close()


def test_the_first_worker_has_all_and_the_next_one_its_share_when_that_is_released():
    with scene() as made:
        made.comes(1)
        assert made.owners() == [1] * SHARDS
        made.comes(2)
        released = [each.shard for each in made.told[1] if each == ShardOrder(each.shard, False)]
        assert len(released) == SHARDS // 2
        assert 2 not in made.told
        made.generations.take_released(1, released)
        assert made.owners() == [1, 1, 1, 2, 2, 2]
        assert sorted(each.shard for each in made.told[2]) == sorted(released)


def test_what_a_worker_had_that_is_gone_is_given_to_others():
    with scene() as made:
        made.comes(1)
        made.comes(2)
        made.serving.remove_candidate(1)
        made.generations.worker_gone(1, 1, 0, made.serving)
        made.generations.run_passes()
        assert made.owners() == [2] * SHARDS


def test_a_worker_that_is_held_has_no_share():
    with scene() as made:
        made.comes(1)
        made.comes(2)
        made.serving.handing_out.dispatcher.hold(1, True)
        made.generations.run_passes()
        shards = [each.shard for each in made.told[1] if not each.takes]
        made.generations.take_released(1, shards)
        assert made.owners() == [2] * SHARDS


def test_who_could_not_be_told_is_told_later():
    with scene() as made:
        made.deaf.add(1)
        made.comes(1)
        assert made.owners() == []
        made.generations.deal_shards()
        assert len(made.loop.due) == 1
        made.deaf.clear()
        made.loop.advance(made.loop.now + 1)
        assert made.owners() == [1] * SHARDS


def test_nonsense_of_a_worker_changes_nothing():
    with scene() as made:
        made.comes(1)
        for nonsense in (None, 7, "all", ["x", None, -1, 10**30], {"a": 1}):
            made.generations.take_released(1, nonsense)
        assert made.owners() == [1] * SHARDS


def test_all_is_quiet_only_when_each_shard_has_an_owner_for_good():
    with scene() as made:
        made.serving.handing_out.runner.start()
        assert not made.generations.is_quiet()
        made.comes(1)
        assert made.generations.is_quiet()
        made.comes(2)
        assert not made.generations.is_quiet()
        made.generations.take_released(1, [each.shard for each in made.told[1] if not each.takes])
        assert made.generations.is_quiet()


def test_a_listener_that_goes_is_closed_only_when_each_of_its_shards_has_an_owner():
    with scene() as made:
        made.serving.handing_out.runner.start()
        made.comes(1)
        made.comes(2)
        coming = made.made(1, None, again(list(made.serving.streams)))
        made.generations = generations = Generations(
            made.loop, Told().telemetry, made.serving, coming=coming, shards=made.generations.shards
        )
        made.dealer = ShardDealer(made.loop, generations, made.send)
        switched = []
        generations.switch(lambda: switched.append(1), quiet_seconds=0.5)
        made.loop.advance(made.loop.now + 0.1)
        assert not switched
        assert made.serving.groups[0].fileno() >= 0
        generations.take_released(1, [each.shard for each in made.told[1] if not each.takes])
        assert made.owners() == [1, 1, 1, 2, 2, 2]
        made.loop.advance(made.loop.now + 0.1)
        assert switched
        assert made.serving.groups == ()


def test_nothing_moves_any_more_when_the_host_stops():
    with scene() as made:
        made.comes(1)
        assert [each.view.index for each in made.generations.stop_listening()] == [0]
        made.generations.close_groups()
        made.serving.remove_candidate(1)
        before = list(made.told[1])
        made.comes(2)
        assert made.told == {1: before}
        assert made.serving.groups[0].fileno() == -1
