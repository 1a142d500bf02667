"""Pools in the harness: the test's own process does the tasks, in turns of the loop."""

import os

import pytest

from host import (
    PicklingError,
    PoolError,
    PoolFullError,
    TaskCancelledError,
    TaskTimeoutError,
    WouldBlockError,
)
from host.settings import PoolSettings
from host.testing import FakeConnection, FakeWorker


def double(value):
    return value * 2


def fail(value):
    raise ValueError(value)


@pytest.fixture
def worker():
    return FakeWorker()


@pytest.fixture
def connection(worker):
    return FakeConnection(worker=worker)


def answer(connection, value):
    connection.write(b"%r;" % value)


def apologize(connection, error):
    connection.write(type(error).__name__.encode() + b";")


def test_a_task_is_done_and_its_callback_called(worker):
    heard = []
    result = worker.pool().apply_async(double, (4,), callback=heard.append)
    assert (heard, result.ready()) == ([], False)
    worker.run()
    assert (heard, result.get()) == ([8], 8)


@pytest.mark.parametrize("timeout", [-1, float("nan")])
def test_a_time_that_is_none_is_refused(worker, timeout):
    for ask, given in ((worker.pool().apply_async, (1,)), (worker.pool().map_async, [1])):
        with pytest.raises(ValueError, match="timeout must be a number of seconds, 0 or more"):
            ask(double, given, timeout=timeout)
    assert not worker.pool().is_busy()


def test_a_map_is_one_list(worker):
    heard = []
    for size in (None, 3, 100):
        worker.pool().map_async(double, range(10), size, callback=heard.append)
    worker.pool().map_async(double, [], callback=heard.append)
    worker.run()
    assert sorted(heard) == [[], *[[0, 2, 4, 6, 8, 10, 12, 14, 16, 18]] * 3]


def test_the_first_error_is_that_of_the_map(worker):
    errors = []
    result = worker.pool().map_async(fail, range(100), error_callback=errors.append)
    worker.run()
    assert [str(each) for each in errors] == ["0"]
    assert not result.successful()
    assert not worker.pool().is_busy()


def test_a_connection_is_answered_in_order_and_kept_for_it(worker, connection):
    pool = worker.pool()
    for value in range(3):
        pool.apply_async(double, (value,), callback=answer, connection=connection)
    connection.feed_eof()
    assert connection.read() == b""
    assert connection.sent == b"0;2;4;"
    assert connection.reason is not None


def test_an_error_is_answered_in_its_place(worker, connection):
    pool = worker.pool()
    for func in (double, fail, double):
        pool.apply_async(
            func, (2,), callback=answer, error_callback=apologize, connection=connection
        )
    assert connection.sent == b"4;ValueError;4;"


def test_an_error_that_nobody_hears_ends_the_connection(connection):
    connection.fake.raises = False
    connection.fake.pool().apply_async(fail, ("x",), callback=answer, connection=connection)
    connection.fake.run()
    assert [str(each.error) for each in connection.fake.failures] == ["x"]
    assert connection.closed


def test_an_error_that_nobody_hears_is_reported(worker):
    worker.raises = False
    worker.pool().apply_async(fail, ("x",), callback=print)
    worker.run()
    assert [str(each.error) for each in worker.failures] == ["x"]


def test_an_error_without_callbacks_is_kept(worker):
    result = worker.pool().apply_async(fail, ("x",))
    worker.run()
    with pytest.raises(ValueError, match="x"):
        result.get()


def test_what_a_callback_raises_is_the_plugins(worker, connection):
    worker.raises = False

    def callback(*_):
        raise KeyError("mine")

    worker.pool().apply_async(double, (1,), callback=callback)
    worker.pool().apply_async(double, (1,), callback=callback, connection=connection)
    worker.run()
    assert [type(each.error) for each in worker.failures] == [KeyError, KeyError]
    assert worker.failures[0].hook.endswith("callback")
    assert connection.closed


