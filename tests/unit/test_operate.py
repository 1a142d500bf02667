"""The commands to a running host, with a host that is none: it gives the answers it is told."""

import fcntl
import io
import itertools
import json
import os
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading
import time
from contextlib import contextmanager, suppress

import pytest
from click.testing import CliRunner
from rich.console import Console

from host.cli.main import main
from host.cli.operate import OPERATIONS
from host.cli.screen import Rates, Table, ago, frame
from host.control.client import ask, default_name, running
from host.control.commands import COMMANDS, CommandError, address
from host.control.server import ControlServer
from host.errors import ExitCode, RemoteError
from host.runtime.loop import Loop
from host.telemetry.emitter import Telemetry
from walkthrough import ROOT, blocks

DEADLINE_SECONDS = 10.0
NOBODY = 65534
NUMBERS = itertools.count()
EVIL = "\x1b[31m[bold]evil\r\n\u202e"
SPELLED = r"\x1b[31m[bold]evil\x0d\x0a\u202e"

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


def worker(slot, **more):
    return {
        "slot": slot,
        "pid": 4_000_000 + slot,
        "generation": 1,
        "state": "serving",
        "active": 12_345,
        "accepted": 10_000_000,
        "outstanding": 3,
        "suspended": False,
        "held": False,
        "age_seconds": 200.0,
        "turn_seconds": 0.0123,
        "memory_bytes": 31 * 1_048_576,
        "plugins": [],
    } | more


LISTENER = {
    "index": 0,
    "address": "tcp://127.0.0.1:7000",
    "plugin": "echo",
    "waiting": 0,
    "accepted": 20_000_000,
    "spurious": 5,
    "refused": 0,
}
STATUS = {
    "name": "fake",
    "version": "0.1.0",
    "pid": 81,
    "generation": 1,
    "uptime_seconds": 90_000.0,
    "state": "serving",
    "ready": True,
    "workers_wanted": 2,
    "schedulers": ["least_connections", "round_robin"],
    "workers": [worker(0), worker(1)],
    "listeners": [LISTENER],
    "last_reload": None,
    "hangs": [],
    "restarts": 0,
}
READY = {"generation": 1, "outcome": "ready", "reason": "", "seconds_ago": 5.0}
TROUBLED = STATUS | {
    "state": "reloading",
    "ready": False,
    "workers": [
        worker(0, held=True, suspended=True),
        worker(1, suspended=True, memory_bytes=None),
        worker(2, state="draining", held=True),
        worker(2, generation=2),
        worker(
            3,
            state="starting",
            plugins=[
                {
                    "plugin": EVIL,
                    "state": "open",
                    "failures": 10,
                    "hook": "on_accept",
                    "seconds_left": 12.3,
                }
            ],
        ),
    ],
    "listeners": [LISTENER | {"waiting": None, "plugin": EVIL}],
    "last_reload": READY | {"outcome": "failed", "reason": f"{EVIL}, line 1\nline 2"},
    "hangs": [
        {
            "slot": 1,
            "pid": 77,
            "place": f"in hook on_readable of plugin {EVIL}",
            "seconds_ago": 61.0,
            "stacks": [f"File {EVIL}"],
        }
    ],
    "restarts": 7,
    "plugins": [
        {
            "plugin": "watcher",
            "state": "half-open",
            "failures": 3,
            "hook": "on_child_exit",
            "seconds_left": 0.0,
        }
    ],
}


class Drop:
    """An answer that is none: the connection breaks, as when a host re-executes itself."""


