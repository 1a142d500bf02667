"""What becomes of tasks whose caller, or whose connection, does something else meanwhile."""

import gc
from decimal import Decimal

import pytest

from host import TaskCancelledError
from host.offload.pool import Surroundings, TaskPool
from host.settings import PoolSettings
from host.telemetry.emitter import Telemetry
from host.testing import FakeConnection, FakeWorker

ANSWER_SECONDS = 60.0
"""For how long a connection is kept for answers, unless the settings say something else."""


class ByHand(TaskPool):
    """A pool whose tasks are all begun at once, and done when the test says so."""

    def __init__(self, worker):
        around = Surroundings(worker.loop, lambda function: function(), Telemetry(), 0)
        super().__init__("by hand", PoolSettings(), around)
        self.ended = []

    def finish(self, result, value=None):
        self._done(result.tasks[0], value)

    def _pack(self, func, args, kwds, items):
        return [each.asked() for each in (*args, *(items or ())) if isinstance(each, Asked)]

    def _begin(self):
        while self._take(self) is not None:
            pass

    def _end_running(self, task):
        self.ended.append(task.result)


class Asked:
    """An argument that does something when it is asked what it is."""

    def __init__(self, function):
        self.asked = function


@pytest.fixture
def worker():
    return FakeWorker()


@pytest.fixture
def pool(worker):
    return ByHand(worker)


@pytest.fixture
def connection(worker):
    return FakeConnection(worker=worker)


def finish_sending(connection):
    connection.feed_eof()
    assert connection.read() == b""
    connection.fake.run()


def items_that_close(connection):
    yield 1
    connection.close()
    yield 2


@pytest.mark.parametrize(
    "timeout",
    [10**400, float("inf"), Decimal("0.5"), 1],
    ids=["huge", "infinite", "decimal", "one"],
)
def test_any_number_of_seconds_is_a_time(pool, timeout):
    result = pool.apply_async(abs, (1,), timeout=timeout)
    pool.finish(result, 1)
    assert result.get() == 1
    assert not pool.is_busy()


def test_a_connection_that_is_closed_by_what_a_task_is_made_of_has_no_task(worker, pool):
    one, two, three = (FakeConnection(worker=worker) for _ in range(3))
    for result in (
        pool.apply_async(abs, (Asked(one.close),), connection=one),
        pool.map_async(abs, [Asked(two.close)], connection=two),
        pool.map_async(abs, items_that_close(three), connection=three),
    ):
        with pytest.raises(TaskCancelledError):
            result.get()
    assert not pool.is_busy()


def test_what_is_done_and_not_told_yet_can_be_cancelled(pool, connection):
    heard = []

    def hear(_connection, value):
        heard.append(value)
        third.cancel()

    first, second, third = (
        pool.apply_async(abs, callback=hear, connection=connection) for _ in range(3)
    )
    pool.finish(third, 3)
    pool.finish(second, 2)
    second.cancel()  # it waits for the first one alone
    with pytest.raises(TaskCancelledError):
        second.get()
    pool.finish(first, 1)
    assert heard == [1]
    assert not pool.is_busy()
    finish_sending(connection)
    assert connection.closed  # it waits for no answer


def test_a_result_that_was_told_stays_as_it_is(pool, connection):
    for owner in (None, connection):
        result = pool.apply_async(abs, connection=owner)
        pool.finish(result, 1)
        result.cancel()
        assert result.get() == 1


def test_tasks_end_with_a_connection_that_has_waited_too_long_for_them(worker, pool, connection):
    result = pool.apply_async(abs, connection=connection)
    finish_sending(connection)
    worker.advance(ANSWER_SECONDS - 1)
    assert not connection.closed
    worker.advance(1)
    assert connection.closed
    assert not pool.is_busy()
    with pytest.raises(TaskCancelledError):
        result.get()
    worker.advance(1)
    assert pool.ended == [result]


def left_to_the_collector(do):
    """Return how many objects only the collector can free when something is done again."""
    do()  # what is made once stays
    gc.collect()
    gc.disable()
    try:
        do()
        return gc.collect()
    finally:
        gc.enable()


def leave(pool, connection, end):
    """Have tasks that end in some way, and keep nothing of them."""
    first = pool.apply_async(abs, (1,), callback=print, connection=connection)
    last = pool.map_async(abs, [1, 2], connection=connection)
    end(pool, last)
    for result in (last, first):
        for task in list(result.tasks):
            pool._done(task, [1])


@pytest.mark.parametrize(
    "end",
    [
        lambda pool, last: None,
        lambda pool, last: pool._fail(last.tasks[0], ValueError("x")),
        lambda pool, last: last.cancel(),
    ],
    ids=["done", "failed", "cancelled"],
)
def test_tasks_leave_the_collector_nothing(pool, connection, end):
    assert left_to_the_collector(lambda: leave(pool, connection, end)) == 0
    assert not pool.is_busy()


async def wait_for(results):
    await results.pop()


@pytest.mark.parametrize(
    "ask",
    [lambda results: results.pop().get(), lambda results: wait_for(results).send(None)],
    ids=["get", "await"],
)
def test_an_error_that_somebody_asked_for_leaves_the_collector_nothing(pool, ask):
    def fail():
        results = [pool.apply_async(abs, (1,), error_callback=lambda _: None)]
        pool._fail(results[0].tasks[0], ValueError("x"))
        with pytest.raises(ValueError, match="x"):
            ask(results)

    assert left_to_the_collector(fail) == 0
