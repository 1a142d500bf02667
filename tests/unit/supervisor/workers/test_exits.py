"""How each worker ended is told with its place and stacks, and once."""

import socket
from signal import SIGKILL, SIGSEGV
from types import SimpleNamespace

import pytest

from host.hookspecs import on_readable, on_worker_start
from host.interfaces import ChildExit, Listener
from host.ipc.current_call import kind_of, pack_call
from host.ipc.host_counts import HostCounts, Restart
from host.ipc.protocol import Report
from host.ipc.recent import Kind, RecentWriter
from host.ipc.scoreboard import CURRENT_CALL
from host.ipc.supervisor_end import SupervisorChannel
from host.runtime.processes import Exit, OutOfMemory
from host.supervisor.workers.exits import ExitReports
from host.supervisor.workers.handles import WorkerHandle
from host.supervisor.workers.last_call import LastCall
from host.supervisor.workers.states import KillWorker, WorkerState
from host.telemetry.events import (
    WORKER_DIED,
    WORKER_EXITED,
    WORKER_HUNG,
    WORKER_KILLED,
    WORKER_START_FAILED,
)
from support.fakes import FakeLoop, Told, blank_cells, record, rows_of

GENERATION = SimpleNamespace(listeners=(Listener(0, "tcp://127.0.0.1:7000", "echo"),))
DUMP = 'Current thread 0x7f (most recent call first):\n  File "/a.py", line 1 in f\n'


class Printed:
    """Stacks: `text` is what was read, `coming` what will be."""

    def __init__(self):
        self.text, self.coming = "", ""

    def read(self):
        self.text, self.coming = self.text + self.coming, ""
        return True


class Channel:
    def __init__(self):
        self.failure, self.coming = None, None

    def receive_last(self):
        self.failure, self.coming = self.coming or self.failure, None


class Memory:
    """The kernel's counter of processes that it killed for want of memory."""

    def __init__(self):
        self.kills = self.asked = 0

    def happened(self):
        self.asked += 1
        kills, self.kills = self.kills, 0
        return kills > 0


STARTED = "its last events:\n     2.500 s before: started"


class Scene:
    """Workers of the slots 0, 1, …: pid 1000 + slot, born at 90; it is 100."""

    def __init__(self, workers=1, memory=None):
        self.loop, self.told = FakeLoop(100.0), Told()
        self.memory = memory or Memory()
        self.stopped, self.counts = set(), HostCounts()
        self.handles = {}
        for row in rows_of(blank_cells(workers, 1), workers, 1):
            who = record(row.number, generation=2)
            who.born, who.was_ready = 90.0, True
            self.handles[who.pid] = WorkerHandle(who, GENERATION, row, Channel(), Printed(), 0)
        self.handle = self.handles[1000]
        self.reports = ExitReports(
            self.loop,
            self.handles,
            self.told.telemetry,
            LastCall({}),
            self.counts,
            memory=self.memory,
            is_stopped=self.stopped.__contains__,
        )

    def at(self, hook=on_readable, serial=7):
        """The worker was calling this hook."""
        self.handle.row.put(CURRENT_CALL, pack_call(kind_of(hook), serial))

    def happens(self):
        """The worker has written down that it has started."""
        pid = self.handle.record.pid
        RecentWriter(self.handle.row, SimpleNamespace(now=97.5), pid).note(Kind.STARTED)

    def ends(self, code=None, number=None, *, failed=False):
        """The worker ends; return what is found out."""
        pid, plan = self.handle.record.pid, "replaced at once"
        ended = self.reports.add_out_of_memory(self.handle, Exit(pid, code, number))
        report = self.reports.make(self.handle, ended)
        self.reports.publish(report, failed_to_start=failed, plan=plan)
        return report


@pytest.fixture
def scene():
    return Scene(workers=2)


def test_who_dies_is_told_with_cause_place_stacks_and_what_comes_next(scene):
    scene.at()
    scene.happens()
    scene.handle.stack_reader.coming = DUMP
    report = scene.ends(number=11)
    assert scene.told.names == ["worker_died"]
    assert scene.told.of(WORKER_DIED) == [
        {
            "slot": 0,
            "pid": 1000,
            "cause": "killed by SIGSEGV",
            "age_seconds": 10.0,
            "place": "in hook on_readable of plugin echo, connection 1000-7",
            "next": "replaced at once",
            "traceback": DUMP.rstrip(),
            "recent": STARTED,
        }
    ]
    assert report.place == "in hook on_readable of plugin echo, connection 1000-7"
    assert report.printed == DUMP