class FakeHost:
    """Serves the admin socket in a thread.

    Args:
        answers: for each command its result, or an exception, or a list of these: each answers one
            request, and the last all that come after it.
    """

    def __init__(self, **answers):
        self.name = f"test-operate-{os.getpid()}-{next(NUMBERS)}"
        self.answers, self.asked = answers, []
        self._loop, self._telemetry = Loop(), Telemetry()
        self._server = self._serve(ControlServer.bind(self.name))
        self._thread = threading.Thread(target=self._loop.run)
        self._thread.start()

    def _serve(self, sock):
        return ControlServer(self._loop, self._telemetry, sock, self._handle)

    def _handle(self, command, args, reply):
        self.asked.append((command, args))
        answer = self.answers[command]
        if isinstance(answer, list):
            answer = answer.pop(0) if len(answer) > 1 else answer[0]
        if answer is Drop:
            inherited = socket.socket(fileno=os.dup(self._server.fileno()))
            self._loop.remove(self._server.fileno())
            self._server.close()
            self._server = self._serve(inherited)
        elif isinstance(answer, Exception):
            raise answer
        elif answer is not None:
            reply.result(answer)

    def close(self):
        self._loop.call_from_thread(self._loop.stop)
        self._thread.join(DEADLINE_SECONDS)
        assert not self._thread.is_alive()
        self._server.close()
        self._loop.close()


@pytest.fixture
def host():
    started = []

    def start(**answers):
        started.append(FakeHost(**answers))
        return started[-1]

    yield start
    for each in started:
        each.close()


def run(*args, env=None):
    unset = {"PREFORK_NAME": None}
    return CliRunner().invoke(main, args, env=unset | (env or {}), catch_exceptions=False)


def say(host, *args):
    """Run a command that must succeed; return what it prints."""
    result = run(*args, "--name", host.name)
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    return result.stdout


def refused(host, *args):
    """Run a command that must fail; return its message."""
    result = run(*args, "--name", host.name)
    assert result.exit_code == ExitCode.REMOTE == 10, result.output
    assert result.stderr.startswith("host: ")
    return result.stderr.removeprefix("host: ").rstrip("\n")


# Whom it asks


def test_every_command_of_the_table_can_be_given():
    assert {operation.name for operation in OPERATIONS} == {*COMMANDS, "top"}


@pytest.mark.parametrize(
    ("typed", "meant_"), [("statsu", "status"), ("chekc", "check"), ("new-plugn", "new-plugin")]
)
def test_a_misspelt_command_is_told_with_the_nearest(typed, meant_):
    found = CliRunner().invoke(main, [typed])
    assert found.exit_code == ExitCode.USAGE
    assert f'there is no command "{typed}"; did you mean "{meant_}"?' in found.output


def test_a_host_is_found_by_its_name(host):
    fake = host(status=STATUS)
    assert fake.name in running()
    assert run("status", env={"PREFORK_NAME": fake.name}).exit_code == 0
    assert fake.asked == [("status", {})]


def test_one_that_only_connects_does_not_run(host):
    fake = host()
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(address(f"{fake.name}-bound"))
        assert f"{fake.name}-bound" not in running()


@pytest.mark.parametrize(
    ("names", "name"), [([], "prefork"), (["a"], "a"), (["a", "prefork"], "prefork")]
)
def test_the_only_host_is_meant_where_no_name_is_given(names, name):
    assert default_name(names) == name


def test_of_several_hosts_one_must_be_named():
    with pytest.raises(RemoteError, match=r"several hosts run here \(a, b\): say which one with"):
        default_name(["a", "b"])


@pytest.mark.parametrize("name", ["no-such-host", "No Host", "x" * 200, "\x1b[31m", "a/b"])
def test_no_such_host_names_those_that_run(host, name):
    fake = host()
    result = run("status", "--name", name)
    assert result.exit_code == ExitCode.REMOTE
    shown = name.replace("\x1b", "\\x1b")
    assert f'no host named "{shown}" runs here (for this user, in this network' in result.stderr
    assert re.search(rf"; running: .*\b{fake.name}\b", result.stderr)


