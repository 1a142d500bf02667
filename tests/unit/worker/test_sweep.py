"""The bytes of connections that live for long are counted in between, a slice in each turn."""

import pytest

from host.worker.context import OpenConnections
from host.worker.sweep import SLICE, SWEEP_SECONDS, Sweep
from support.connections import Worker
from support.fakes import FakeLoop


class Connection:
    counts = 0

    def count_bytes(self):
        self.counts += 1


class Scene:
    def __init__(self, connections):
        self.loop, opened = FakeLoop(now=100.0), OpenConnections()
        self.connections = [Connection() for _ in range(connections)]
        self.open = opened.open
        self.open.update(self.connections)
        self.sweep = Sweep(self.loop, opened)
        self.sweep.wait()

    def let_begin(self):
        self.loop.advance(self.loop.now + SWEEP_SECONDS)

    @property
    def counted(self):
        return sum(each.counts for each in self.connections)


@pytest.mark.parametrize("connections", [0, 1, SLICE - 1])
def test_a_few_connections_are_one_turn(connections):
    scene = Scene(connections)
    assert scene.counted == 0
    for times in (1, 2):
        scene.let_begin()
        assert scene.counted == connections * times
        assert scene.loop.calls == []


def test_many_connections_are_a_slice_in_each_turn():
    scene = Scene(2 * SLICE + 1)
    scene.let_begin()
    assert scene.counted == SLICE
    assert scene.loop.due == []  # the next one comes so long after the end of this one
    scene.loop.run_calls()
    assert scene.counted == 2 * SLICE
    scene.loop.run_calls()
    assert {each.counts for each in scene.connections} == {1}
    assert scene.loop.due == [scene.loop.now + SWEEP_SECONDS]


def test_who_comes_and_goes_meanwhile_does_no_harm():
    scene = Scene(SLICE + 1)
    scene.let_begin()
    scene.open.clear()
    scene.open.add(Connection())
    scene.loop.run_calls()
    assert scene.loop.due == [scene.loop.now + SWEEP_SECONDS]


def test_bytes_are_counted_once_however_they_move():
    worker = Worker(read_size=1_000)
    cells = worker.context.cells
    connection, _ = worker.connect(b"x" * 3, b"x" * 448, b"x" * 500, takes=[5, 0, 2])

    written = []

    def handler(each):
        written.append(8)
        each.write(b"12")
        each.read()
        each.write(b"345678")

    worker.handler = handler
    worker.turn(connection)
    assert (connection.bytes_in, connection.bytes_out) == (3, 5)
    connection.count_bytes()
    connection.count_bytes()
    assert cells[1:] == [3, 5]
    while connection.unsent:
        worker.turn(connection, worker.loop.watched[connection.fileno()])
    connection.count_bytes()
    assert cells[1:] == [connection.bytes_in, connection.bytes_out]
    assert (connection.bytes_in, connection.bytes_out) == (951, sum(written))
