"""A name has one owner, and who asks last has it."""

import asyncio

import pytest

from host.plugins.coordination import AGAIN_SECONDS, Owners

KIND = "users"


class Place:
    """A worker that gives up what it is asked for, or keeps it."""

    def __init__(self, worker, gives_up=True):
        self.worker, self.gives_up, self.asked = worker, gives_up, []
        self.owners = Owners(worker, KIND, self.give_up)

    def give_up(self, name):
        self.asked.append(name)
        if self.gives_up:
            self.owners.release(name)

    def take(self, name="ann", seconds=5):
        return begin(self.worker, self.owners.take(name, seconds))

    def is_free(self, name="ann"):
        async def look():
            async with self.owners.if_free(name) as is_owner:
                return is_owner

        return begin(self.worker, look()).result()


def begin(worker, coroutine):
    task = worker.asyncio.create_task(coroutine)
    worker.run()
    return task


@pytest.fixture
def start(harness):
    """Return what starts workers: the harness and a place for each."""

    def start(workers=2, **how):
        started = harness(workers=workers)
        places = [Place(worker, **how) for worker in started.workers]
        started.run()
        return started, *places

    return start


def test_a_name_that_is_free_is_had_at_once(start):
    _, one, other = start()
    assert one.take().result()
    assert other.take("bob").result()
    assert one.asked == other.asked == []


def test_the_owner_gives_a_name_up_and_the_one_that_asks_has_it(start):
    _, one, other = start()
    one.take()
    assert other.take().result()
    assert (one.asked, other.asked) == (["ann"], [])
    assert one.take().result()
    assert other.asked == ["ann"]


def test_the_owner_takes_its_time(start):
    started, one, other = start(gives_up=False)
    one.take()
    taken = other.take()
    started.advance(2 * AGAIN_SECONDS)
    assert not taken.done()
    one.owners.release("ann")
    started.run()  # the one that waits is told: no time has to pass
    assert taken.result()


def test_a_name_is_given_up_for_another_asker_of_the_same_worker(start):
    _, one, _ = start(gives_up=False)
    one.take()
    again = one.take()
    assert one.asked == ["ann"]
    assert not again.done()
    one.owners.release("ann")
    one.worker.run()
    assert again.result()


def test_only_who_owns_a_name_is_asked(start):
    _, one, other, third = start(3)
    one.take()
    other.take("bob")
    third.take()
    assert (one.asked, other.asked, third.asked) == (["ann"], [], [])


def test_of_several_askers_of_a_worker_the_last_one_has_it(start):
    started, one, other = start(gives_up=False)
    one.take()
    tasks = [other.take() for _ in range(3)]
    assert [task.done() for task in tasks] == [True, True, False]
    assert [task.result() for task in tasks[:2]] == [False, False]
    one.owners.release("ann")
    started.run()
    assert tasks[-1].result()


def test_of_askers_in_several_workers_the_last_one_has_it_in_the_end(start):
    started, one, other, third = start(3)
    one.gives_up = False
    one.take()
    before = other.take()
    after = third.take()
    one.owners.release("ann")
    started.advance(2 * AGAIN_SECONDS)
    assert before.result()
    assert after.result()
    assert other.asked == ["ann"]
    assert third.asked == []


def test_an_owner_that_never_gives_a_name_up_keeps_it(start):
    started, one, other = start(gives_up=False)
    one.take()
    taken = other.take(seconds=3.5)
    started.advance(3.4)
    assert not taken.done()
    started.advance(0.2)
    assert taken.result() is False
    # At once, after each second, and at the end: a question may be lost.
    assert one.asked == ["ann"] * 5
    started.advance(60)
    assert one.asked == ["ann"] * 5
    assert one.take("bob").result()


def test_a_question_that_was_lost_is_asked_again(start):
    started, one, other = start()
    one.take()
    started.bus.overloaded = True
    taken = other.take()
    assert one.asked == []
    started.bus.overloaded = False
    started.advance(AGAIN_SECONDS)
    assert one.asked == ["ann"]
    assert taken.result()


