"""A reload is tried in a process of its own; only a plan that can be taken on is taken on."""

import errno
import os
import signal
import sys
from types import SimpleNamespace

import pytest

from host.errors import ListenError
from host.runtime.origin import Origin
from host.runtime.processes import Exit
from host.runtime.rehearsal import REHEARSAL
from host.settings import BusSettings, Listen, Process
from host.supervisor.reload import handover
from host.supervisor.reload.reloader import Plan, Program, Reloader
from host.telemetry.events import HOST_RELOADING, RELOAD_FAILED
from support.fakes import FakeLoop, Told

# Tests in parallel have a thread each for the results.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
PATIENCE = 5.0
LISTEN = Listen(address="tcp://127.0.0.1:7001", plugin="echo", backlog=7, mode=0o640)
PLAN = Plan(
    format=handover.FORMAT,
    process=Process(),
    bus=BusSettings(),
    listen=[LISTEN],
    ops=[],
    control="prefork",
)
GOOD = f"print({PLAN.model_dump_json()!r})"
FOR_EVER = "signal.pause()"


class Generations:
    """What is known of generations: whether one is coming, how it goes, and why none came."""

    def __init__(self):
        self.coming = self.outcome = None
        self.refusals = []
        self.note_refusal = self.refusals.append


class Scene:
    """Reloads whose program is a script; `went` are the plans that were taken on."""

    def __init__(self):
        self.loop, self.told = FakeLoop(), Told()
        self.went, self.error, self.outcomes = [], None, []
        self.pool, self.generations = SimpleNamespace(complete=True), Generations()
        self.reloads = Reloader(
            self.loop,
            self.told.telemetry,
            self.pool,
            self.generations,
            Program(sys.executable, [], Origin.here()),
            patience=PATIENCE,
            reexec=self._go,
        )

    def _go(self, plan, succeed):
        self.went.append(plan)
        if self.error is not None:
            raise self.error
        succeed()

    def program(self, script):
        text = f"import os, signal, sys; signal.alarm(60)\n{script}"
        self.execute(sys.executable, sys.executable, "-c", text)

    def execute(self, file, *arguments):
        """Have another program be what is executed."""
        self.reloads._program = Program(file, list(arguments), Origin.here())

    def begin(self, script=GOOD, cause="SIGHUP", done=None):
        self.program(script)
        self.reloads.request(cause, done or self.outcomes.append)

    @property
    def pid(self):
        return self.reloads._rehearsal.pid

    def wait(self):
        """Wait until the rehearsal has ended; it is not reaped yet."""
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)

    def reap(self):
        """Wait for the rehearsal, and tell of its end as the supervisor does."""
        pid, status = os.waitpid(self.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        ended = Exit(pid, code if code >= 0 else None, -code if code < 0 else None)
        assert self.reloads.handle_exit(ended)

    def run(self, script=GOOD):
        self.begin(script)
        self.reap()

    @property
    def failure(self):
        """Why the reload has failed: the reason and the details, as everybody was told."""
        [told] = self.told.of(RELOAD_FAILED)
        [error] = self.outcomes
        assert self.generations.refusals == [error.text]
        assert told == {"reason": error.reason, "details": error.details}
        assert self.went == [] or self.error is not None
        return error.reason, error.details


@pytest.fixture
def scene():
    made = Scene()
    before = os.listdir("/proc/self/fd")
    yield made
    if made.reloads.under_way:
        made.reloads.stop()
        made.reap()
    assert made.loop.due == []
    assert os.listdir("/proc/self/fd") == before


def test_what_succeeds_is_taken_on_as_it_was_planned(scene):
    scene.begin()
    assert scene.reloads.under_way
    assert (scene.went, scene.outcomes) == ([], [])
    scene.reap()
    assert scene.went == [PLAN]
    assert scene.outcomes == [None]
    assert scene.generations.refusals == []
    assert not scene.reloads.under_way
    assert scene.told.names == ["host_reloading"]
    assert scene.told.of(HOST_RELOADING) == [{"cause": "SIGHUP"}]


def test_nobody_need_wait_for_the_outcome(scene):
    scene.program(GOOD)
    scene.reloads.request("SIGHUP")
    scene.reap()
    assert scene.went == [PLAN]


def test_what_plugins_print_before_the_plan_is_ignored(scene):
    scene.run(f"print('loading'); print('{{}}'); print(); {GOOD}; print()")
    assert scene.went == [PLAN]


def test_however_much_plugins_print_the_plan_is_found(scene):
    scene.run(f"print('loading\\n' * 10_000); {GOOD}")
    assert scene.went == [PLAN]


def test_what_is_written_to_standard_error_does_no_harm(scene):
    scene.run(f"print('a warning', file=sys.stderr); {GOOD}")
    assert scene.went == [PLAN]


def test_it_knows_that_it_is_one_and_whose_and_has_nothing_to_read(scene):
    scene.run(f"assert not sys.stdin.read(); sys.exit(os.environ[{REHEARSAL!r}])")
    assert scene.failure == (str(os.getpid()), "")
    assert REHEARSAL not in os.environ


def test_what_fails_fails_with_its_first_line_as_the_reason(scene):
    scene.run("sys.exit('host: no such plugin\\n  it is misspelt\\n  or gone\\n')")
    assert scene.failure == ("no such plugin", "  it is misspelt\n  or gone")


def test_what_fails_without_a_word_is_told_by_its_end(scene):
    scene.run("os._exit(7)")
    assert scene.failure == ("exit code 7 while the new settings were tried", "")


def test_what_is_killed_without_a_word_is_told_by_its_end(scene):
    scene.run("os.kill(os.getpid(), signal.SIGKILL)")
    assert scene.failure == ("killed by SIGKILL while the new settings were tried", "")


def test_what_fails_after_it_has_told_its_plan_has_failed(scene):
    scene.run(f"{GOOD}; sys.exit(1)")
    assert scene.failure[0] == "exit code 1 while the new settings were tried"


def test_what_takes_too_long_is_killed_after_its_patience(scene):
    scene.begin(FOR_EVER)
    scene.loop.advance(100.0 + PATIENCE - 0.1)
    assert os.waitpid(scene.pid, os.WNOHANG) == (0, 0)
    scene.loop.advance(100.0 + PATIENCE)
    scene.reap()
    reason, _ = scene.failure
    assert reason.endswith("did not load within 5 s (start_timeout_seconds)")


@pytest.mark.parametrize("output", ["", "print('rubbish')", "print('{}')", "print('[1]')"])
def test_what_tells_no_plan_is_refused(scene, output):
    scene.run(output)
    reason, details = scene.failure
    assert reason == "the new version does not say what it needs"
    assert "Plan" in details


def test_what_hands_over_in_another_format_is_refused(scene):
    other = PLAN.model_copy(update={"format": handover.FORMAT + 1})
    scene.run(f"print({other.model_dump_json()!r})")
    reason, _ = scene.failure
    assert reason == "the new version cannot take over from this one: restart the host"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ListenError("tcp://[::1]:7", errno.EADDRINUSE, "stop it"), "cannot listen on tcp://"),
        (OSError(errno.ENOEXEC, "Exec format error"), "cannot re-execute: Exec format error"),
    ],
)
def test_a_plan_that_cannot_be_taken_on_is_a_failure(scene, error, reason):
    scene.error = error
    scene.begin()
    scene.reap()
    assert scene.went == [PLAN]
    assert scene.failure[0].startswith(reason)


