"""The fixture that starts real hosts, as authors of plugins use it."""

import os
import signal
from pathlib import Path

import pytest

from host.testing import RunningHost
from support.hosting import eventually

pytestmark = pytest.mark.process


def alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(") ")[2][0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_a_host_on_several_addresses(host_server, tmp_path):
    host = host_server(
        *("echo", "line"),
        listen=["tcp://127.0.0.1:0=echo", f"unix:{tmp_path}/x.sock=line", "tcp://[::1]:0=line"],
        workers=2,
    )
    replies = []
    for address in host.addresses:
        with host.connect(address) as client:
            client.sendall(b"PING\n")
            replies.append(client.recv(100))
    assert replies == [b"PING\n", b"+PONG\r\n", b"+PONG\r\n"]
    assert sorted(host.workers) == [0, 1]
    assert host.stop() == 0
    assert host.events("host_stopped")
    assert host.other_output == []


def test_options_and_settings_arrive(host_server):
    options = {"line": {"long_lines": "close", "max_line_bytes": 20, "commands": ["line"]}}
    host = host_server("line", options=options, settings={"limits.idle_timeout_seconds": 300})
    with host.connect() as client, client.makefile("rb") as replies:
        client.sendall(b"x" * 21)
        assert replies.read() == b"-ERR line longer than 20 bytes\r\n"


def test_a_worker_can_be_killed(host_server):
    host = host_server("echo")
    killed = host.kill_worker(0)
    assert host.wait_for("worker_died", slot=0)["pid"] == killed
    host.wait_for("worker_ready", count=2, slot=0)
    assert host.workers[0] != killed


@pytest.mark.parametrize("fixture", ["host_server", "start"])
def test_a_host_reloads_on_a_signal_that_tests_under_nohup_ignore(request, fixture):
    starts = request.getfixturevalue(fixture)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        host = starts() if fixture == "start" else starts("echo")
    finally:
        signal.signal(signal.SIGHUP, before)
    host.signal(signal.SIGHUP)
    host.wait_for("generation_ready")


def test_what_does_not_come_in_time_is_told_with_all_that_the_host_said(host_server):
    host = host_server("echo")
    with pytest.raises(AssertionError) as raised:
        host.wait_for("never", seconds=0.1, slot=7)
    first, command, *events = str(raised.value).splitlines()
    passed, _, rest = first.partition(" s have passed, ")
    assert float(passed) >= 0.1
    assert rest == "and 0 of 1 came: event never with {'slot': 7}"
    assert " -m host --log-format json" in command
    assert any('"host_ready"' in line for line in events)


def test_a_host_that_does_not_start_says_why(host_server):
    with pytest.raises(AssertionError, match=r"the host has ended(?s:.)*did you mean"):
        host_server("ehco")


def test_a_frozen_host_is_ended_by_force(tmp_path):
    host = RunningHost(
        ["--plugin", "echo", "--listen", "tcp://127.0.0.1:0", "--log-format", "json"], cwd=tmp_path
    )
    host.wait_for("host_ready")
    pids = [host.pid, *host.workers.values()]
    os.kill(host.pid, signal.SIGSTOP)
    with pytest.raises(AssertionError, match=r"still running after \d+\.\d s\n"):
        host.stop(seconds=0.1)
    host.clean_up(seconds=0.1)
    # SIGKILL has been sent to all; only the supervisor's end can be waited for from here.
    eventually(lambda: not any(map(alive, pids)), "no process of the host is left")
