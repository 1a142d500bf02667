"""Looking for answers and tasks without sleeping, for a moment, and seldom if it does not help."""

import pickle
import socket
import threading

import pytest

from host.offload import child, pools
from host.offload.busy_poll import BusyPoll
from host.offload.child import HEADER, TASK, Attempts, Channel
from host.offload.pools import MakePools
from host.settings import PoolSettings

ONE, OTHER = object(), object()


class Loop:
    """A loop whose clock and turns are the test's."""

    def __init__(self):
        self.now, self.due = 100.0, []

    def time(self):
        return self.now

    def call_at(self, when, function):
        assert when <= self.now, "the loop would sleep"
        self.due.append(function)

    def turn(self, seconds):
        """Take a turn after so many seconds; tell whether the loop would sleep before the next."""
        self.now += seconds
        due, self.due = self.due, []
        for function in due:
            function()
        return not self.due


@pytest.fixture
def loop():
    return Loop()


def test_attempts_in_vain_double_how_many_waits_go_without():
    attempts, found = Attempts(), []
    for _ in range(200):
        found.append(attempts.due())
        if found[-1]:
            attempts.note(found=False)
    assert [at for at, due in enumerate(found) if due] == [0, 2, 6, 14, 30, 62, 126, 190]
    while not attempts.due():
        pass
    attempts.note(found=True)
    assert attempts.due()


def test_the_loop_does_not_sleep_until_the_answer_comes(loop):
    poll = BusyPoll(loop, 100e-6)
    poll.begin(ONE)
    assert not loop.turn(40e-6)
    assert not loop.turn(40e-6)
    poll.end(ONE)
    assert loop.turn(1e-6)
    poll.begin(ONE)
    assert not loop.turn(50e-6)


def test_it_sleeps_when_the_time_is_up_and_then_goes_by_a_wait(loop):
    poll = BusyPoll(loop, 100e-6)
    poll.begin(ONE)
    assert not loop.turn(99e-6)
    assert loop.turn(2e-6)
    poll.end(ONE)
    poll.begin(ONE)
    assert loop.turn(0)
    poll.begin(ONE)
    assert not loop.turn(0)


def test_a_task_that_is_given_with_an_answer_has_its_own_time(loop):
    poll = BusyPoll(loop, 100e-6)
    poll.begin(ONE)
    assert not loop.turn(90e-6)
    poll.end(ONE)
    poll.begin(ONE)
    assert len(loop.due) == 1
    assert not loop.turn(90e-6)
    assert loop.turn(20e-6)


def test_tasks_that_are_given_meanwhile_do_not_make_it_longer(loop):
    poll = BusyPoll(loop, 100e-6)
    poll.begin(ONE)
    loop.turn(60e-6)
    poll.begin(ONE)
    assert loop.turn(60e-6)


def test_only_the_answer_that_is_looked_for_counts(loop):
    poll = BusyPoll(loop, 100e-6)
    poll.begin(ONE)
    poll.begin(OTHER)
    poll.end(OTHER)
    assert not loop.turn(50e-6)
    assert loop.turn(60e-6)
    poll.end(ONE)
    poll.begin(ONE)
    assert loop.turn(0)


def test_without_time_it_sleeps_at_once(loop):
    poll = BusyPoll(loop, 0.0)
    poll.begin(ONE)
    assert loop.due == []
    poll.end(ONE)


@pytest.mark.parametrize(("cpus", "seconds"), [(1, 0.0), (2, 100e-6)])
def test_with_one_cpu_neither_worker_nor_process_looks(monkeypatch, cpus, seconds):
    monkeypatch.setattr(pools, "usable_cpus", lambda: cpus)
    start = MakePools({}, {}).start("p", PoolSettings())
    assert start.poll_seconds == seconds
    assert pickle.loads(start.setup)["poll_seconds"] == seconds


@pytest.fixture
def ends():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Channel(ours), theirs


class Clock:
    """Each look at it takes a microsecond; something happens at some time."""

    def __init__(self, when=float("inf"), what=None):
        self.now, self.when, self.what = 0.0, when, what

    def monotonic(self):
        self.now += 1e-6
        if self.now >= self.when:
            self.when = float("inf")
            self.what()
        return self.now


def test_a_process_finds_the_task_that_comes_in_time(ends, monkeypatch):
    channel, worker = ends
    clock = Clock(50e-6, lambda: worker.send(HEADER.pack(TASK, 2) + b"it"))
    monkeypatch.setattr(child, "monotonic", clock.monotonic)
    channel._poll_seconds = 100e-6
    assert channel.receive() == (TASK, b"it")
    assert 50e-6 <= clock.now < 60e-6
    assert channel._attempts.due()


@pytest.mark.parametrize(("seconds", "most"), [(100e-6, 1e-3), (5e-3, 5e-3), (0.0, 0.0)])
def test_a_process_that_knows_of_more_tasks_looks_for_longer(ends, monkeypatch, seconds, most):
    channel, worker = ends
    clock = Clock()
    monkeypatch.setattr(child, "monotonic", clock.monotonic)
    monkeypatch.setattr(child, "_MOST_LOOKS", 1_000_000)
    channel._poll_seconds, channel._is_followed = seconds, True
    thread = threading.Thread(target=channel.receive)
    thread.start()
    try:
        while clock.now < most:
            thread.join(0.001)
    finally:
        worker.send(HEADER.pack(TASK, 2) + b"it")
        thread.join(10)
    assert most <= clock.now <= most + 10e-6
    assert channel._attempts.due()  # whether tasks come by themselves is another question


def test_a_process_sleeps_when_the_time_is_up(ends, monkeypatch):
    channel, worker = ends
    clock = Clock()
    monkeypatch.setattr(child, "monotonic", clock.monotonic)
    channel._poll_seconds = 100e-6
    frames = []
    thread = threading.Thread(target=lambda: frames.append(channel.receive()))
    thread.start()
    try:
        while clock.now < 100e-6:
            thread.join(0.001)
    finally:
        worker.send(HEADER.pack(TASK, 2) + b"it")
        thread.join(10)
    assert frames == [(TASK, b"it")]
    assert clock.now < 110e-6
    assert not channel._attempts.due()


def test_a_process_sleeps_also_if_a_task_has_stopped_the_clock(ends, monkeypatch):
    channel, _ = ends
    monkeypatch.setattr(child, "monotonic", lambda: 5.0)
    assert not channel._busy_poll(100e-6)


def test_a_process_finds_the_end_of_its_worker_meanwhile(ends):
    channel, worker = ends
    channel._poll_seconds = 10.0
    worker.close()
    with pytest.raises(EOFError):
        channel.receive()
