"""What a pass costs in bytecodes, which no busy machine changes.

The limits are a tenth above what Python 3.11 counts; later versions have fewer and larger ones.
Every user pays for a limit that is raised.
"""

import pytest

from host.dispatch.dispatcher import Dispatcher, DispatchPolicy
from host.interfaces import Listener
from host.ipc.scoreboard import CLAIMED, CLAIMED_ALL, SENT, SETTLED
from host.plugins.schedulers.round_robin import RoundRobin
from support.bytecodes import counted_bytecodes
from support.fakes import blank_cells, rows_of, worker_id

MANY = 64


class Scene:
    """A dispatcher whose workers claim what they were sent before the next pass."""

    def __init__(self, workers):
        cells = blank_cells(workers, 1)
        self.rows, self.waiting = rows_of(cells, workers, 1), 0
        self.dispatcher = Dispatcher(
            cells,
            [(Listener(0, "tcp://127.0.0.1:7000", "echo"), lambda: self.waiting)],
            [("round_robin", RoundRobin().choose_worker)],
            DispatchPolicy(65_536, 0.045),
            report=print,
            telemetry=None,
        )
        for row in self.rows:
            self.dispatcher.ready(row, worker_id(row.number))

    def cost(self, waiting):
        """Return how many bytecodes a pass takes in which so many connections wait."""
        self.waiting = waiting
        with counted_bytecodes() as counts:
            planned = self.dispatcher.plan(0, 1.0)
        assert sum(count for _, count in planned) == waiting
        for row in self.rows:
            sent = row.count(0, SENT)
            row.cells[row.cell(0, CLAIMED)] = row.cells[row.cell(0, SETTLED)] = sent
            row.put(CLAIMED_ALL, sent)
        return counts.total


def costs(workers):
    """Return what a pass takes for one connection, and for each more of the same workers."""
    scene = Scene(workers)
    for _ in range(20):  # the interpreter adapts
        scene.cost(MANY)
    _, one = scene.cost(1), scene.cost(1)
    _, many, more = scene.cost(MANY), scene.cost(MANY), scene.cost(2 * MANY)
    return one, (more - many) / MANY


@pytest.mark.parametrize("workers", [1, 2, 16, 64])
def test_a_pass_and_each_connection_of_a_burst(workers):
    one, more = costs(workers)
    assert one <= 570
    assert more <= 96
