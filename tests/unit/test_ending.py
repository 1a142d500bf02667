"""A host that stops lets its connections finish, shuts the gate, and then has its workers drain."""

from types import SimpleNamespace

import pytest

from host.net.quiesce import PATIENCE_SECONDS, QUIET_SECONDS
from host.supervisor.shutdown import Shutdown
from host.telemetry.events import HOST_STOPPING
from support.fakes import FakeLoop, Told


class Listening:
    def __init__(self, story, fd):
        self._story, self._fd = story, fd

    def fileno(self):
        return self._fd

    def shut_gate(self):
        self._story.append(f"shut {self._fd}")

    def close(self):
        self._story.append(f"close {self._fd}")


class Generation:
    """A generation that hands out what waits on its listeners, unless it does not."""

    def __init__(self, host, *fds, hands_out=True):
        self._host = host
        self.scoreboard = SimpleNamespace(gate_shut=False)
        self.sockets = [Listening(host.story, fd) for fd in fds]
        self.passes = self if hands_out else None

    def quiet(self):
        return self._host.quiet

    def stop(self):
        self._host.story.append("no more passes")


class Host:
    """A supervisor, and what it is made to do: `drained` are the deadlines it gave workers."""

    def __init__(self, coming=False):
        self.loop, self.told, self.story = FakeLoop(100.0), Told(), []
        self.telemetry, self.quiet, self.drained = self.told.telemetry, True, []
        self.serving = Generation(self, 3, 4)
        self.coming = Generation(self, 4, 5, hands_out=False) if coming else None

    def drain_all(self, deadline):
        self.story.append("drain")
        self.drained.append((pytest.approx(self.loop.now), deadline))


def ending(host, patience=30.0, delay=0.0):
    made = Shutdown(host, patience, delay)
    made.begin("SIGTERM")
    return made


def test_a_stop_is_told_with_its_cause_and_patience():
    host = Host()
    made = ending(host)
    assert host.told.of(HOST_STOPPING) == [{"cause": "SIGTERM", "seconds": 30.0}]
    assert made.deadline == 130.0


def test_the_gate_is_shut_at_once_and_workers_drain_when_it_is_quiet():
    host = Host()
    ending(host)
    assert host.story == ["shut 3", "shut 4"]
    assert host.serving.scoreboard.gate_shut
    host.loop.advance(110.0)
    assert host.story[2:] == ["close 3", "close 4", "no more passes", "drain"]
    [(when, deadline)] = host.drained
    assert deadline == 130.0
    assert when == pytest.approx(100.0 + QUIET_SECONDS, abs=0.01)


def test_who_waits_in_the_queues_is_handed_out_before_workers_drain():
    host = Host()
    host.quiet = False
    ending(host)
    host.loop.advance(101.0)
    assert host.drained == []
    assert "no more passes" not in host.story
    host.loop.advance(100.0 + PATIENCE_SECONDS + 0.01)
    assert [deadline for _, deadline in host.drained] == [130.0]


def test_the_delay_comes_first_and_does_not_count_against_the_connections():
    host = Host()
    made = ending(host, delay=5.0)
    assert made.deadline == 135.0
    host.loop.advance(104.9)
    assert host.story == []
    assert not host.serving.scoreboard.gate_shut
    host.loop.advance(105.0)
    assert host.story == ["shut 3", "shut 4"]
    host.loop.advance(106.0)
    assert [deadline for _, deadline in host.drained] == [135.0]


def test_without_patience_nobody_is_waited_for():
    host = Host()
    host.quiet = False
    ending(host, patience=0.0)
    assert [deadline for _, deadline in host.drained] == [100.0]


def test_a_generation_that_is_coming_lets_nobody_in_either():
    host = Host(coming=True)
    ending(host)
    assert host.coming.scoreboard.gate_shut
    assert host.serving.scoreboard.gate_shut
    assert set(host.story) == {"shut 3", "shut 4", "shut 5"}
    host.loop.advance(110.0)
    assert {"close 3", "close 4", "close 5"} <= set(host.story)
    assert len(host.drained) == 1


def test_a_stop_in_a_hurry_during_the_delay_comes_at_once_and_once():
    host = Host()
    host.quiet = False
    made = ending(host, delay=5.0)
    host.loop.advance(101.0)
    made.hurry()
    assert made.deadline == 101.0
    assert host.drained == [(101.0, 101.0)]
    host.loop.advance(200.0)
    assert host.story.count("shut 3") == host.story.count("close 3") == 1
    assert len(host.drained) == 1


def test_a_stop_in_a_hurry_at_the_gate_does_not_wait_for_quiet():
    host = Host()
    host.quiet = False
    made = ending(host)
    host.loop.advance(100.5)
    made.hurry()
    assert host.drained == [(100.5, 100.5)]
    host.loop.advance(200.0)
    assert len(host.drained) == 1


def test_a_stop_in_a_hurry_while_workers_drain_only_moves_the_deadline():
    host = Host()
    made = ending(host)
    host.loop.advance(110.0)
    made.hurry()
    assert made.deadline == 110.0
    assert len(host.drained) == 1
    assert host.story.count("close 3") == 1


def test_a_stop_that_begins_in_a_hurry_needs_no_beginning():
    host = Host()
    Shutdown(host, 0.0, 0.0).hurry()
    assert host.drained == [(100.0, 100.0)]
    assert host.told == []
