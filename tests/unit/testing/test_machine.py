"""Limits of time grow with the time in which somebody waits for a CPU, and only with that."""

import json
import os

import pytest

from host.testing.event_log import EventLog
from host.testing.machine import MOST, Stopwatch, patience, slowness


class Machine:
    """One whose clock and whose pressure the test sets; both begin somewhere."""

    def __init__(self, folder):
        self.file, self.now, self.stalled = folder / "cpu", 1000.0, 50.0
        self.pass_time(0.0)
        self.watch = Stopwatch(lambda: self.now, self.file)

    def pass_time(self, seconds, stalled=0.0):
        self.now += seconds
        self.stalled += stalled
        share = f"avg10={stalled * 100 / max(seconds, 1.0):.2f} avg60=1.00 avg300=2.00"
        text = f"some {share} total={self.stalled * 1e6:.0f}\nfull avg10=0.00 total=0\n"
        self.file.write_text(text)


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


@pytest.mark.parametrize(
    ("stalled", "factor"), [(0.0, 1.0), (2.0, 1.25), (5.0, 2.0), (9.0, 10.0), (10.0, MOST)]
)
def test_the_time_in_which_nobody_waits_has_to_be_enough(machine, stalled, factor):
    machine.pass_time(10.0, stalled)
    scaled = pytest.approx(3.0 * factor * slowness(), rel=1e-3)
    assert machine.watch.scaled(3.0) == scaled
    assert patience(3.0, machine.file) == scaled


def test_a_limit_has_passed_when_the_scaled_one_has(machine):
    limit = 10.0 * slowness()
    assert machine.watch.left(10.0) == limit
    machine.pass_time(limit - 1.0)
    assert machine.watch.left(10.0) == pytest.approx(1.0)
    machine.pass_time(2.0, 2.0)  # for the share of the time in which others had the CPU
    assert not machine.watch.has_passed(10.0)
    machine.pass_time(2.0)
    assert machine.watch.has_passed(10.0)
    assert machine.watch.left(10.0) == 0.0


def test_where_the_kernel_does_not_count_it_nobody_waits(tmp_path):
    watch = Stopwatch(pressure=tmp_path / "none")
    assert watch.scaled(2.0) == patience(2.0, tmp_path / "none") == 2.0 * slowness()


def test_a_log_is_waited_for_and_what_did_not_come_is_named():
    log = EventLog("the log")
    reader, writer = os.pipe()
    log.start_reading(reader)
    os.write(writer, json.dumps({"event": "come"}).encode() + b"\n")
    assert log.wait_for("come") == {"event": "come"}
    with pytest.raises(AssertionError, match=r"s have passed, and 1 of 2 came: event come\n"):
        log.wait_for("come", count=2, seconds=0.001)
    os.close(writer)
    with pytest.raises(AssertionError, match="the host has ended, and 0 of 1 came: event gone\n"):
        log.wait_for("gone")
    assert log.join(10.0)
    os.close(reader)
