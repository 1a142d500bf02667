"""The commands to a running host: which it is asked, what is printed, and the exit codes."""

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress

import pytest
from click.testing import CliRunner

from host.cli.main import main
from host.control.client import running
from host.control.commands import CommandError
from host.errors import ExitCode
from support.fake_host import EVIL, READY, SPELLED, STATUS, TROUBLED, Drop, new_name
from walkthrough import ROOT, blocks

ALL = {"limit": 1000, "sort": None, "reverse": False}
ALL |= {"listener": None, "peer": None, "worker": None}
"""What `connections` asks for where nothing is said."""


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


def test_a_host_is_found_by_its_name(host):
    fake = host(status=STATUS)
    assert fake.name in running()
    assert run("status", env={"PREFORK_NAME": fake.name}).exit_code == 0
    assert fake.asked == [("status", {"ready": False})]


@pytest.mark.parametrize("name", ["no-such-host", "No Host", "x" * 200, "\x1b[31m", "a/b"])
def test_no_such_host_names_those_that_run(host, name):
    fake = host()
    result = run("status", "--name", name)
    assert result.exit_code == ExitCode.REMOTE
    shown = name.replace("\x1b", "\\x1b")
    assert f'no host named "{shown}" runs here (for this user, in this network' in result.stderr
    assert re.search(rf"; running: .*\b{fake.name}\b", result.stderr)


def test_one_that_hangs_is_given_up(host):
    fake = host(status=None)
    message = refused(fake, "status", "--timeout", "0.05")
    assert message == (
        f'host "{fake.name}" has not answered within 0.05 s (--timeout): it hangs, is stopped, or '
        "has much to do"
    )


def test_a_host_that_misses_a_part_is_of_another_version(host):
    fake = host(status={"name": "fake"}, scale={"workers": 3})
    assert "is not understood here" in refused(fake, "status")
    assert "is not understood here" in refused(fake, "scale", "3")
    assert json.loads(say(fake, "status", "--json")) == {"name": "fake"}


def test_status_is_a_table(host):
    fake = host(status=STATUS | {"last_reload": READY})
    assert say(fake, "status") == (
        "fake 0.1.0: serving, ready; pid 81, generation 1, up 1d\n"
        "2 of 2 workers serving; 0 restarts; scheduler: least_connections, round_robin\n"
        "last reload: generation 1 ready, 5s ago\n"
        "\n"
        "SLOT      PID  GEN  STATE    ACTIVE  ACCEPTED  OUTSTANDING  AGE    TURN  MEMORY\n"
        "   0  4000000    1  serving   12345  10000000            3   3m  12.3ms     31M\n"
        "   1  4000001    1  serving   12345  10000000            3   3m  12.3ms     31M\n"
        "\n"
        "LISTENER              PLUGIN  WAITING  ACCEPTED  SPURIOUS  REFUSED\n"
        "tcp://127.0.0.1:7000  echo          0  20000000         5        0\n"
    )


def test_status_sums_up_the_tasks_of_pools(host):
    names = ("waiting", "running", "done", "failed", "lost", "timed_out", "cancelled")
    tasks = {name: number for number, name in enumerate(names, 1)}
    line = (
        "tasks of pools: 1 queued, 2 running; 3 done, 4 failed, 5 lost, 6 timed out, 7 cancelled\n"
    )
    assert line in say(host(status=STATUS | {"tasks": tasks}), "status")
    assert line in say(host(status=STATUS | {"tasks": tasks}), "top")
    nothing = dict.fromkeys(names, 0)
    assert "tasks of pools" not in say(host(status=STATUS | {"tasks": nothing}), "status")


@pytest.mark.parametrize("truncated", [False, True])
def test_status_tells_who_has_most_connections(host, truncated):
    peers = ["192.0.2.1:1", "192.0.2.2:1", "192.0.2.2:2", "unix"]
    prefixes = [("limits.client_prefix_v4", "32"), ("limits.client_prefix_v6", "64")]
    fake = host(
        status=STATUS,
        connections={
            "connections": [{"peer": peer} for peer in peers],
            "unanswered": [],
            "truncated": truncated,
        },
        applied={"settings": [{"key": key, "value": value} for key, value in prefixes]},
    )
    _, _, said = say(fake, "status", "--clients").rpartition("\n\n")
    lines = ["CLIENT     CONNECTIONS", "192.0.2.2            2", "192.0.2.1            1"]
    lines.append("unix                 1")
    if truncated:
        lines.append(
            "not all connections are counted: there are very many, or a worker did not answer"
        )
    assert said.splitlines() == lines
    assert fake.asked[1] == ("connections", ALL | {"limit": 100_000})
    told = json.loads(say(fake, "status", "--clients", "--json"))
    assert told["clients"][0] == {"client": "192.0.2.2", "connections": 2}
    assert told["clients_are_all"] is not truncated
    assert "CLIENT" not in say(fake, "status")


