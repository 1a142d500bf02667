"""The supervisor is told of each connection that ends, and of a worker that has no room."""

import pytest

from host.interfaces import CloseReason
from host.ipc.scoreboard import ACTIVE, REFUSING, STARVED
from host.worker.capacity import Capacity
from host.worker.context import OpenConnections
from support.fakes import FakeLoop, blank_cells, rows_of


class Connection:
    """A connection that notes how often its bytes were counted."""

    counts = 0

    def count_bytes(self):
        self.counts += 1


class Scene:
    def __init__(self):
        self.loop, self.connections, self.wakes = FakeLoop(), OpenConnections(), 0
        self.cells = blank_cells(2, 1)
        _, self.row = rows_of(self.cells, 2, 1)
        self.capacity = Capacity(self.row, self.connections, self.loop, self.wake)

    def wake(self):
        self.wakes += 1

    def connect(self):
        connection = Connection()
        self.connections.open.add(connection)
        self.row.put(ACTIVE, self.row.get(ACTIVE) + 1)
        return connection


def test_a_connection_that_ends_is_counted():
    scene = Scene()
    first, second = scene.connect(), scene.connect()
    scene.capacity.connection_ended(first, CloseReason.IDLE)
    assert scene.connections.open == {second}
    assert scene.row.get(ACTIVE) == 1
    assert (first.counts, second.counts) == (1, 0)
    assert scene.wakes == 0


def test_an_end_wakes_the_supervisor_if_connections_wait_that_no_worker_may_take():
    scene = Scene()
    scene.cells[STARVED] = 1
    scene.capacity.connection_ended(scene.connect(), CloseReason.IDLE)
    assert scene.wakes == 1


def test_a_worker_that_refuses_takes_again_when_a_connection_ends():
    scene = Scene()
    connection = scene.connect()
    scene.capacity.refuse()
    scene.cells[STARVED] = 1
    scene.capacity.connection_ended(connection, CloseReason.IDLE)
    assert scene.row.get(REFUSING) == 0


@pytest.mark.parametrize("times", [1, 3])
def test_a_worker_refuses_for_a_moment_however_often_it_has_no_room(times):
    scene = Scene()
    for _ in range(times):
        scene.capacity.refuse()
    assert (scene.row.get(REFUSING), scene.wakes) == (1, 0)
    [due] = scene.loop.due
    scene.loop.advance(due)
    assert (scene.row.get(REFUSING), scene.wakes) == (0, 1)


def test_a_worker_that_does_not_refuse_has_nothing_to_take_back():
    scene = Scene()
    scene.capacity.take_again()
    assert scene.wakes == 0
