"""Nobody is left waiting, whatever order supervisor, workers and clients act in.

The model is support/dispatch_world.py: the real dispatch, interleaved with everybody else at each
read and write.
"""

import random
from contextlib import closing
from dataclasses import replace

import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from host.dispatch.dispatcher import Dispatcher
from host.ipc.scoreboard import CLAIMED, SENT
from host.telemetry.events import WORKER_SUSPENDED
from support.dispatch_world import PATIENCE, RETRY_SECONDS, Setup, World

LONG_TAPES = st.binary(min_size=150, max_size=500)
TAPES = st.binary(max_size=60) | LONG_TAPES


def setups(**fixed):
    return st.builds(
        Setup,
        **{
            "workers": st.integers(1, 4),
            "listeners": st.integers(1, 2),
            "blind": st.booleans(),
        }
        | fixed,
    )


FAULTLESS = setups()
LIMITED = setups(limit=st.integers(1, 3))
FAULTY = setups(
    limit=st.sampled_from([1, 2, 1_000_000]),
    faults=st.just(True),
    pipe_size=st.sampled_from([1, 2, 1_000]),
)


def faultless(world, setup):
    """Nobody fails and nobody is full: every connection is handed out once, in turn."""
    world.play()
    world.rest()
    assert not world.waiting, "connections are left waiting"
    world.check_counters()
    assert not world.spurious, "a worker was told to accept what was not there"
    for listener in range(setup.listeners):
        accepted = world.accepted(listener)
        assert max(accepted) - min(accepted) <= 1, "round-robin is not exact"
    assert sum(sum(world.accepted(n)) for n in range(setup.listeners)) == world.arrived


def limited(world, setup):
    """Workers are full at times: connections wait, and are taken as soon as there is room."""
    world.play()
    # A worker may have had room just before it was told that somebody waits for that.
    world.rest(2 * setup.patience)
    everyone_full = all(worker.held == setup.limit for worker in world.workers.values())
    assert everyone_full or not world.waiting, "connections are left waiting"
    world.rest(2 * setup.patience, hang_up=True)
    assert not world.waiting, "connections are left waiting"
    world.check_counters()
    assert not world.spurious, "a worker was told to accept what was not there"
    assert not world.told.of(WORKER_SUSPENDED)


def faulty(world, setup):
    """Workers stop, die, leave, and have nothing left: whoever remains takes what waits."""
    world.play()
    for worker in world.workers.values():
        worker.short = False
    world.rest(RETRY_SECONDS)
    if not any(worker.able for worker in world.workers.values()):
        if 0 in world.workers:
            world.die(world.workers[0])
            world.on_child()
        world.start(0)
    # One missed claim, and one long doubt, for each worker that may hang.
    delay = 2 * setup.workers * PATIENCE + RETRY_SECONDS
    world.rest(delay, hang_up=True)
    assert not world.waiting, "connections are left waiting"
    for worker in world.workers.values():
        worker.stopped = False
    world.rest(delay, hang_up=True)
    assert not world.waiting
    world.check_counters()


def run(scenario, setup, tape):
    with closing(World(setup, tape)) as world:
        try:
            scenario(world, setup)
        except AssertionError as error:
            error.add_note("\n".join(world.story))
            raise


@settings(max_examples=150)
@given(FAULTLESS, TAPES)
def test_without_faults_every_connection_is_handed_out_once_and_in_turn(setup, tape):
    run(faultless, setup, tape)


@settings(max_examples=150)
@given(LIMITED, TAPES)
def test_a_limit_is_never_exceeded_and_keeps_nobody_waiting_longer_than_it_must(setup, tape):
    run(limited, setup, tape)


@settings(max_examples=250)
@given(FAULTY, TAPES)
def test_whoever_stops_or_dies_keeps_nobody_waiting(setup, tape):
    run(faulty, setup, tape)


def unclaimed(dispatcher, listener):
    """Read how many notifications are outstanding."""
    cells = dispatcher._cells
    return sum(cells[at + SENT] - cells[at + CLAIMED] for at in dispatcher._accounts[listener])


class Forgetful(Dispatcher):
    """Takes who has claimed everything for one that has nothing under way."""

    def _need(self, listener, now):
        cells = self._cells
        self._accounts[listener] = {
            at for at in self._accounts[listener] if cells[at + CLAIMED] != cells[at + SENT]
        }
        return super()._need(listener, now)


class Careless(Dispatcher):
    """Never looks again at the load of a worker that had room once."""

    def plan(self, listener, now):
        for worker in self._candidates:
            worker.room = 1_000
        return super().plan(listener, now)


class ClaimsFirst(Dispatcher):
    """Reads the claims before the queue length: a claim and its accept in between are missed."""

    def _need(self, listener, now):
        outstanding = unclaimed(self, listener)
        length = self._queue_lengths[listener]()
        (self._unsettled.add if length else self._unsettled.discard)(listener)
        return length - outstanding


class Hasty(Dispatcher):
    """Reads in the right order, and never minds an accept that is under way."""

    def _need(self, listener, now):
        length = self._queue_lengths[listener]()
        outstanding = unclaimed(self, listener)
        (self._unsettled.add if length else self._unsettled.discard)(listener)
        return length - outstanding


class TooTrusting(Dispatcher):
    """Goes on counting on a worker that has missed a claim."""

    def check(self, now):
        self._told.clear()
        return super().check(now)


class OnePerPass(Dispatcher):
    """Sends one notification for each edge, however many connections came with it."""

    def _need(self, listener, now):
        return min(1, super()._need(listener, now))


MUTANTS = [
    (ClaimsFirst, Setup(workers=1), faultless, "nobody was told of a connection"),
    (Hasty, Setup(workers=1), faultless, "a worker was told to accept what was not there"),
    (Forgetful, Setup(workers=1), faultless, "a worker was told to accept what was not there"),
    (Careless, Setup(limit=2), limited, "max_connections"),
    (OnePerPass, Setup(), faultless, "nobody was told of a connection"),
    (TooTrusting, Setup(faults=True), faulty, "connections are left waiting"),
]


@pytest.mark.parametrize(("mutant", "setup", "scenario", "consequence"), MUTANTS)
def test_the_model_finds_a_dispatcher_that_errs(mutant, setup, scenario, consequence):
    setup = replace(setup, dispatcher=mutant)

    def errs(tape):
        try:
            run(scenario, setup, tape)
        except AssertionError as error:
            return consequence in str(error)
        return False

    once = settings(max_examples=3000, phases=[Phase.generate], database=None)
    find(LONG_TAPES, errs, settings=once, random=random.Random(1))