def test_status_tells_of_troubles_and_nothing_reaches_the_terminal(host):
    fake = host(status=TROUBLED)
    said = say(fake, "status")
    assert "fake 0.1.0: reloading, not ready; " in said
    assert f"last reload: generation 1 failed, 5s ago: {SPELLED[:-12]}" in said
    states = re.findall(r"^ +\d +40000\d\d +\d  (\w+)", said, re.MULTILINE)
    assert states == ["held", "suspended", "draining", "serving", "starting"]
    assert "\n2 of 2 workers serving; 7 restarts; " in said
    assert (
        f"worker 3 leaves out plugin {SPELLED} (open): 10 failures, last in on_accept; "
        "for 12s more\n"
    ) in said
    assert "the supervisor leaves out plugin watcher (half-open): 3 failures, last in on_c" in said
    assert f"worker 1 (pid 77) hung 1m ago, in hook on_readable of plugin {SPELLED}\n" in said
    assert "nobody can connect to tcp://127.0.0.1:7000: its socket file is gone; a reload" in said
    assert "File" not in said
    assert f"    File {SPELLED}\n" in say(fake, "status", "--stacks")
    assert said.isascii()
    assert "\x1b" not in said


@pytest.mark.parametrize(
    ("ready", "reason", "words", "code"),
    [
        (True, "", "ready", 0),
        (False, "the host is stopping", "not ready: the host is stopping", 1),
        (False, "\x1b[2J", "not ready: \\x1b[2J", 1),
    ],
)
def test_a_probe_gets_one_line_and_an_exit_code(host, ready, reason, words, code):
    fake = host(status={"ready": ready, "not_ready": reason})
    result = run("status", "--ready", "--name", fake.name)
    assert (result.output, result.exit_code) == (f"{words}\n", code)
    result = run("status", "--ready", "--json", "--name", fake.name)
    assert json.loads(result.stdout) == {"ready": ready, "not_ready": reason}


def test_a_host_that_is_not_there_is_not_ready():
    result = run("status", "--ready", "--name", "no-such-host")
    assert result.output.startswith('not ready: no host named "no-such-host" runs here')
    assert result.exit_code == 1


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


def test_applied_settings(host):
    found = [
        {"key": "workers", "value": "4", "origin": "default"},
        {"key": "options.chat.greeting", "value": EVIL, "origin": "host.toml:7"},
    ]
    first, second = say(host(applied={"settings": found}), "applied").splitlines()
    assert first.split() == ["workers", "=", "4", "#", "default"]
    assert second.split() == ["options.chat.greeting", "=", *SPELLED.split(), "#", "host.toml:7"]


def test_a_list_that_takes_several_pages_is_shown_whole(host):
    found = {
        "connections": [{"id": f"81-{number}", "peer": "x" * 60} for number in range(30_000)],
        "unanswered": [],
        "truncated": True,
    }
    fake = host(connections=found)
    assert json.loads(say(fake, "connections", "--json")) == found
    assert len(fake.asked) == 1


def test_connections(host):
    one = {
        "id": "81-1",
        "slot": 0,
        "listener": "tcp://[::1]:7",
        "peer": EVIL,
        "tls": {"version": "TLSv1.3", "cipher": "c", "alpn": None, "server_name": "a.example"},
        "age_seconds": 3700.0,
    }
    one |= {"idle_seconds": 0.2, "bytes_in": 100, "bytes_out": 7, "unsent_bytes": 0}
    one |= {"doing": "GET /" + "\x1b", "doing_seconds": 3.0}
    found = {"connections": [one], "unanswered": [1, 2], "truncated": True}
    fake = host(connections=found)
    assert say(fake, "connections", "--limit", "1") == (
        "ID    SLOT  LISTENER       PEER                              TLS  AGE "
        " IDLE   IN  OUT  UNSENT  DOING\n"
        f"81-1     0  tcp://[::1]:7  {SPELLED}  1.3   1h    0s  100    7       0  GET /\\x1b (3s)\n"
        "no answer from the workers in these slots: 1, 2\n"
        "only 1 are shown, and there are more: raise --limit\n"
    )
    assert json.loads(say(fake, "connections", "--json")) == found
    assert fake.asked == [("connections", ALL | {"limit": 1}), ("connections", ALL)]