def test_a_name_of_a_worker_that_dies_is_had_at_once(start):
    started, one, other = start(gives_up=False)
    one.take()
    taken = other.take()
    assert not taken.done()
    started.kill(0)
    assert taken.result()


def test_who_waits_asks_once_more_when_another_worker_has_died_and_then_waits_on(start):
    started, one, other, _ = start(3, gives_up=False)
    one.take()
    taken = other.take()
    started.kill(2)
    started.advance(0.9 * AGAIN_SECONDS)
    assert one.asked == ["ann"] * 2
    assert not taken.done()


def test_a_name_that_another_host_has_got_is_given_up(start):
    started, one, other = start()
    one.take("ann")
    one.take("bob")
    started.bus.take_key(f"{KIND}.ann")
    started.run()
    assert one.asked == ["ann"]
    assert other.asked == []


def test_a_key_of_another_kind_that_is_called_like_a_name_is_none_of_its_names(start):
    started, one, _ = start()
    one.take("jobs.1")
    one.worker.bus.claim("jobs.1", lambda _: None)
    started.run()
    started.bus.take_key("jobs.1")
    started.run()
    assert one.asked == []


@pytest.mark.parametrize("asks", ["take", "if_free"])
def test_a_name_that_was_taken_is_had_again_when_its_last_connection_has_left(start, asks):
    """Else what two connections of one user do would be mixed."""
    _, one, _ = start(gives_up=False)
    one.take()
    one.worker.bus.release(f"{KIND}.ann")  # another host has had it, and has released it
    if asks == "if_free":
        assert not one.is_free()
    again = one.take()
    assert not again.done()
    one.owners.release("ann")
    one.worker.run()
    assert again.result()


def test_what_is_free_is_owned_as_long_as_the_context_lasts(start):
    _, one, other = start(gives_up=False)
    left = asyncio.Event()

    async def hold():
        async with one.owners.if_free("ann") as is_owner:
            await left.wait()
            return is_owner

    held = begin(one.worker, hold())
    assert not other.is_free()
    taken = other.take()
    assert not taken.done()
    one.worker.asyncio.call_soon(left.set)
    one.worker.run()
    assert held.result()
    assert taken.result()


def test_what_was_free_is_so_again_after_an_error(start):
    _, one, other = start()

    async def fail():
        with pytest.raises(ZeroDivisionError):
            async with one.owners.if_free("ann"):
                raise ZeroDivisionError

    begin(one.worker, fail())
    assert other.is_free()


def test_what_somebody_owns_is_not_free_and_is_left_to_him(start):
    _, one, other = start()
    one.take()
    assert not other.is_free()
    assert not one.is_free()
    assert one.asked == []
    assert not other.is_free()  # the one that has asked has not released it


def test_a_question_that_comes_right_after_the_name_does_not_get_lost(start):
    """It is asked for a name of which `take` has not returned yet."""
    started, one, other = start(gives_up=False)
    order = []

    async def take():
        await one.owners.take("ann", 5)
        order.append(("taken", one.asked))

    async def ask():
        other.worker.bus.publish(f"{KIND}-wanted", b"ann")

    one.worker.asyncio.create_task(take())
    other.worker.asyncio.create_task(ask())
    started.run()
    assert order == [("taken", ["ann"])]


def test_a_name_that_nobody_waits_for_any_more_stays_free(start):
    started, one, other = start(gives_up=False)
    started.bus.away = True
    taken = one.take()
    taken.cancel()
    started.run()
    started.bus.away = False
    started.run()
    assert taken.cancelled()
    assert other.take().result()
    assert one.asked == []


def test_a_name_is_free_of_which_the_answer_comes_with_the_cancelling(start):
    _, one, other = start(gives_up=False)
    task = None

    def cancel(_):
        task.cancel()

    async def begin_and_cancel():
        nonlocal task
        task = one.worker.asyncio.create_task(one.owners.take("ann", 5))
        await asyncio.sleep(0)  # it has asked
        one.worker.bus.claim("another", cancel)  # is answered right after it

    begin(one.worker, begin_and_cancel())
    assert task.cancelled()
    assert other.take().result()
