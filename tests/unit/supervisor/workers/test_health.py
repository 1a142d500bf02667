"""Who hangs and who has served long enough is found; who is not to be judged yet is left alone."""

import os

import pytest

from host.ipc.scoreboard import ACCEPTED_ALL, TURN_LASTED, TURN_STARTED
from host.runtime.processes import resident_bytes
from host.settings import Lifecycle
from host.supervisor.workers.handles import WorkerHandle
from host.supervisor.workers.health import DueForReplacement, HealthCheck, Hung
from host.supervisor.workers.states import WorkerState
from support.fakes import blank_cells, record, rows_of

MIB = 1024 * 1024
SECOND = 1_000_000_000


class Scene:
    """Workers of the slots 0, 1, …: pid 1000 + slot, born at 60; all have been ready."""

    def __init__(self, workers=1, before=0, memory=resident_bytes, **limits):
        self.health = HealthCheck(Lifecycle(**({"hang_seconds": 0} | limits)), memory)
        self.now = 100.0
        rows = rows_of(blank_cells(workers, 1), workers, 1)
        self.handles = [
            WorkerHandle(record(row.number), None, row, None, None, served_before=before)
            for row in rows
        ]
        for handle in self.handles:
            handle.record.born, handle.record.was_ready = 60.0, True
            handle.row.put(ACCEPTED_ALL, before)

    def serve(self, slot, count):
        row = self.handles[slot].row
        row.put(ACCEPTED_ALL, row.get(ACCEPTED_ALL) + count)

    def look(self):
        return self.health.look(self.handles, self.now)

    @property
    def due(self):
        return [each.pid for each in self.look()[1]]

    def hung_after(self, seconds):
        """Look as often as is wanted; return who was found to hang."""
        found, until = [], self.now + seconds
        self.look()
        while (due := self.health.next_look(self.now)) <= until:
            self.now = due
            found += self.look()[0]
        return found


def test_without_limits_nobody_is_found():
    scene = Scene()
    scene.serve(0, 1_000_000)
    assert scene.hung_after(1000.0) == []
    assert scene.due == []


def test_who_has_served_enough_is_due_and_nobody_before():
    scene = Scene(2, max_connections_served=100)
    scene.serve(0, 99)
    assert scene.due == []
    scene.serve(0, 11)
    assert scene.look() == (
        [],
        [DueForReplacement(1000, "it has served 110 connections (max_connections_served)")],
    )


def test_what_others_have_served_in_the_same_row_does_not_count():
    scene = Scene(before=5000, max_connections_served=100)
    scene.serve(0, 99)
    assert scene.due == []
    scene.serve(0, 11)
    assert scene.due == [1000]


def test_who_is_old_enough_is_due_and_nobody_before():
    scene = Scene(max_age_seconds=1000)
    scene.now = 1059.0
    assert scene.due == []
    scene.now = 1160.0
    assert scene.look() == ([], [DueForReplacement(1000, "it is 1100 s old (max_age_seconds)")])


def test_who_takes_too_much_memory_is_due():
    taken = {1000: 199 * MIB, 1001: 221 * MIB, 1002: None}
    scene = Scene(3, memory=taken.get, max_memory_bytes=200 * MIB)
    assert scene.look() == (
        [],
        [DueForReplacement(1001, "it takes 221 MiB of memory (max_memory_bytes)")],
    )


def test_memory_is_that_of_the_process():
    scene = Scene(max_memory_bytes=1024)
    scene.handles[0].record.pid = os.getpid()
    [due] = scene.look()[1]
    assert due.pid == os.getpid()
    assert "MiB of memory" in due.cause


def test_the_limits_of_those_who_were_started_together_differ_by_up_to_a_tenth():
    scene, served = Scene(300, max_connections_served=10_000), {}
    for count in range(10_000, 11_001, 10):
        for handle in scene.handles:
            handle.row.put(ACCEPTED_ALL, count)
        for pid in scene.due:
            served.setdefault(pid, count)
    assert len(served) == 300
    limits = sorted(served.values())
    assert 10_000 < limits[0] < 10_100
    assert 10_900 < limits[-1] <= 11_000
    assert all(30 < limits.index(each) < 270 for each in limits if 10_200 < each < 10_800)


def test_the_limit_of_a_worker_does_not_change_from_look_to_look():
    scene = Scene(max_connections_served=10_000)
    scene.serve(0, 10_000)
    while not scene.due:
        scene.serve(0, 1)
    assert [scene.due for _ in range(50)] == [[1000]] * 50


@pytest.mark.parametrize("state", [WorkerState.STARTING, WorkerState.DRAINING, WorkerState.ENDING])
def test_only_who_is_ready_is_due(state):
    scene = Scene(max_connections_served=1)
    scene.serve(0, 10)
    scene.handles[0].record.state = state
    assert scene.due == []


def test_who_is_being_replaced_is_not_due_again():
    scene = Scene(max_connections_served=1)
    scene.serve(0, 10)
    assert scene.due == [1000]
    scene.handles[0].record.retiring = True
    assert scene.due == []


@pytest.mark.parametrize(("hang_seconds", "seconds"), [(0, 1), (1, 0.125), (100, 0.5)])
def test_workers_are_looked_at_twice_a_second_or_as_often_as_it_takes(hang_seconds, seconds):
    assert Scene(hang_seconds=hang_seconds).health.next_look(7.0) == 7.0 + seconds


def test_who_does_not_turn_is_found_with_the_time():
    scene = Scene(2, hang_seconds=4)
    assert scene.hung_after(3.9) == []
    for number in range(3):
        scene.handles[0].row.put(TURN_LASTED, 1000 + number)
        scene.now += 1
        found = scene.look()[0]
    [(pid, seconds)] = [(each.pid, each.seconds) for each in found]
    assert pid == 1001
    assert seconds == pytest.approx(scene.now - 100.0)


def test_a_draining_worker_is_watched_as_well():
    scene = Scene(hang_seconds=4)
    scene.handles[0].record.state = WorkerState.DRAINING
    assert scene.hung_after(4.5)[0] == Hung(1000, pytest.approx(4, abs=0.3))


@pytest.mark.parametrize("state", [WorkerState.STARTING, WorkerState.DRAINING])
def test_who_has_not_been_ready_may_take_its_time(state):
    """Its loop does not turn while it imports; nor does one that is told to go meanwhile."""
    scene = Scene(hang_seconds=4)
    scene.handles[0].record.state, scene.handles[0].record.was_ready = state, False
    scene.handles[0].row.put(TURN_STARTED, 1 * SECOND)
    assert scene.hung_after(60) == []


def test_who_is_about_to_be_killed_is_not_found_again():
    scene = Scene(hang_seconds=4)
    assert scene.hung_after(4.5)
    scene.handles[0].record.state = WorkerState.ENDING
    assert scene.hung_after(10) == []


def test_a_retiring_worker_is_watched_too():
    scene = Scene(hang_seconds=4, max_connections_served=1)
    scene.handles[0].record.retiring = True
    scene.serve(0, 10)
    assert [each.pid for each in scene.hung_after(4.5)][:1] == [1000]
