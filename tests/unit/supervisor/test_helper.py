"""A helper process that cannot be started now is started later."""

import resource
import signal

import pytest

from host.runtime.processes import Exit
from host.settings import Lifecycle
from host.supervisor.helper import Helper, HelperProcess
from host.telemetry.events import HELPER_ENDED
from support.fakes import FakeLoop, Told
from support.supervision import NO_PROCESS


def test_without_descriptors_it_is_tried_again():
    loop, told = FakeLoop(), Told()
    helper = Helper("some", run=lambda _: 0, close=lambda: None, last_beat=lambda: loop.now)
    process = HelperProcess(helper, loop, told.telemetry, Lifecycle())
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))  # nothing can be opened
    try:
        process.start()
        loop.advance(loop.now)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    causes = [each["cause"] for each in told.of(HELPER_ENDED)]
    assert len(causes) == 2
    assert all("Too many open files" in cause for cause in causes)
    process.end()


class Silent:
    """A helper that was well at first and never again; what is killed is only noted."""

    def __init__(self, monkeypatch, hang_seconds, patience=1.0):
        self.loop, self.told, self.killed = FakeLoop(), Told(), []
        began = self.loop.now
        monkeypatch.setattr("host.runtime.processes.fork", lambda _child: NO_PROCESS)
        monkeypatch.setattr("host.runtime.processes.is_lost", lambda _pid: False)
        monkeypatch.setattr("host.supervisor.helper._kill", self.killed.append)
        helper = Helper("some", lambda _: 0, lambda: None, lambda: began, patience=patience)
        limits = Lifecycle(hang_seconds=hang_seconds)
        self.process = HelperProcess(helper, self.loop, self.told.telemetry, limits)
        self.process.start()

    def kills_after(self, seconds):
        """Tell whether it is killed after so many seconds, and not before."""
        self.loop.now += seconds
        self.process.check_health()
        before = bool(self.killed)
        self.loop.now += 0.1
        self.process.check_health()
        return not before and bool(self.killed)


@pytest.mark.parametrize(
    ("hang_seconds", "patience", "after"), [(4.0, 1.0, 4.0), (4.0, 4.0, 16.0), (0.1, 1.0, 2.0)]
)
def test_one_that_is_not_well_is_killed_and_said_to_have_hung(
    monkeypatch, hang_seconds, patience, after
):
    silent = Silent(monkeypatch, hang_seconds, patience)
    assert silent.kills_after(after)
    silent.process.handle_exit(Exit(NO_PROCESS, None, signal.SIGKILL))
    assert silent.told.of(HELPER_ENDED)[0]["cause"] == "it hung: killed by SIGKILL"
    silent.process.end()


def test_none_hangs_where_no_worker_does(monkeypatch):
    silent = Silent(monkeypatch, 0.0)
    assert not silent.kills_after(1e6)
    silent.process.handle_exit(Exit(NO_PROCESS, None, signal.SIGKILL))
    silent.process.end()
