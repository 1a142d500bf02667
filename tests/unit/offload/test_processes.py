"""What a worker does with the answers of its processes, and what comes between."""

import os
import pickle
import socket

import pytest

from host.ipc.scoreboard import (
    OF_TASKS,
    TASKS_DONE,
    TASKS_LOST,
    TASKS_TIMED_OUT,
    TURN_LASTED,
    Scoreboard,
)
from host.offload import process, processes
from host.offload.child import HEADER, READY, VALUE
from host.offload.pool import Surroundings
from host.offload.process import Start
from host.offload.processes import ProcessPool
from host.runtime.loop import READ, Loop
from host.settings import PoolSettings
from host.telemetry.emitter import Telemetry
from host.testing.machine import Stopwatch


class World:
    """A pool on a loop with a clock of its own; the test does the tasks of its processes."""

    def __init__(self, monkeypatch, size):
        self.now = 100.0
        self.loop = Loop(clock=self._time)
        self.ends = []
        monkeypatch.setattr(process, "_spawn", self._spawn)
        monkeypatch.setattr(processes, "have_session_give_way", lambda *_: True)
        self.row = Scoreboard(1).use(0, 0)
        around = Surroundings(self.loop, lambda call: call(), Telemetry(), 0, self.row)
        start = Start(0, b"", None, "test")
        self.pool = ProcessPool("test", PoolSettings(size=size), around, start)
        for end in self.ends:
            end.sendall(HEADER.pack(READY, 0))
        self.turn()
        self.told = []

    def _time(self):
        self.now += 1e-6
        return self.now

    def _spawn(self, start, sock):
        self.ends.append(sock.dup())
        return os.posix_spawnp("sleep", ["sleep", "600"], os.environ)

    def turn(self):
        self.loop.run_once(0)

    def submit(self, count, **options):
        for number in range(count):
            self.pool.apply_async(abs, (number,), callback=self.told.append, **options)

    def answer(self, value, at=0):
        """Have a process answer the task that it has."""
        assert self.has_task(at)
        data = pickle.dumps(value)
        self.ends[at].sendall(HEADER.pack(VALUE, len(data)) + data)

    def answer_after_long(self, value, at=0):
        """Have a process answer its task after a second, and the worker take that."""
        self.answer(value, at)
        self.now += 1
        self.turn()

    def has_task(self, at=0):
        """Tell whether a process got a task, and take it."""
        try:
            return bool(self.ends[at].recv(65_536, socket.MSG_DONTWAIT))
        except BlockingIOError:
            return False

    def close(self):
        self.pool.close()
        for end in self.ends:
            end.close()
        self.loop.close()


@pytest.fixture
def begin(monkeypatch):
    worlds = []

    def begin(size=1):
        worlds.append(World(monkeypatch, size))
        for at in range(size):
            worlds[-1].has_task(at)  # how it begins
        return worlds[-1]

    yield begin
    for world in worlds:
        world.close()


def test_a_tiny_task_is_told_at_once(begin):
    world = begin()
    world.submit(1)
    world.answer("a")
    world.turn()
    assert world.told == ["a"]


def test_others_are_served_between_the_next_task_and_the_answer_of_a_long_one(begin):
    world = begin()
    world.submit(2)
    world.answer_after_long("a")
    assert world.has_task()
    assert world.told == []
    own, other = os.pipe()
    os.write(other, b"x")
    served = []
    world.loop.add(own, READ, lambda _: served.append((os.read(own, 1), list(world.told))))
    world.turn()
    assert served == [(b"x", [])]
    assert world.told == ["a"]
    world.loop.remove(own)
    os.close(own)
    os.close(other)


def test_one_long_task_is_told_in_a_turn_in_the_order_of_their_ends(begin):
    world = begin(size=3)
    world.submit(3)
    for at, value in ((2, "c"), (0, "a"), (1, "b")):
        world.answer_after_long(value, at)
        if value == "c":
            world.turn()
            assert world.told == ["c"]
    world.turn()
    assert world.told == ["c", "a", "b"]


