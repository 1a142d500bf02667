"""Answers of the bus that coroutines wait for, and changes that are made in the end."""

from functools import partial

import pytest

from host.plugins.coordination import AGAIN_SECONDS, ask, insist, items_of


@pytest.fixture
def workers(harness):
    return harness(workers=2).workers


def begin(worker, coroutine):
    task = worker.asyncio.create_task(coroutine)
    worker.run()
    return task


def test_what_the_callback_is_given_is_returned(workers):
    worker, table = workers[0], workers[0].bus.table("t")
    assert begin(worker, ask(worker.bus.claim, "key")).result() is True
    assert begin(workers[1], ask(workers[1].bus.claim, "key")).result() is False
    assert begin(worker, ask(table.set, "a", b"1")).result() is True
    assert begin(worker, ask(table.get, "a")).result() == (True, b"1")


def test_what_the_call_raises_is_raised(workers):
    task = workers[0].asyncio.create_task(ask(workers[0].bus.claim, 513 * "x"))
    workers[0].run()
    assert isinstance(task.exception(), ValueError)


def test_an_answer_that_nobody_waits_for_any_more_does_no_harm(harness):
    started = harness()
    (worker,) = started.workers
    started.bus.away = True
    task = begin(worker, ask(worker.bus.table("t").set, "a", b"1"))
    task.cancel()
    started.run()
    started.bus.away = False
    started.run()
    assert task.cancelled()


def test_callbacks_come_in_the_order_of_what_arrives_and_coroutines_after_them(workers):
    worker, order = workers[0], []
    worker.bus.subscribe("t", lambda _: order.append("heard"))
    worker.run()

    def claim(done):
        worker.bus.claim("key", lambda owned: (order.append("answered"), done(owned)))
        worker.bus.publish("t", b"")

    async def run():
        await ask(claim)
        order.append("went on")

    begin(worker, run())
    assert order == ["answered", "heard", "went on"]


def test_all_of_a_table_is_returned_as_soon_as_it_is_known(harness):
    started = harness()
    (worker,) = started.workers
    table = worker.bus.table("t")
    table.set("a", b"1")
    started.run()
    started.bus.away = True
    task = begin(worker, items_of(table))
    started.advance(3 * AGAIN_SECONDS)
    assert not task.done()
    started.bus.away = False
    started.advance(AGAIN_SECONDS)
    assert task.result() == {"a": b"1"}


def test_a_change_is_made_again_until_it_is_done(harness):
    started = harness()
    (worker,) = started.workers
    table, answers = worker.bus.table("t"), []

    def change(done):
        table.set("a", b"1", lambda is_done: (answers.append(is_done), done(is_done)))

    started.bus.overloaded = True
    insist(worker, change)
    started.advance(2.5 * AGAIN_SECONDS)
    assert answers == [None, None, None]
    started.bus.overloaded = False
    started.advance(10 * AGAIN_SECONDS)
    assert answers == [None, None, None, True]
    assert begin(worker, items_of(table)).result() == {"a": b"1"}


def test_a_change_that_was_refused_is_not_made_again(harness):
    started = harness()
    (worker,) = started.workers
    answers = []

    def change(done):
        compare = partial(worker.bus.table("t").compare_and_set, "a", b"other", b"1")
        compare(lambda is_done: (answers.append(is_done), done(is_done)))

    insist(worker, change)
    started.advance(10 * AGAIN_SECONDS)
    assert answers == [False]