@as_root
def test_a_host_of_another_user_is_not_asked(host):
    fake = host(status=STATUS)
    try:
        os.seteuid(NOBODY)
        with pytest.raises(RemoteError, match=f'"{fake.name}" runs as uid 0; ask it as that user'):
            ask(fake.name, "status", {}, DEADLINE_SECONDS)
    finally:
        os.seteuid(0)
    assert not fake.asked


@as_root
def test_root_asks_hosts_of_other_users():
    with listening(as_user=NOBODY) as (name, sock):
        answer = threading.Thread(target=answer_one, args=(sock, b'{"ok": true, "result": {}}\n'))
        answer.start()
        assert ask(name, "status", {}, DEADLINE_SECONDS) == {}
        answer.join()


@contextmanager
def listening(as_user=None):
    name = f"test-operate-{os.getpid()}-{next(NUMBERS)}"
    with socket.socket(socket.AF_UNIX) as sock:
        try:
            if as_user is not None:
                os.seteuid(as_user)
            sock.bind(address(name))
            sock.listen(1)
        finally:
            if as_user is not None:
                os.seteuid(0)
        yield name, sock


def answer_one(sock, line):
    client, _ = sock.accept()
    with client:
        client.recv(1000)
        client.sendall(line)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"", "has closed the connection without an answer"),
        (b'{"ok": true, "resu', "has closed the connection without an answer"),
        (b"[]\n", "gives an answer that is not understood here: is it of another version?"),
        (b"junk\n", "is not understood"),
        (b'{"ok": true}\n', "is not understood"),
        (b'{"ok": true, "result": 1}\n', "is not understood"),
        (b'{"ok": false}\n', "is not understood"),
    ],
)
def test_an_answer_that_is_none(line, message):
    with listening() as (name, sock):
        answer = threading.Thread(target=answer_one, args=(sock, line))
        answer.start()
        with pytest.raises(RemoteError, match=message):
            ask(name, "status", {}, DEADLINE_SECONDS)
        answer.join()


def test_one_that_hangs_is_given_up(host):
    fake = host(status=None)
    message = refused(fake, "status", "--timeout", "0.05")
    assert message == (
        f'host "{fake.name}" has not answered within 0.05 s (--timeout): it hangs, is stopped, or '
        "has much to do"
    )


def test_one_that_lets_nobody_in_is_given_up():
    with listening() as (name, _):
        waiting = [socket.socket(socket.AF_UNIX) for _ in range(2)]
        for each in waiting:
            each.connect(address(name))
        with pytest.raises(RemoteError, match=r"not answered within 0\.05 s"):
            ask(name, "status", {}, 0.05)
        for each in waiting:
            each.close()


def test_a_host_that_misses_a_part_is_of_another_version(host):
    fake = host(status={"name": "fake"}, scale={"workers": 3})
    assert "is not understood here" in refused(fake, "status")
    assert "is not understood here" in refused(fake, "scale", "3")
    assert json.loads(say(fake, "status", "--json")) == {"name": "fake"}


# What it prints


def test_status_is_a_table(host):
    fake = host(status=STATUS | {"last_reload": READY})
    assert say(fake, "status") == (
        "fake 0.1.0: serving, ready; pid 81, generation 1, up 1d\n"
        "2 of 2 workers serve; 0 restarts; scheduler: least_connections, round_robin\n"
        "last reload: generation 1 ready, 5s ago\n"
        "\n"
        "SLOT      PID  GEN  STATE    ACTIVE  ACCEPTED  OUTSTANDING  AGE    TURN  MEMORY\n"
        "   0  4000000    1  serving   12345  10000000            3   3m  12.3ms     31M\n"
        "   1  4000001    1  serving   12345  10000000            3   3m  12.3ms     31M\n"
        "\n"
        "LISTENER              PLUGIN  WAITING  ACCEPTED  SPURIOUS  REFUSED\n"
        "tcp://127.0.0.1:7000  echo          0  20000000         5        0\n"
    )


