"""What the supervisor counts is seen by its children, and goes over an exec by its names."""

import os
from contextlib import closing

from host.ipc.host_counts import HostCounts, Restart
from host.settings.models import MAX_WORKERS
from host.telemetry.emitter import Telemetry
from host.telemetry.events import HOST_RELOADING, OPS_FAILED, WORKERS_SCALED


def test_events_and_restarts_are_counted():
    with closing(HostCounts()) as counts:
        telemetry = Telemetry(counts.count_event)
        assert (counts.events, counts.restarts) == ({}, [])
        telemetry.emit(HOST_RELOADING, cause="SIGHUP")
        telemetry.emit(OPS_FAILED, error="x")
        telemetry.emit(OPS_FAILED, error="y")
        counts.count_restart(0, Restart.DIED)
        counts.count_restart(0, Restart.RECYCLED)
        counts.count_restart(MAX_WORKERS - 1, Restart.RECYCLED)
        counts.count_restart(MAX_WORKERS - 1, Restart.RECYCLED)
        assert counts.events == {"host_reloading": 1, "ops_failed": 2}
        assert counts.restarts == [
            (0, Restart.DIED, 1),
            (0, Restart.RECYCLED, 1),
            (MAX_WORKERS - 1, Restart.RECYCLED, 2),
        ]


def test_the_next_one_goes_on_with_what_it_knows_of():
    with closing(HostCounts({"workers_scaled": 3, "of_another_version": 9}, [(4, 1, 2)])) as counts:
        Telemetry(counts.count_event).emit(WORKERS_SCALED, workers=2, before=1, cause="SIGTTIN")
        counts.count_restart(4, Restart.HUNG)
        assert counts.events == {"workers_scaled": 4}
        assert counts.restarts == [(4, Restart.HUNG, 3)]


def test_dropped_lines_of_the_log_are_counted_on_by_the_next_one():
    with closing(HostCounts()) as counts:
        assert counts.lines_dropped == 0
        counts.count_lines_dropped(3)
        counts.count_lines_dropped(1)
        counts.count_lines_dropped_by_ops(5)
        counts.count_lines_dropped_by_bridge(7)
        assert counts.lines_dropped == 16
        with closing(HostCounts(counts.events, counts.restarts)) as following:
            following.count_lines_dropped(2)
            assert following.lines_dropped == 18


def test_parent_and_child_have_one_memory():
    with closing(HostCounts()) as counts:
        assert counts.beat == 0.0
        pid = os.fork()
        if not pid:
            counts.beat = 12.5
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert counts.beat == 12.5