def test_a_process_that_cannot_be_started_is_a_failure(scene):
    scene.execute("/no/such/python", "python")
    scene.reloads.request("SIGHUP", scene.outcomes.append)
    scene.reap()
    assert scene.failure == ("cannot start a process: No such file or directory", "")
    assert not scene.reloads.under_way


def test_after_a_failure_the_next_one_is_tried(scene):
    scene.run("sys.exit('no')")
    scene.run()
    assert scene.went == [PLAN]
    assert [each and each.reason for each in scene.outcomes] == ["no", None]


def test_whoever_asks_again_meanwhile_has_it_tried_again(scene):
    """What was being tried may have read the settings before they were changed."""
    scene.begin("sys.exit('the settings of before')")
    first = scene.pid
    scene.begin(GOOD, cause="a command")
    assert scene.pid == first
    assert scene.reloads.wanted
    scene.reap()
    assert not scene.reloads.wanted
    assert scene.reloads.under_way
    assert scene.pid != first
    assert (scene.went, scene.outcomes) == ([], [])
    scene.reap()
    assert scene.went == [PLAN]
    assert scene.outcomes == [None, None]
    causes = [each["cause"] for each in scene.told.of(HOST_RELOADING)]
    assert causes == ["SIGHUP", "a signal that came meanwhile"]