def test_answers_that_come_together_have_a_turn_each(begin):
    world = begin(size=3)
    world.submit(3)
    for at in range(3):
        world.answer(at, at)
    world.now += 1
    counts = []
    for _ in range(4):
        world.turn()
        counts.append(len(world.told))
    assert counts == [0, 1, 2, 3]


def test_a_tiny_task_is_told_at_once_after_the_long_ones_that_have_ended_sooner(begin):
    world = begin(size=2)
    world.submit(1)
    world.now += 1
    world.submit(1)
    world.answer("long", 0)
    world.turn()
    world.answer("tiny", 1)
    world.turn()
    assert world.told == ["long", "tiny"]
    world.turn()
    assert world.told == ["long", "tiny"]


def test_what_is_cancelled_before_it_is_told_is_not_told(begin):
    world = begin()
    result = world.pool.apply_async(abs, (1,), callback=world.told.append)
    world.answer_after_long("a")
    result.cancel()
    world.turn()
    assert world.told == []
    assert not world.pool.is_busy()


def test_what_was_done_in_time_is_not_late_where_the_turn_took_longer(begin):
    world = begin()
    world.submit(1, timeout=0.5)
    world.answer("a")
    world.now += 1  # somebody else's hook
    world.turn()
    world.turn()
    assert world.told == ["a"]
    assert world.row.get(TASKS_TIMED_OUT) == 0


def test_who_has_waited_for_a_worker_that_was_held_up_is_told_at_once(begin):
    world = begin()
    world.submit(1)
    world.answer("a")
    world.now += 1
    world.row.put(TURN_LASTED, 20_000_000)
    world.turn()
    assert world.told == ["a"]


def test_no_more_than_one_answer_of_each_process_waits_to_be_told(begin):
    world = begin(size=2)
    world.submit(12)
    for turn in range(1, 6):  # each takes so long that both are done in the next one
        for at in range(2):
            world.answer((turn, at), at)
        world.now += 1
        world.turn()
        assert len(world.told) >= 2 * turn - 2
    assert world.told[:4] == [(1, 0), (1, 1), (2, 0), (2, 1)]


@pytest.mark.parametrize("turns", range(4))
def test_a_task_is_counted_once_if_its_worker_is_killed_before_it_is_told(begin, turns):
    world = begin()
    world.submit(3)
    world.answer("a")
    world.now += 1
    for _ in range(turns):
        world.turn()
    world.row.write_off()
    assert sum(world.row.get(word) for word in OF_TASKS.values()) == 3
    done = 1 if turns > 1 else 0
    assert (world.row.get(TASKS_DONE), world.row.get(TASKS_LOST)) == (done, 3 - done)


def test_what_is_cancelled_before_it_is_told_does_not_run_when_the_worker_ends(begin):
    world = begin()
    world.submit(2)
    world.answer_after_long("a")
    assert world.pool.give_up() == 2
    world.pool.close()
    world.row.write_off()
    assert world.row.get(OF_TASKS["cancelled"]) == 2
    assert world.row.get(TASKS_LOST) == 0


def test_a_process_that_is_killed_with_a_task_gets_no_other_though_it_has_answered(begin):
    world = begin()
    first = world.pool.apply_async(abs, (1,))
    world.submit(1)
    world.answer("a")
    first.cancel()
    watch = Stopwatch()
    while len(world.ends) == 1:
        assert not watch.has_passed(30.0)
        world.loop.run_once(0.1)
    assert not world.has_task(0)
    world.has_task(1)  # how it begins
    world.ends[1].sendall(HEADER.pack(READY, 0))
    world.turn()
    world.answer("b", 1)
    world.turn()
    assert world.told == ["b"]
    assert world.row.get(TASKS_LOST) == 0
