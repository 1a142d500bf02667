"""A listener never has more connections than it may, and whoever waits gets the next place."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from host.dispatch.dispatcher import DispatchPolicy
from host.dispatch.limiting import LimitedDispatcher
from host.interfaces import Listener
from host.ipc.assignment import WorkerId
from host.ipc.scoreboard import ACCEPTED, CLAIMED, CLAIMED_ALL, OPEN, SENT, SETTLED, Scoreboard
from host.supervisor.generation import Generation
from support.fakes import Told


class World:
    """A listener with a limit, its workers, and what waits; all by hand."""

    def __init__(self, limit, workers=3):
        self.limit, self.waiting, self.now = limit, 0, 1.0
        view = Listener(0, "tcp://127.0.0.1:1", "echo")
        self.generation = Generation(0, [view], scoreboard=Scoreboard(1))
        self.rows = [self.generation.take_row(slot) for slot in range(workers)]
        self.told = [0] * workers
        self.dispatcher = LimitedDispatcher(
            self.generation.scoreboard.cells,
            [(view, lambda: self.waiting)],
            [("first", lambda _listener, workers: workers[0])],
            DispatchPolicy(max_connections=100, missed_claim_seconds=0.05),
            report=lambda *_: None,
            telemetry=Told().telemetry,
        )
        self.dispatcher.rooms = {0: lambda: self.generation.room(view, limit)}
        for slot, row in enumerate(self.rows):
            self.dispatcher.ready(row, WorkerId(slot, 100 + slot, 0))

    @property
    def open(self):
        return sum(row.count(0, OPEN) for row in self.rows)

    def run_pass(self):
        for worker, count in self.dispatcher.plan(0, self.now):
            self.told[worker.slot] += count

    def accept(self, slot):
        """Have a worker act on one notification, with a pass at each step of it."""
        if not self.told[slot]:
            return
        self.told[slot] -= 1
        row = self.rows[slot]
        row.add(0, CLAIMED)
        row.put(CLAIMED_ALL, row.get(CLAIMED_ALL) + 1)
        self.run_pass()
        if self.waiting:
            self.waiting -= 1
            row.add(0, OPEN)
            row.add(0, ACCEPTED)
        self.run_pass()
        row.add(0, SETTLED)

    def leave(self, slot):
        if self.rows[slot].count(0, OPEN):
            self.rows[slot].add(0, OPEN, -1)


@given(
    st.integers(1, 6),
    st.lists(st.tuples(st.sampled_from(["come", "accept", "leave"]), st.integers(0, 2))),
)
@settings(deadline=None)
def test_there_are_never_more_than_may_be_and_no_place_stays_free(limit, steps):
    world = World(limit)
    for what, which in steps:
        match what:
            case "come":
                world.waiting += which + 1
            case "accept":
                world.accept(which)
            case _:
                world.leave(which)
        world.run_pass()
        assert world.open <= limit
    for _ in range(100):
        world.now += 1
        world.run_pass()
        for slot in range(3):
            world.accept(slot)
    assert world.open == limit or not world.waiting
    world.generation.scoreboard.close()


def test_whoever_waits_for_a_place_is_seen_as_waiting():
    world = World(2)
    world.waiting = 5
    world.run_pass()
    assert (sum(world.told), world.dispatcher.starved) == (2, True)
    world.waiting = 2
    world.run_pass()
    assert not world.dispatcher.starved
    world.generation.scoreboard.close()


def test_a_place_that_gets_free_during_the_pass_is_not_overlooked():
    world, answers = World(1), [0, 1]
    world.dispatcher.rooms = {0: lambda: answers.pop(0)}
    world.waiting = 1
    world.run_pass()
    assert (sum(world.told), world.dispatcher.starved) == (1, False)
    assert not world.generation.scoreboard.starved
    world.generation.scoreboard.close()


def test_workers_are_told_that_somebody_waits_before_the_last_look():
    world, seen = World(1), []
    board = world.generation.scoreboard
    world.dispatcher.rooms = {0: lambda: seen.append(board.starved) or 0}
    world.waiting = 1
    world.run_pass()
    assert (seen, board.starved) == ([False, True], True)
    board.close()


def test_a_worker_that_is_suspended_keeps_the_places_it_was_told_of():
    world = World(4)
    world.waiting = 4
    world.run_pass()
    stopped = world.dispatcher.workers[0]
    world.dispatcher.unsent(stopped, 0, 0)
    world.waiting = 8
    world.run_pass()
    assert sum(world.told) == 4
    world.generation.scoreboard.close()


def test_connections_of_other_generations_take_places():
    world = World(4)
    world.generation.held_by_others = {"tcp://127.0.0.1:1": 3}.get
    world.waiting = 5
    world.run_pass()
    assert sum(world.told) == 1
    world.generation.scoreboard.close()


def test_the_places_of_a_dead_worker_are_free_again():
    world = World(3)
    world.waiting = 3
    world.run_pass()
    for _ in range(2):
        world.accept(0)
    world.rows[0].write_off()
    world.dispatcher.gone(100)
    world.waiting = 9
    chance = random.Random(1)
    for _ in range(20):
        world.now += 1
        world.run_pass()
        world.accept(chance.randrange(1, 3))
    assert world.open == 3
    assert world.rows[0].count(0, SENT) == world.rows[0].count(0, SETTLED)
    world.generation.scoreboard.close()
