"""Passes are done when something may have changed, and again for what could not be sent."""

from contextlib import closing

import pytest

from host.dispatch.dispatcher import LOOK_AGAIN
from support.dispatch_world import PATIENCE, Setup, World


@pytest.fixture
def world():
    with closing(World(Setup(workers=2, listeners=2, faults=True))) as world:
        yield world


def pipes(world):
    return [list(world.workers[slot].pipe) for slot in sorted(world.workers)]


def test_an_edge_brings_a_pass_for_its_listener(world):
    world.connect(0)
    world.connect(1)
    world.edges.discard(1)
    world.on_edge()
    assert pipes(world) == [[(0, 1)], []]


def test_a_burst_is_one_message_for_each_worker(world):
    for _ in range(5):
        world.connect(0)
    world.on_edge()
    assert pipes(world) == [[(0, 3)], [(0, 2)]]


def test_what_one_worker_did_not_take_goes_to_another_at_once(world):
    world.workers[0].dead = True
    for _ in range(4):
        world.connect(0)
    world.on_edge()
    assert pipes(world) == [[], [(0, 2), (0, 2)]]


def test_a_wake_up_brings_a_pass_for_all(world):
    for listener in range(2):
        world.connect(listener)
    world.woken = True
    world.on_turn_begin()
    assert pipes(world) == [[(0, 1)], [(1, 1)]]


def test_a_missed_claim_is_noticed_in_time(world):
    world.workers[0].stopped = True
    world.connect(0)
    world.on_edge()
    world.advance(PATIENCE / 2)
    assert pipes(world) == [[(0, 1)], []]
    world.advance(PATIENCE)
    assert pipes(world) == [[(0, 1)], [(0, 1)]]


def test_the_timer_is_set_once_and_moved_only_to_an_earlier_time(world):
    world.connect(0)
    world.on_edge()
    first = PATIENCE * LOOK_AGAIN
    world.loop.now = first / 2
    world.connect(0)
    world.on_edge()
    assert world.loop.due == [first]


def test_the_mark_tells_workers_that_somebody_waits():
    with closing(World(Setup(workers=1, limit=1))) as world:
        world.connect(0)
        world.on_edge()
        assert not world.starved
        world.connect(0)
        world.on_edge()
        assert world.starved


def test_the_mark_is_set_anew_after_another_process_has_had_it():
    with closing(World(Setup(workers=1, limit=1))) as world:
        for _ in range(2):
            world.connect(0)
        world.on_edge()
        world.starved = False
        world.passes.recount()
        assert world.starved
        world.queues[0].clear()
        world.passes.recount()
        world.starved = True
        world.passes.recount()
        assert not world.starved


def test_where_queues_are_not_known_workers_always_tell():
    with closing(World(Setup(blind=True))) as world:
        assert world.starved


def test_after_the_end_no_passes_are_done(world):
    world.passes.stop()
    world.connect(0)
    world.passes.run_all()
    world.advance(10.0)
    assert pipes(world) == [[], []]


def test_quiet_is_asked_after_a_pass(world):
    assert world.passes.quiet()
    world.connect(0)
    assert not world.passes.quiet()
    assert pipes(world) == [[(0, 1)], []]
    world.rest()
    assert world.passes.quiet()