def test_plugins_are_told_how_it_ended(scene):
    scene.handle.record.expected = True
    assert scene.ends(code=3).view == ChildExit(
        slot=0,
        pid=1000,
        generation=2,
        exit_code=3,
        signal=None,
        age_seconds=10.0,
        was_ready=True,
        expected=True,
    )
    assert scene.ends(number=9).view.signal == 9


def test_who_was_asked_to_go_has_ended_and_not_died(scene):
    scene.handle.record.expected = True
    scene.ends(code=0)
    assert scene.told.names == ["worker_exited"]
    assert scene.told.of(WORKER_EXITED) == [
        {"slot": 0, "pid": 1000, "cause": "exit code 0", "age_seconds": 10.0}
    ]


def test_only_deaths_that_nobody_asked_for_count_as_restarts(scene):
    scene.ends(number=9)
    scene.ends(code=1)
    assert scene.reports.restarts == 2
    scene.ends(code=6, failed=True)
    scene.handle.record.expected = True
    scene.ends(code=0)
    assert scene.reports.restarts == 2


def test_who_fails_to_start_is_told_in_its_own_words(scene):
    scene.handle.channel.coming = Report("failed", "no such table", "line 7\n" * 100)
    report = scene.ends(code=6, failed=True)
    assert scene.told.names == ["worker_start_failed"]
    [told] = scene.told.of(WORKER_START_FAILED)
    assert told == {"slot": 0, "cause": "no such table", "traceback": "line 7\n" * 100}
    assert report.cause == "no such table"


def test_who_fails_to_start_without_a_word_is_told_by_its_end_place_and_stacks(scene):
    scene.at(on_worker_start, 0)
    scene.handle.stack_reader.coming = DUMP
    scene.ends(number=11, failed=True)
    [told] = scene.told.of(WORKER_START_FAILED)
    assert told["cause"] == (
        "killed by SIGSEGV before it was ready, in hook on_worker_start of plugin ?"
    )
    assert told["traceback"] == DUMP.rstrip()


def test_a_long_failure_is_heard_though_something_was_said_before_it(scene):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        scene.handle.channel = SupervisorChannel(ours)
        theirs.sendall(Report("plugins", data={"plugins": ["x" * 1000]}).line())
        theirs.sendall(Report("failed", "no such table", "x" * 65_000).line())
        assert scene.ends(code=6, failed=True).cause == "no such table"


def test_long_stacks_are_cut(scene):
    scene.handle.stack_reader.coming = DUMP * 40
    scene.ends(number=11)
    lines = scene.told.of(WORKER_DIED)[0]["traceback"].splitlines()
    assert len(lines) == 61
    assert lines[-1] == "… 20 more lines"


@pytest.mark.parametrize(("kills", "cause"), [(0, "SIGKILL"), (1, "SIGKILL, out of memory")])
def test_want_of_memory_is_told_only_if_the_kernel_counted_one(scene, kills, cause):
    scene.memory.kills = kills
    scene.ends(number=9)
    assert scene.told.of(WORKER_DIED)[0]["cause"] == f"killed by {cause}"


def test_of_two_workers_that_the_kernel_kills_at_once_both_are_told(tmp_path):
    counts = tmp_path / "memory.events"
    counts.write_text("oom 0\noom_kill 5\n")
    scene = Scene(memory=OutOfMemory(str(counts)))
    counts.write_text("oom 2\noom_kill 7\n")
    assert scene.ends(number=9).ended.oom
    assert scene.ends(number=9).ended.oom
    assert not scene.ends(number=9).ended.oom


def test_a_kill_counts_for_one_worker(scene):
    scene.memory.kills = 1
    assert scene.ends(number=9).ended.oom
    assert not scene.ends(number=9).ended.oom


@pytest.mark.parametrize("end", [{"number": 11}, {"number": 15}, {"code": 1}])
def test_whoever_ended_otherwise_was_not_killed_for_want_of_memory(scene, end):
    scene.memory.kills = 1
    assert not scene.ends(**end).ended.oom
    assert scene.memory.kills == 1
    assert scene.ends(number=9).ended.oom


def test_whom_the_host_kills_was_not_killed_for_want_of_memory(scene):
    scene.memory.kills = 1
    scene.handle.record.state = WorkerState.ENDING
    assert not scene.ends(number=9).ended.oom


def hang(scene, pid=1000, seconds=4.2):
    scene.reports.record_hang(pid, seconds)
    scene.reports.report_hang(pid)


