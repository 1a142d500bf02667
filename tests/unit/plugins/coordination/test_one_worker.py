"""What is done from time to time is done by one worker, whichever of them are left."""

import pytest

from host.plugins.coordination import call_on_one_worker

KEY = "clock"


@pytest.fixture
def start(harness):
    """Return what starts workers: the harness, and a list with the slot of each call."""

    def start(workers, seconds=10):
        started, calls = harness(workers=workers), []
        for worker in started.workers:
            call_on_one_worker(worker, KEY, seconds, lambda slot=worker.slot: calls.append(slot))
        started.run()
        return started, calls

    return start


def test_one_worker_does_it_at_once_and_then_from_time_to_time(start):
    started, calls = start(3)
    assert calls == [0]
    started.advance(9)
    assert calls == [0]
    started.advance(52)
    assert calls == [0] * 7


def test_another_worker_does_it_when_that_has_died(start):
    started, calls = start(3)
    started.advance(25)
    started.kill(0)
    calls.clear()
    started.advance(9)
    (heir,) = calls
    assert heir in (1, 2)
    started.advance(30)
    assert calls == [heir] * 4
    started.kill(heir)
    started.advance(10)
    assert calls == [heir] * 4 + [3 - heir]


def test_who_has_lost_the_key_to_another_host_does_it_no_more(start):
    started, calls = start(2)
    started.bus.take_key(KEY)
    started.run()
    started.advance(60)
    assert calls == [0]


def test_who_has_the_key_though_its_first_claim_was_lost_does_it(harness):
    started, calls = harness(), []
    started.bus.overloaded = True
    call_on_one_worker(started.workers[0], KEY, 10, lambda: calls.append(True))
    started.advance(5)
    assert calls == []
    started.bus.overloaded = False
    started.advance(5)
    assert calls == [True]
    started.advance(10)
    assert calls == [True] * 2


def test_several_things_are_done_each_by_one(start):
    started, calls = start(2)
    others = []
    for worker in started.workers:
        call_on_one_worker(worker, "another", 20, lambda slot=worker.slot: others.append(slot))
    started.advance(40)
    assert len(calls) == 5
    assert len(others) == 3
