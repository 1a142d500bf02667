"""A worker that goes away takes nothing new, tells every connection, and leaves none open."""

from collections import Counter

import pytest

from host.interfaces import CloseReason
from host.worker.context import OpenConnections
from host.worker.draining import Draining
from support.fakes import FakeLoop, FakeSocket


class Connection:
    """A connection that notes what it is told."""

    def __init__(self, scene):
        self._scene, self.told, self.reason = scene, [], None

    def drain(self, deadline):
        self.told.append((self._scene.loop.now, deadline))

    def cut(self, reason):
        self.reason = reason
        self._scene.left.open.discard(self)


class Scene:
    def __init__(self, connections=3, spread=0.0):
        self.loop, self.left, self.cuts = FakeLoop(now=100.0), OpenConnections(), []
        self.sockets = [FakeSocket(), FakeSocket()]
        self.connections = [Connection(self) for _ in range(connections)]
        self.left.open.update(self.connections)
        self.draining = Draining(self.left, self.sockets, self.loop, spread, self.cuts.append)


def test_nothing_new_is_taken_and_every_connection_told():
    scene = Scene()
    scene.draining.begin(130.0)
    assert all(sock.closed for sock in scene.sockets)
    assert [each.told for each in scene.connections] == [[(100.0, 130.0)]] * 3


def test_connections_are_told_within_the_spread_and_once():
    scene = Scene(connections=100, spread=2.0)
    scene.draining.begin(130.0)
    scene.loop.advance(102.0)
    times = [when for each in scene.connections for when, _ in each.told]
    assert len(times) == 100
    assert len(set(times)) > 1
    assert all(100.0 <= when <= 102.0 for when in times)


@pytest.mark.parametrize(("connections", "spread", "together"), [(15_000, 5.0, 6), (10, 5.0, 1)])
def test_of_many_connections_a_few_are_told_in_a_turn(connections, spread, together):
    scene = Scene(connections, spread)
    scene.draining.begin(130.0)
    assert len(scene.loop.due) == 2  # the next few, and the deadline
    scene.loop.advance(100.0 + spread)
    told = Counter(when for each in scene.connections for when, _ in each.told)
    assert told.total() == connections
    assert max(told.values()) <= together + 1
    assert min(told) <= 100.0 + spread / 10
    assert max(told) >= 100.0 + spread * 0.85


def test_the_spread_takes_no_more_than_half_of_the_time_that_is_left():
    scene = Scene(connections=50, spread=60.0)
    scene.draining.begin(104.0)
    scene.loop.advance(102.0)
    assert all(len(each.told) == 1 for each in scene.connections)


def test_a_second_order_tells_those_who_do_not_know_yet_of_the_new_deadline():
    scene = Scene(connections=50, spread=10.0)
    scene.draining.begin(130.0)
    scene.loop.advance(105.0)
    told = [each for each in scene.connections if each.told]
    scene.draining.begin(105.0)
    assert all(len(each.told) == 1 for each in scene.connections)
    assert {each.told[0][1] for each in told} <= {130.0}
    assert {each.told[0][1] for each in scene.connections if each not in told} <= {105.0}
    scene.loop.advance(130.0)
    assert all(len(each.told) == 1 for each in scene.connections)


def test_what_is_open_at_the_deadline_is_closed_and_counted():
    scene = Scene()
    scene.draining.begin(130.0)
    first = scene.connections[0]
    scene.left.open.discard(first)
    scene.loop.advance(129.9)
    assert (scene.cuts, scene.draining.has_cut) == ([], False)
    scene.loop.advance(130.0)
    assert (scene.cuts, scene.draining.has_cut) == ([2], True)
    assert first.reason is None
    assert {each.reason for each in scene.connections[1:]} == {CloseReason.DEADLINE}


@pytest.mark.parametrize("orders", [1, 2])
def test_nothing_is_cut_if_every_connection_has_ended_by_then(orders):
    scene = Scene()
    for _ in range(orders):
        scene.draining.begin(130.0)
    scene.left.open.clear()
    scene.loop.advance(131.0)
    assert (scene.cuts, scene.draining.has_cut) == ([], False)