def test_status_tells_of_troubles_and_nothing_reaches_the_terminal(host):
    fake = host(status=TROUBLED)
    said = say(fake, "status")
    assert "fake 0.1.0: reloading, not ready; " in said
    assert f"last reload: generation 1 failed, 5s ago: {SPELLED[:-12]}" in said
    states = re.findall(r"^ +\d +40000\d\d +\d  (\w+)", said, re.MULTILINE)
    assert states == ["held", "suspended", "draining", "serving", "starting"]
    assert "\n2 of 2 workers serve; 7 restarts; " in said
    assert (
        f"worker 3 leaves out plugin {SPELLED} (open): 10 failures, last in on_accept; "
        "for 12s more\n"
    ) in said
    assert "the supervisor leaves out plugin watcher (half-open): 3 failures, last in on_c" in said
    assert f"worker 1 (pid 77) hung 1m ago, in hook on_readable of plugin {SPELLED}\n" in said
    assert "File" not in said
    assert f"    File {SPELLED}\n" in say(fake, "status", "--stacks")
    assert said.isascii()
    assert "\x1b" not in said


@pytest.mark.parametrize(("ready", "words", "code"), [(True, "ready", 0), (False, "not ready", 1)])
def test_a_probe_gets_two_words_and_an_exit_code(host, ready, words, code):
    fake = host(status=STATUS | {"ready": ready})
    result = run("status", "--ready", "--name", fake.name)
    assert (result.output, result.exit_code) == (f"{words}\n", code)
    result = run("status", "--ready", "--json", "--name", fake.name)
    assert json.loads(result.stdout) == {"ready": ready}


def test_a_host_that_is_not_there_is_not_ready():
    result = run("status", "--ready", "--name", "no-such-host")
    assert (result.output, result.exit_code) == ("not ready\n", 1)


def test_generations(host):
    found = [
        {"generation": 3, "state": "starting", "workers": 2, "ready": 1, "active": 0},
        {"generation": 2, "state": "draining", "workers": 2, "ready": 2, "active": 40},
    ]
    found = [each | {"seconds_left": left} for each, left in zip(found, (None, 29.6), strict=True)]
    assert say(host(generations={"generations": found}), "generations") == (
        "GENERATION  STATE     WORKERS  READY  ACTIVE  LEFT\n"
        "         3  starting        2      1       0     -\n"
        "         2  draining        2      2      40   30s\n"
    )


def test_connections(host):
    one = {
        "id": "81-1",
        "slot": 0,
        "listener": "tcp://[::1]:7",
        "peer": EVIL,
        "age_seconds": 3700.0,
    }
    one |= {"idle_seconds": 0.2, "bytes_in": 100, "bytes_out": None}
    found = {"connections": [one], "unanswered": [1, 2], "truncated": True}
    fake = host(connections=found)
    assert say(fake, "connections", "--limit", "1") == (
        "ID    SLOT  LISTENER       PEER                              AGE  IDLE   IN  OUT\n"
        f"81-1     0  tcp://[::1]:7  {SPELLED}   1h    0s  100    -\n"
        "no answer from the workers in these slots: 1, 2\n"
        "only 1 are shown, and there are more: raise --limit\n"
    )
    assert json.loads(say(fake, "connections", "--json")) == found
    assert fake.asked == [("connections", {"limit": 1}), ("connections", {"limit": 1000})]


def test_why(host):
    candidates = [{"slot": slot, "active": 5 * slot, "outstanding": slot} for slot in range(3)]
    found = {"id": "81-1", "listener": "unix:/run/x", "slot": 1, "pid": 81, "omitted": 48}
    found |= {"scheduler": "round_robin", "seconds_ago": 7200.0, "candidates": candidates}
    fake = host(why=found)
    assert say(fake, "why", "81-1") == (
        "connection 81-1 on unix:/run/x: round_robin chose the worker in slot 1 (pid 81) 2h ago, "
        "out of\n"
        "SLOT  ACTIVE  OUTSTANDING  STATE\n"
        "   0       0            0\n"
        "   1       5            1  chosen\n"
        "   2      10            2\n"
        "and 48 more\n"
    )
    assert fake.asked == [("why", {"id": "81-1"})]


