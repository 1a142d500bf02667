"""Whose turn it is, how many tasks there may be, and in which order answers come."""

import asyncio
from contextlib import suppress
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host import TaskCancelledError, WouldBlockError
from host.offload.tasks import Queue, Result, Share, Task


class Client(SimpleNamespace):
    __hash__ = object.__hash__


class World:
    """A queue, and the names of the results that were delivered."""

    def __init__(self, limit=1000):
        self.queue, self.names, self.delivered = Queue(limit), {}, []

    def add(self, name, client=None, tasks=1):
        result = Result(self.queue.share(client), lambda each: each.give_up())
        self.names[result] = name
        result.tasks = [Task(name, result, index, 0) for index in range(tasks)]
        result.undone = tasks
        self.queue.add(result)
        return result

    def finish(self, result, value=None):
        result.add(0, value)
        self.deliver(result)

    def deliver(self, result):
        due = self.queue.deliver(result)
        self.delivered += [self.names[each] for each in due if not each.is_cancelled]

    def take_all(self):
        taken = []
        while (task := self.queue.take()) is not None:
            taken.append(task.work)
        return taken


def test_connections_take_turns():
    world, first, second = World(), Client(), Client()
    for number in range(3):
        world.add(f"a{number}", first)
    world.add("b0", second)
    world.add("nobody's")
    world.add("b1", second)
    assert world.take_all() == ["a0", "b0", "nobody's", "a1", "b1", "a2"]


@given(st.lists(st.integers(0, 5), max_size=60))
def test_nobody_waits_for_more_than_one_task_of_each_other(owners):
    world, clients = World(), [Client() for _ in range(6)]
    for owner in owners:
        world.add(owner, clients[owner])
    taken = world.take_all()
    assert sorted(taken) == sorted(owners)
    for owner in set(owners):
        places = [place for place, each in enumerate(taken) if each == owner]
        for before, after in zip([-1, *places], places, strict=False):
            between = taken[before + 1 : after]
            assert len(between) == len(set(between))


def test_a_connection_is_answered_in_the_order_of_its_calls():
    world, client = World(), Client()
    first, second, third = (world.add(name, client) for name in "abc")
    world.finish(third)
    world.finish(second)
    assert world.delivered == []
    world.finish(first)
    assert world.delivered == ["a", "b", "c"]
    assert world.queue.count == 0
    assert not world.queue.has(client)


def test_what_is_cancelled_holds_nobody_up():
    world, client = World(), Client()
    first, second = world.add("a", client), world.add("b", client)
    world.finish(second)
    first.give_up()
    world.deliver(first)
    assert world.delivered == ["b"]


def test_without_a_connection_answers_come_at_once():
    world = World()
    first, second = world.add("a"), world.add("b")
    world.finish(second)
    world.finish(first)
    assert world.delivered == ["b", "a"]


def test_one_connection_has_half_of_the_room_and_leaves_some_for_others():
    world, clients = World(limit=100), [Client() for _ in range(4)]
    for client in clients:
        while world.queue.room(client) > 0:
            world.add("x", client)
    counts = [world.queue.share(client).count for client in clients]
    assert counts[0] == 50
    assert counts == sorted(counts, reverse=True)
    assert counts[3] > 0
    assert world.queue.room(None) == 100 - sum(counts) > 0


def test_a_task_that_is_over_is_not_begun():
    world = World()
    world.add("a").tasks[0].is_over = True
    world.add("b")
    assert world.take_all() == ["b"]


def test_a_result_tells_how_it_is():
    world = World()
    result = world.add("a")
    assert not result.ready()
    with pytest.raises(ValueError, match="not over yet"):
        result.successful()
    with pytest.raises(WouldBlockError, match=r"get\(\) would wait.*callback.*await"):
        result.get()
    world.finish(result, 5)
    assert result.ready()
    assert result.successful()
    assert result.get() == 5


def test_a_result_raises_what_was_raised():
    world = World()
    failed, cancelled = world.add("a"), world.add("b")
    failed.fail(KeyError("x"))
    assert not failed.successful()
    with pytest.raises(KeyError, match="x"):
        failed.get()
    cancelled.cancel()
    assert not cancelled.successful()
    with pytest.raises(TaskCancelledError):
        cancelled.get()


def test_a_list_is_whole_when_all_its_parts_are_there():
    world = World()
    result = Result(world.queue.share(None), lambda _: None, size=5)
    result.undone = 2
    assert not result.add(3, ["d", "e"])
    assert not result.ready()
    assert result.add(0, ["a", "b", "c"])
    assert result.get() == ["a", "b", "c", "d", "e"]


def give_up(world, result):
    """End a result whose tasks have not begun, as a pool does."""
    result.give_up()
    for task in result.tasks:
        task.is_over = True
        world.queue.strike(task)
    world.deliver(result)


def test_nothing_is_kept_of_tasks_of_a_connection_that_has_gone():
    world, gone, other = World(10_000), Client(), Client()
    world.add("other", other)
    results = [world.add("gone", gone, tasks=10) for _ in range(20)]
    tasks = [task for result in results for task in result.tasks]
    for result in results:
        give_up(world, result)
    assert [task.work for task in tasks] == [None] * 200
    assert [share.connection for share in world.queue.turns] == [other]
    assert not world.queue.has(gone)
    world.add("back", gone)
    assert world.take_all() == ["other", "back"]


@pytest.mark.parametrize("count", [1, 63, 64, 65, 1000])
def test_tasks_that_are_cancelled_one_after_the_other_do_not_pile_up(count):
    world = World(10_000)
    kept = [world.add(f"kept {number}") for number in range(3)]
    for _ in range(count):
        give_up(world, world.add("cancelled"))
    share = kept[0].share
    assert len(share.waiting) <= 3 + 2 * 65
    assert list(world.queue.turns) == [share]
    assert world.take_all() == ["kept 0", "kept 1", "kept 2"]
    for _ in range(count):
        give_up(world, world.add("cancelled"))
    assert world.queue.take() is None
    world.add("last")
    assert world.take_all() == ["last"]


@pytest.mark.parametrize(
    "end",
    [lambda each: each.close(), lambda each: each.throw(ValueError)],
    ids=["close", "throw"],
)
def test_a_coroutine_that_is_ended_cancels_what_it_waits_for(end):
    cancelled = []
    result = Result(Share(None), cancelled.append)

    async def wait():
        await result

    async def run():
        coroutine = wait()
        coroutine.send(None)
        with suppress(ValueError):
            end(coroutine)

    asyncio.run(run())
    assert cancelled == [result]
