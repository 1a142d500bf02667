"""A host that stops lets its connections finish, shuts the gate, and then has its workers drain."""

import socket
from types import SimpleNamespace

import pytest

from host.net.quiesce import LOCAL_QUIET_SECONDS, PATIENCE_SECONDS
from host.settings import Lifecycle
from host.supervisor.shutdown import Shutdown
from host.telemetry.events import HOST_STOPPING
from support.fakes import FakeLoop, Told


class Listening:
    def __init__(self, story, fd, is_local=True):
        self._story, self._fd, self.is_local, self.is_kept = story, fd, is_local, False
        self.sock = socket.socket()
        self.sock.close()

    def fileno(self):
        return self._fd

    def shut_gate(self):
        self._story.append(f"shut {self._fd}")

    def close(self):
        self._story.append(f"close {self._fd}")


NO_MORE = ["no more passes", "no more datagrams"]


class Generations:
    """A generation that serves, and perhaps one that is coming, with the queues of the first."""

    def __init__(self, story, coming, local):
        self._story, self.quiet, self.stopped, self._local = story, True, False, local
        self._fds = (3, 4, 5) if coming else (3, 4)
        runner = SimpleNamespace(stop=self._stop)
        self.handing_out = SimpleNamespace(runner=runner)

    def stop_listening(self):
        self.stopped = True
        return [Listening(self._story, fd, self._local) for fd in self._fds]

    def is_quiet(self):
        return self.quiet

    def close_groups(self):
        self._story.append("no more datagrams")

    def _stop(self):
        self._story.append("no more passes")


class Host:
    """What a stop has to do with: `drained` are the deadlines that workers were given."""

    def __init__(self, coming=False, patience=30.0, delay=0.0, local=True, quiet=0.5):
        self.loop, self.told, self.story = FakeLoop(100.0), Told(), []
        self.drained = []
        self.generations = Generations(self.story, coming, local)
        limits = Lifecycle(
            drain_timeout_seconds=patience, shutdown_delay_seconds=delay, quiet_seconds=quiet
        )
        self.shutdown = Shutdown(
            self.loop, self.told.telemetry, self.generations, limits, on_closed=self._drain
        )

    def _drain(self, deadline):
        self.story.append("drain")
        self.drained.append((pytest.approx(self.loop.now), deadline))

    def stop(self):
        """Stop as at SIGTERM, and return the stop."""
        self.shutdown.begin("SIGTERM", delayed=True)
        return self.shutdown


def test_a_stop_is_told_with_its_cause_and_patience():
    host = Host()
    made = host.stop()
    assert host.told.of(HOST_STOPPING) == [{"cause": "SIGTERM", "seconds": 30.0}]
    assert made.deadline == 130.0


def test_the_gate_is_shut_at_once_and_workers_drain_when_it_is_quiet():
    host = Host()
    host.stop()
    assert host.story == ["shut 3", "shut 4"]
    assert host.generations.stopped
    host.loop.advance(110.0)
    assert host.story[2:] == ["close 3", "close 4", *NO_MORE, "drain"]
    [(when, deadline)] = host.drained
    assert deadline == 130.0
    assert when == pytest.approx(100.0 + LOCAL_QUIET_SECONDS, abs=0.01)


def test_who_waits_in_the_queues_is_handed_out_before_workers_drain():
    host = Host()
    host.generations.quiet = False
    host.stop()
    host.loop.advance(101.0)
    assert host.drained == []
    assert "no more passes" not in host.story
    host.loop.advance(100.0 + PATIENCE_SECONDS + 0.01)
    assert [deadline for _, deadline in host.drained] == [130.0]


@pytest.mark.parametrize("seconds", [0.3, 0.8])
def test_listeners_that_others_reach_are_closed_after_the_quiet_time(seconds):
    host = Host(local=False, quiet=seconds)
    host.stop()
    host.loop.advance(110.0)
    [(when, _)] = host.drained
    assert when == pytest.approx(100.0 + seconds, abs=0.011)


def test_half_of_the_time_is_left_to_connections_that_are_open():
    host = Host(patience=1.0, local=False, quiet=60.0)
    host.stop()
    host.loop.advance(110.0)
    assert host.drained == [(pytest.approx(100.5), 101.0)]


def test_the_delay_comes_first_and_does_not_count_against_the_connections():
    host = Host(delay=5.0)
    made = host.stop()
    assert made.deadline == 135.0
    host.loop.advance(104.9)
    assert host.story == []
    assert not host.generations.stopped
    host.loop.advance(105.0)
    assert host.story == ["shut 3", "shut 4"]
    host.loop.advance(106.0)
    assert [deadline for _, deadline in host.drained] == [135.0]


def test_without_patience_nobody_is_waited_for():
    host = Host(patience=0.0)
    host.generations.quiet = False
    host.stop()
    assert [deadline for _, deadline in host.drained] == [100.0]


def test_a_generation_that_is_coming_lets_nobody_in_either():
    host = Host(coming=True)
    host.stop()
    assert host.generations.stopped
    assert set(host.story) == {"shut 3", "shut 4", "shut 5"}
    host.loop.advance(110.0)
    assert {"close 3", "close 4", "close 5"} <= set(host.story)
    assert len(host.drained) == 1


def test_a_stop_in_a_hurry_during_the_delay_comes_at_once_and_once():
    host = Host(delay=5.0)
    host.generations.quiet = False
    made = host.stop()
    host.loop.advance(101.0)
    made.hurry("SIGQUIT")
    assert made.deadline == 101.0
    assert host.drained == [(101.0, 101.0)]
    host.loop.advance(200.0)
    assert host.story.count("shut 3") == host.story.count("close 3") == 1
    assert len(host.drained) == 1


def test_a_stop_in_a_hurry_at_the_gate_does_not_wait_for_quiet():
    host = Host()
    host.generations.quiet = False
    made = host.stop()
    host.loop.advance(100.5)
    made.hurry("SIGQUIT")
    assert host.drained == [(100.5, 100.5)]
    host.loop.advance(200.0)
    assert len(host.drained) == 1


def test_a_stop_in_a_hurry_while_workers_drain_only_moves_the_deadline():
    host = Host()
    made = host.stop()
    host.loop.advance(110.0)
    made.hurry("SIGQUIT")
    assert made.deadline == 110.0
    assert len(host.drained) == 1
    assert host.story.count("close 3") == 1


def test_a_stop_that_begins_in_a_hurry_needs_no_beginning():
    host = Host()
    host.shutdown.hurry("SIGQUIT")
    assert host.drained == [(100.0, 100.0)]
    assert host.told.names == ["host_stopping_now"]