@pytest.mark.parametrize(
    ("args", "asked", "result", "said"),
    [
        (
            ("scale", "4"),
            {"workers": 4},
            {"workers": 4, "before": 2},
            "4 workers instead of 2",
        ),
        (
            ("drain", "1"),
            {"slot": 1},
            {"slot": 1, "pid": 81},
            "worker 1 (pid 81) drains as soon as another has its place",
        ),
        (
            ("suspend", "1"),
            {"slot": 1},
            {"slot": 1, "pid": 81},
            "worker 1 (pid 81) gets no new connections until `resume 1`",
        ),
        (
            ("resume", "1"),
            {"slot": 1},
            {"slot": 1, "pid": 81},
            "worker 1 (pid 81) gets new connections again",
        ),
        (("close", "81-1"), {"id": "81-1"}, {"id": "81-1"}, "connection 81-1 is closed"),
        (
            ("scheduler", "new"),
            {"name": "new"},
            {"scheduler": "new", "before": ["a", EVIL]},
            f"new chooses instead of a, {SPELLED}",
        ),
    ],
)
def test_what_is_done_is_said(host, args, asked, result, said):
    fake = host(**{args[0]: result})
    assert say(fake, *args) == f"{said}\n"
    assert json.loads(say(fake, *args, "--json")) == result
    assert fake.asked == [(args[0], asked)] * 2


def test_what_the_host_refuses_is_said_without_what_could_harm_a_terminal(host):
    fake = host(drain=CommandError(f"no worker\nin slot {EVIL}"))
    assert refused(fake, "drain", "9") == ("no worker\nin slot \\x1b[31m[bold]evil\n\\u202e")


@pytest.mark.parametrize("args", [("scale", "0"), ("scale", "x"), ("drain",), ("drain", "1024")])
def test_arguments_are_checked_before_anybody_is_asked(args):
    assert run(*args, "--name", "no-such-host").exit_code == ExitCode.USAGE


# Reloading


def starting(generation):
    return STATUS | {"last_reload": READY | {"generation": generation, "outcome": "starting"}}


def test_reload_waits_until_the_new_generation_is_ready(host):
    done = STATUS | {"last_reload": READY | {"generation": 2}}
    fake = host(
        reload={"generation": 2},
        # The reload before this one; a connection that breaks; one that is under way; the end.
        status=[STATUS | {"last_reload": READY}, Drop, starting(2), done],
    )
    assert say(fake, "reload") == "generation 2 ready\n"
    assert [command for command, _ in fake.asked] == ["reload"] + ["status"] * 4
    assert json.loads(say(fake, "reload", "--json")) == READY | {"generation": 2}


def test_a_reload_is_asked_for_again_if_another_one_breaks_the_connection(host):
    done = STATUS | {"last_reload": READY | {"generation": 3}}
    fake = host(reload=[Drop, {"generation": 3}], status=done)
    assert say(fake, "reload") == "generation 3 ready\n"


def test_a_generation_that_fails_is_an_error(host):
    last = READY | {"outcome": "failed", "reason": f"plugin broken\n  {EVIL}"}
    fake = host(reload={"generation": 1}, status=STATUS | {"last_reload": last})
    assert refused(fake, "reload") == (
        "generation 1 failed, and those before it go on: plugin broken\n"
        "  \\x1b[31m[bold]evil\n\\u202e"
    )
    result = run("reload", "--json", "--name", fake.name)
    assert (result.exit_code, json.loads(result.stdout)) == (10, last)


def test_a_reload_that_is_not_even_begun_is_an_error(host):
    fake = host(reload=CommandError("settings are invalid (1 problem)"))
    assert refused(fake, "reload") == (
        "nothing was reloaded, and nothing has changed: settings are invalid (1 problem)"
    )