def test_tasks_go_with_their_connection(worker, connection):
    pool = worker.pool()
    pool.paused = True
    heard = []
    results = [
        pool.apply_async(double, (1,), callback=heard.append, connection=connection)
        for _ in range(5)
    ]
    other = pool.apply_async(double, (7,), callback=heard.append)
    connection.abort()
    worker.run()
    assert [each.ready() for each in results] == [True] * 5
    with pytest.raises(TaskCancelledError):
        results[0].get()
    assert not other.ready()
    worker.advance(1.0)  # those that ran had a moment to get done
    pool.paused = False
    worker.run()
    assert heard == [14]
    assert not pool.is_busy()


def test_a_closed_connection_has_no_tasks(worker, connection):
    connection.abort()
    result = worker.pool().apply_async(double, (1,), connection=connection)
    assert result.ready()
    assert not worker.pool().is_busy()


def test_a_task_can_be_cancelled(worker, connection):
    pool = worker.pool()
    pool.paused = True
    first = pool.apply_async(double, (1,), callback=answer, connection=connection)
    second = pool.apply_async(double, (2,), callback=answer, connection=connection)
    first.cancel()
    first.cancel()
    pool.paused = False
    assert connection.sent == b"4;"
    second.cancel()
    assert second.get() == 4


def test_a_task_has_its_time(worker):
    pool, errors = worker.pool(), []
    pool.paused = True
    for seconds in (2.0, 2.0, 1.5):
        pool.apply_async(double, (1,), error_callback=errors.append, timeout=seconds)
    worker.advance(1.4)
    assert errors == []
    worker.advance(0.6)
    assert [type(each) for each in errors] == [TaskTimeoutError] * 3
    assert [str(each).partition(" pool default ")[2] for each in errors] == [
        "has waited for 1.5 s, and was not begun",
        "was not done after 2 s",
        "was not done after 2 s",
    ]
    assert not pool.is_busy()


def test_a_waiting_task_has_its_whole_time_when_it_begins(worker):
    pool, errors = worker.pool(), []
    pool.paused = True
    first = [pool.apply_async(double, (1,)) for _ in range(2)]
    pool.apply_async(double, (1,), error_callback=errors.append, timeout=2.0)
    worker.advance(1.0)
    for each in first:
        each.cancel()
    worker.advance(1.9)
    assert errors == []
    worker.advance(0.1)
    assert len(errors) == 1


def test_no_more_tasks_than_max_queued(worker):
    worker.pool_settings = {"default": PoolSettings(max_queued=10)}
    pool = worker.pool()
    pool.paused = True
    for _ in range(10):
        pool.apply_async(double, (1,))
    with pytest.raises(PoolFullError, match=r"takes no 1 tasks more: .*max_queued is 10"):
        pool.apply_async(double, (1,))
    with pytest.raises(PoolFullError):
        pool.map_async(double, iter(range(10**9)))
    pool.paused = False
    worker.run()
    assert not pool.is_busy()


@pytest.mark.parametrize("method", ["apply", "map"])
def test_nothing_waits_on_the_loop(worker, method):
    with pytest.raises(WouldBlockError, match=rf"{method}\(\) would wait .*{method}_async"):
        getattr(worker.pool(), method)(double, [1])


def test_what_cannot_be_pickled_is_refused_at_once(worker):
    with pytest.raises(PicklingError):
        worker.pool().apply_async(lambda: 1)
    assert not worker.pool().is_busy()


def test_threads_pickle_nothing(worker):
    worker.pool_settings = {"waiting": PoolSettings(kind="threads")}
    heard = []
    pool = worker.pool("waiting")
    pool.apply_async(os.getpid, callback=heard.append)
    pool.map_async(lambda item: item + 1, [1, 2], callback=heard.append)
    worker.run()
    assert heard == [os.getpid(), [2, 3]]


def test_a_pool_that_the_settings_do_not_have(worker):
    worker.pool_settings = {"a": PoolSettings()}
    with pytest.raises(PoolError, match=r'no pool "b": .*\[pools.b\].* \(pools that .*: a\)'):
        worker.pool("b")


def test_a_chunk_has_at_least_one_item(worker):
    with pytest.raises(ValueError, match="at least 1, not 0"):
        worker.pool().map_async(double, [1], 0)