def test_the_one_that_is_tried_again_has_its_own_patience(scene):
    scene.begin()
    scene.loop.advance(103.0)
    scene.begin(FOR_EVER)
    scene.reap()
    assert scene.loop.due == [103.0 + PATIENCE]


def test_what_is_cancelled_ends_and_goes_nowhere(scene):
    scene.begin(FOR_EVER)
    scene.begin()
    scene.reloads.stop()
    assert not scene.reloads.wanted
    scene.reap()
    assert scene.went == []
    assert not scene.reloads.under_way
    assert [each.reason for each in scene.outcomes] == ["the host is stopping"] * 2


def test_what_is_cancelled_when_it_has_just_succeeded_goes_nowhere(scene):
    scene.begin()
    scene.wait()
    scene.reloads.stop()
    scene.reap()
    assert scene.went == []


def test_without_a_rehearsal_there_is_nothing_to_cancel(scene):
    scene.reloads.wanted = True
    scene.reloads.stop()
    assert not scene.reloads.wanted


def test_what_is_asked_for_while_a_generation_starts_waits_for_it(scene):
    scene.program(GOOD)
    scene.generations.coming = object()
    scene.reloads.request("SIGHUP")
    scene.reloads.begin_wanted()
    assert not scene.reloads.under_way
    scene.generations.coming = None
    scene.reloads.begin_wanted()
    scene.reap()
    assert scene.went == [PLAN]


def test_a_generation_that_cannot_start_is_not_waited_for(scene):
    scene.program(GOOD)
    scene.pool.complete = False
    scene.reloads.request("SIGHUP")
    assert not scene.reloads.under_way
    scene.generations.outcome = SimpleNamespace(failed=True)
    scene.reloads.begin_wanted()
    scene.reap()
    assert scene.went == [PLAN]


def test_a_host_that_stops_reloads_no_more(scene):
    scene.reloads.stop()
    scene.begin()
    assert not scene.reloads.under_way
    assert scene.told == []


def test_the_end_of_another_process_is_no_rehearsals(scene):
    assert not scene.reloads.handle_exit(Exit(4711, 0, None))
    scene.begin()
    assert not scene.reloads.handle_exit(Exit(4711, 0, None))
    assert scene.reloads.under_way
    scene.reap()
    assert scene.went == [PLAN]


def test_the_kernel_is_asked_to_end_it_with_its_parent_before_it_begins(scene):
    """It asks for nothing itself: a program that is still being loaded could not."""
    ask = "number = ctypes.c_int(); ctypes.CDLL(None).prctl(2, ctypes.byref(number))"
    scene.run(f"import ctypes; {ask}; sys.exit(str(number.value))")  # PR_GET_PDEATHSIG (prctl(2))
    assert scene.failure[0] == str(int(signal.SIGKILL))


def test_a_signal_that_python_ignores_is_not_ignored_in_the_other(scene):
    """Python ignores SIGPIPE, and what is ignored stays so across exec (signal(7))."""
    assert signal.getsignal(signal.SIGPIPE) is signal.SIG_IGN
    scene.execute("/bin/sh", "sh", "-c", "kill -PIPE $$")
    scene.reloads.request("SIGHUP", scene.outcomes.append)
    scene.reap()
    assert scene.failure[0] == "killed by SIGPIPE while the new settings were tried"


def test_no_signal_is_blocked_in_the_other(scene):
    """All are, in a new fork of the host."""
    scene.execute("/bin/sh", "sh", "-c", "kill -TERM $$")
    scene.reloads.request("SIGHUP", scene.outcomes.append)
    scene.reap()
    assert scene.failure[0] == "killed by SIGTERM while the new settings were tried"