def test_a_reload_that_takes_too_long_is_given_up(host):
    fake = host(reload={"generation": 2}, status=starting(2))
    assert refused(fake, "reload", "--timeout", "0.01").startswith(
        "generation 2 is not ready after 0.01 s (--timeout)"
    )


# Stopping

PROCESS = """
import os, sys
from host.control.server import ControlServer
from host.runtime.loop import Loop
from host.telemetry.emitter import Telemetry

def handle(command, args, reply):
    reply.result({"seconds": 30.0, **args})
    if args["quick"]:
        loop.stop()

sock = ControlServer.bind(sys.argv[1])
if sys.argv[2] == "forked" and os.fork():
    os._exit(0)  # whoever listened is gone, the socket is not
loop = Loop()
server = ControlServer(loop, Telemetry(), sock, handle)
print("ready", flush=True)
loop.run()
"""


@contextmanager
def process(kind):
    """A host in a process of its own."""
    name = f"test-operate-{os.getpid()}-{next(NUMBERS)}"
    with subprocess.Popen(
        [sys.executable, "-c", PROCESS, name, kind],
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as running:
        try:
            assert running.stdout.readline() == b"ready\n"
            if kind == "forked":
                running.wait()
            yield name
        finally:
            with suppress(ProcessLookupError):
                os.killpg(running.pid, signal.SIGKILL)


@pytest.mark.parametrize("kind", ["whole", "forked"])
def test_stop_waits_until_the_host_has_gone(kind):
    with process(kind) as name:
        result = run("stop", "--name", name, "--no-wait")
        assert result.stdout == "stopping: it ends within 30 s\n"
        result = run("stop", "--name", name, "--timeout", "0.3")
        assert result.exit_code == ExitCode.REMOTE
        assert result.stderr == f'host: host "{name}" has not ended within 0.3 s\n'
        result = run("stop", "--name", name, "--quick")
        assert (result.stdout, result.exit_code) == ("stopped\n", 0)
        assert name not in running()


def test_a_host_that_is_not_there_cannot_be_stopped():
    assert run("stop", "--name", "no-such-host").exit_code == ExitCode.REMOTE


# The view that goes on


def test_top_prints_once_where_nobody_looks(host):
    fake = host(status=STATUS)
    assert say(fake, "top") == say(fake, "status")
    assert json.loads(say(fake, "top", "--json")) == STATUS


def drawn(status, height=24, note="", seen=()):
    rates = Rates()
    for moment, each in enumerate([*seen, status]):
        rates.update(each, float(moment))
    output = io.StringIO()
    console = Console(
        width=80, height=height, file=output, force_terminal=True, color_system=None, markup=False
    )
    console.print(frame(status, rates, height, note))
    lines = output.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert len(lines) <= height or height < 12
    assert "\x1b" not in output.getvalue()
    return lines


def test_a_frame_has_rates_and_fits_80_columns():
    before = STATUS | {
        "workers": [worker(0, accepted=9_999_000)],
        "listeners": [LISTENER | {"accepted": 19_999_000}],
    }
    lines = drawn(STATUS, seen=[before])
    assert lines[2:] == [
        "",
        "LISTENER             PLUGIN WAITING ACCEPTED RATE SPURIOUS REFUSED",
        "tcp://127.0.0.1:7000 echo         0 20000000 1000        5       0",
        "",
        "SLOT     PID GEN STATE   ACTIVE ACCEPTED RATE OUTSTANDING AGE   TURN MEMORY",
        "   0 4000000   1 serving  12345 10000000 1000           3  3m 12.3ms    31M",
        "   1 4000001   1 serving  12345 10000000    -           3  3m 12.3ms    31M",
        "",
        "q: quit",
    ]


def test_of_many_workers_a_frame_shows_what_there_is_room_for():
    many = STATUS | {"workers": [worker(slot) for slot in range(100)]}
    lines = drawn(many)
    assert sum(" serving " in line for line in lines) == 14
    assert len(lines) == 24
    assert "86 more workers: `status` shows them" in lines
    assert sum(" serving " in line for line in drawn(many, height=5)) == 1


def test_a_frame_of_troubles_harms_no_terminal():
    lines = drawn(TROUBLED, note=f"no answer {EVIL}")
    assert lines[0] == f"no answer {SPELLED}"
    assert any(line.startswith("worker 1 (pid 77) hung 1m ago") for line in lines)


def test_rates_of_a_slot_whose_count_begins_anew_are_not_negative():
    rates = Rates()
    rates.update(STATUS, 1.0)
    rates.update(STATUS | {"workers": [worker(0, accepted=1)]}, 2.0)
    assert rates.of("worker 4000000") == "0"
    assert rates.of("worker 4000001") is None


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (59.4, "59s"), (60, "1m"), (3600, "1h"), (200_000, "2d")]
)
def test_times_are_in_their_largest_unit(seconds, text):
    assert ago(seconds) == text