def test_recent_events(host):
    one = {"seconds_ago": 2.5, "slot": 0, "pid": 81, "event": "started", "text": EVIL}
    fake = host(recent={"events": [one, one | {"seconds_ago": 0.0125, "text": "ended"}]})
    assert say(fake, "recent", "3").splitlines() == [
        "    AGO  SLOT  PID  EVENT",
        f"2.500 s     0   81  {SPELLED.strip()}",
        "0.013 s     0   81  ended",
    ]
    assert json.loads(say(fake, "recent", "--json"))["events"][0] == one
    assert fake.asked == [("recent", {"slot": 3}), ("recent", {"slot": None})]


def test_connections_come_in_the_order_that_was_asked_for_else_by_worker_and_age(host):
    found = [
        {"id": id, "slot": slot, "age_seconds": age, "listener": "l", "peer": "p", "tls": None}
        | {"idle_seconds": 0.0, "bytes_in": 0, "bytes_out": 0, "unsent_bytes": 0}
        | {"doing": "", "doing_seconds": 0.0}
        for id, slot, age in (("81-1", 1, 5.0), ("80-1", 0, 5.0), ("80-2", 0, 9.0))
    ]
    fake = host(connections={"connections": found, "unanswered": [], "truncated": False})
    which = ["--sort", "peer", "--reverse", "--listener", "l", "--peer", "::1", "--worker", "0"]

    def ids(*args):
        return re.findall(r"^\d+-\d+", say(fake, "connections", *args), re.MULTILINE)

    assert ids() == ["80-2", "80-1", "81-1"]
    assert ids(*which) == ["81-1", "80-1", "80-2"]
    asked = {"sort": "peer", "reverse": True, "listener": "l", "peer": "::1", "worker": 0}
    assert fake.asked == [("connections", ALL), ("connections", ALL | asked)]


def test_why(host):
    candidates = [{"slot": slot, "active": 5 * slot, "outstanding": slot} for slot in range(3)]
    found = {"id": "81-1", "listener": "unix:/run/x", "slot": 1, "pid": 81, "omitted": 48}
    found |= {"scheduler": "round_robin", "seconds_ago": 7200.0, "candidates": candidates}
    found |= {"doing": "GET /", "tasks": ["task 1", "task \x1b"]}
    fake = host(why=found)
    assert say(fake, "why", "81-1") == (
        "connection 81-1 on unix:/run/x: round_robin chose the worker in slot 1 (pid 81) 2h ago, "
        "out of\n"
        "SLOT  ACTIVE  OUTSTANDING  STATE\n"
        "   0       0            0\n"
        "   1       5            1  chosen\n"
        "   2      10            2\n"
        "and 48 more\n"
        "it does: GET /\n"
        "task 1\n"
        "task \\x1b\n"
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
            ("hold", "1"),
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
    assert refused(fake, "reload", "--timeout", "1").startswith(
        "generation 2 is not ready after 1 s (--timeout)"
    )


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
    name = new_name()
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


def test_top_prints_once_where_nobody_looks(host):
    fake = host(status=STATUS)
    said = say(fake, "top", "--sort", "slot", "--reverse")
    assert "\nsupervisor: 1.0% of a CPU\n" in said
    assert re.findall(r"^ +(\d) +4000", said, re.MULTILINE) == ["1", "0"]
    assert len(fake.asked) == 1
    assert json.loads(say(fake, "top", "--json")) == STATUS


def test_the_program_of_the_page_works_as_written(host, capsys):
    fake = host(scale={"workers": 4, "before": 2})
    page = ROOT / "docs" / "control.md"
    program, shown = (block for block in blocks(page)[-2:])
    assert (program.language, shown.language) == ("python", "text")
    exec(program.text.replace('"prefork"', repr(fake.name)), {})
    assert capsys.readouterr().out == shown.text
    assert fake.asked == [("scale", {"workers": 4})]


def test_who_was_not_let_in_counts_as_refused(host):
    [listener] = STATUS["listeners"]
    causes = {"denied": 1, "proxy": 20, "late": 300, "gone": 4_000, "probes": 50_000}
    fake = host(status=STATUS | {"listeners": [listener | {"refused": 1000, "refusals": causes}]})
    assert say(fake, "status").endswith("     1321\n")
