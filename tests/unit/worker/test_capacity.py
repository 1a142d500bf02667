"""The supervisor is told of each connection that ends, and of a worker that has no room."""

import pytest

from host.interfaces import CloseReason
from host.ipc.scoreboard import ACTIVE, REFUSING, STARVED
from host.telemetry.emitter import Telemetry
from host.telemetry.events import CONNECTION_CLOSED
from host.worker.capacity import Capacity
from host.worker.context import Turn
from support.fakes import FakeLoop, Told, blank_cells, rows_of


class Scene:
    def __init__(self, telemetry=None):
        self.loop, self.turn, self.told, self.wakes = FakeLoop(), Turn(), Told(), 0
        self.cells = blank_cells(2, 1)
        _, self.row = rows_of(self.cells, 2, 1)
        self.capacity = Capacity(
            self.row, self.turn, self.loop, telemetry or self.told.telemetry, self.wake
        )

    def wake(self):
        self.wakes += 1

    def connect(self):
        connection = Connection()
        self.turn.open.add(connection)
        self.row.put(ACTIVE, self.row.get(ACTIVE) + 1)
        return connection


class Connection:
    """A connection as far as its end is concerned."""

    id, peer = "7-1", "unix"


def test_a_connection_that_ends_is_counted_and_told():
    scene = Scene()
    first, second = scene.connect(), scene.connect()
    scene.capacity.connection_ended(first, CloseReason.IDLE)
    assert scene.turn.open == {second}
    assert scene.row.get(ACTIVE) == 1
    [event] = scene.told.of(CONNECTION_CLOSED)
    assert event == {"connection": "7-1", "peer": "unix", "reason": CloseReason.IDLE.value}
    assert scene.wakes == 0


def test_an_end_is_told_only_if_somebody_wants_to_know():
    told = []
    scene = Scene(Telemetry(told.append))
    scene.capacity.connection_ended(scene.connect(), CloseReason.IDLE)
    assert told == []


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