def test_a_table_without_rows():
    assert Table.of("ID PEER", []).plain() == "ID  PEER"


class Terminal:
    """A terminal of 80 columns with a command in it."""

    def __init__(self, *args):
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
        self.said = b""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "host", *args],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            env=os.environ | {"TERM": "xterm-256color"},
        )
        os.close(theirs)

    def wait_for(self, text, seconds=DEADLINE_SECONDS):
        deadline = time.monotonic() + seconds
        while text not in self.said:
            left = deadline - time.monotonic()
            assert left > 0, self.said
            if select.select([self._ours], [], [], left)[0]:
                try:
                    self.said += os.read(self._ours, 65_536)
                except OSError:  # EIO: the command has ended
                    assert text in self.said, self.said

    def type(self, keys):
        os.write(self._ours, keys)

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self._ours)


@pytest.fixture
def terminal():
    started = []

    def start(*args):
        started.append(Terminal(*args))
        return started[-1]

    yield start
    for each in started:
        each.close()


@pytest.mark.parametrize("how", ["q", "Ctrl-C"])
def test_top_goes_on_until_it_is_told_to_end(host, terminal, how):
    fake = host(status=[STATUS, CommandError("too busy"), STATUS | {"version": "9.9"}])
    shown = terminal("top", "--name", fake.name)
    shown.wait_for(b"fake 0.1.0")
    shown.type(b" ")
    shown.wait_for(b"too busy")
    shown.wait_for(b"fake 9.9")
    if how == "q":
        shown.type(b"q")
    else:
        shown.process.send_signal(signal.SIGINT)
    assert shown.process.wait(DEADLINE_SECONDS) == 0
    shown.wait_for(b"\x1b[?1049l")  # the screen is what it was before


def test_on_a_terminal_status_has_colours(host, terminal):
    shown = terminal("status", "--name", host(status=STATUS).name)
    assert shown.process.wait(DEADLINE_SECONDS) == 0
    shown.wait_for(b"\x1b[32mserving")


# What the page says


def test_the_program_of_the_page_works_as_written(host, capsys):
    fake = host(scale={"workers": 4, "before": 2})
    page = ROOT / "docs" / "control.md"
    program, shown = (block for block in blocks(page)[-2:])
    assert (program.language, shown.language) == ("python", "text")
    exec(program.text.replace('"prefork"', repr(fake.name)), {})
    assert capsys.readouterr().out == shown.text
    assert fake.asked == [("scale", {"workers": 4})]


def test_the_page_lists_every_command():
    text = (ROOT / "docs" / "control.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `([a-z]+)[^`]*` \| ", text.partition("## What they")[0], re.MULTILINE)
    assert sorted(listed) == sorted(operation.name for operation in OPERATIONS)