def test_who_hangs_is_told_with_its_stacks(scene):
    scene.at()
    scene.happens()
    scene.handle.stack_reader.coming = DUMP
    hang(scene)
    place = "in hook on_readable of plugin echo, connection 1000-7"
    assert scene.told.of(WORKER_HUNG) == [
        {"slot": 0, "pid": 1000, "seconds": 4.2, "place": place}
        | {"traceback": DUMP.rstrip(), "recent": STARTED}
    ]
    assert list(scene.reports.hangs) == [
        {"slot": 0, "pid": 1000, "place": place, "at": 100.0, "stacks": DUMP.splitlines()}
    ]


@pytest.mark.parametrize(("stopped", "reason"), [(True, "is stopped"), (False, "does not react")])
def test_who_prints_no_stacks_is_told_with_the_reason(scene, stopped, reason):
    if stopped:
        scene.stopped.add(1000)
    hang(scene)
    [told] = scene.told.of(WORKER_HUNG)
    assert told["traceback"].startswith("no stacks: the process ")
    assert reason in told["traceback"]


def test_the_last_hangs_are_remembered_and_those_before_an_exec(scene):
    before = [{"slot": number} for number in range(20, 29)]
    scene.reports.restore(3, before)
    assert scene.reports.restarts == 3
    for pid in (1000, 1001, 1000):
        hang(scene, pid)
    slots = [each["slot"] for each in scene.reports.hangs]
    assert slots == [22, 23, 24, 25, 26, 27, 28, 0, 1, 0]


def test_a_worker_that_has_ended_meanwhile_does_not_hang(scene):
    hang(scene, pid=4711)
    scene.reports.report_kill(KillWorker(4711, "it hangs"))
    assert scene.told == []
    assert not scene.reports.hangs


def test_who_is_killed_is_told_with_cause_place_and_stacks(scene):
    scene.handle.stack_reader.coming = DUMP
    scene.happens()
    scene.reports.report_kill(KillWorker(1000, "still there"))
    assert scene.told.of(WORKER_KILLED) == [
        {
            "slot": 0,
            "pid": 1000,
            "cause": "still there",
            "place": "outside any hook",
            "traceback": DUMP.rstrip(),
            "recent": STARTED,
        }
    ]


def test_who_is_killed_without_stacks_is_told_with_the_reason(scene):
    scene.stopped.add(1000)
    scene.reports.report_kill(KillWorker(1000, "still there"))
    assert "is stopped" in scene.told.of(WORKER_KILLED)[0]["traceback"]


def test_stacks_and_events_that_were_told_already_are_not_told_again(scene):
    scene.happens()
    scene.handle.stack_reader.coming = DUMP
    hang(scene)
    scene.reports.report_kill(KillWorker(1000, "it hangs"))
    scene.ends(number=9)
    assert scene.told.of(WORKER_KILLED)[0]["traceback"] == ""
    assert scene.told.of(WORKER_DIED)[0]["traceback"] == ""
    assert scene.told.of(WORKER_KILLED)[0]["recent"] == ""
    assert scene.told.of(WORKER_DIED)[0]["recent"] == ""
    scene.reports.report_kill(KillWorker(1000, "another with that number"))
    scene.ends(number=9)
    assert scene.told.of(WORKER_KILLED)[1]["traceback"] == DUMP.rstrip()


def test_who_dies_before_its_hang_was_told_is_told_with_its_stacks(scene):
    scene.reports.record_hang(1000, 4.2)
    scene.handle.stack_reader.coming = DUMP
    scene.ends(number=11)
    assert scene.told.of(WORKER_DIED)[0]["traceback"] == DUMP.rstrip()


@pytest.mark.parametrize(
    ("cause", "state", "ends"),
    [
        (Restart.DIED, {}, {"code": 1}),
        (Restart.DIED, {}, {"number": SIGSEGV}),
        (Restart.HUNG, {"hung": True}, {"number": SIGKILL}),
        (Restart.OUT_OF_MEMORY, {"kills": 1}, {"number": SIGKILL}),
        (Restart.FAILED_TO_START, {}, {"code": 1, "failed": True}),
        (Restart.RECYCLED, {"retiring": True, "expected": True}, {"code": 0}),
        (None, {"expected": True}, {"code": 0}),
    ],
)
def test_it_is_counted_why_workers_are_replaced(cause, state, ends):
    scene = Scene()
    record = scene.handle.record
    record.retiring, record.expected = state.get("retiring", False), state.get("expected", False)
    if state.get("hung"):
        scene.reports.record_hang(record.pid, 9.0)
    scene.memory.kills = state.get("kills", 0)
    scene.ends(**ends)
    assert scene.counts.restarts == ([] if cause is None else [(record.slot, cause, 1)])
