"""Standard streams that are closed, full or broken disturb nobody, and no client ever gets one."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from host.errors import ExitCode
from host.testing.machine import patience
from support.address import connect
from support.hosting import (
    DEADLINE_SECONDS,
    PRINTING,
    Start,
    command,
    environment,
    eventually,
    reload,
)
from support.processes import says_last_words
from support.session import answerer

pytestmark = pytest.mark.process

UNUSABLE = ("closed", "full", "stalled", "broken")
BUFFERED = {"PYTHONUNBUFFERED": ""}
"""What is printed waits in the process, whatever those who run the tests have set."""

FULL = "host: cannot write to standard output: No space left on device\n"
PIPE_BYTES = 4096
"""The least that a pipe may have (F_SETPIPE_SZ, fcntl(2))."""


def exchange(client, data):
    client.sendall(data)
    received = client.recv(100)
    assert received == data


def ready(name: str, folder: Path, streams: dict[int, str]) -> int:
    """Ask whether a host is ready, with standard streams like these; return the exit code."""
    asked = command(["status", "--ready", "--name", name], streams=streams)
    return subprocess.run(
        asked, check=False, cwd=folder, env=environment(), capture_output=True
    ).returncode


@pytest.mark.parametrize("state", UNUSABLE)
def test_output_that_nobody_takes_changes_nothing(start: Start, state: str) -> None:
    host = start(plugin=PRINTING, streams={1: state}, env=BUFFERED)
    with connect(host.address) as first, connect(host.address) as second:
        exchange(first, b"1")
        exchange(second, b"1")
        for slot in (0, 1):
            host.kill_worker(slot, signal.SIGTERM)
        second.shutdown(socket.SHUT_WR)
        assert second.recv(1) == b""
        host.wait_for("worker_exited")
        exchange(first, b"2")
    assert host.stop() == 0
    assert not [event for event in host.events("worker_exited") if event["level"] == "error"]


@pytest.mark.parametrize(
    "streams",
    [{2: state} for state in UNUSABLE]
    + [
        {0: "closed", 1: "closed", 2: "closed"},
        {1: "closed", 2: "closed"},
        {1: "full", 2: "full"},
    ],
)
def test_a_host_without_standard_error_serves_and_says_how_it_ended(
    start: Start, tmp_path: Path, streams: dict[int, str]
) -> None:
    name = f"streams-{os.getpid()}"
    host = start(
        "--name",
        name,
        plugin=PRINTING,
        listen=("unix",),
        streams=streams,
        env=BUFFERED,
        ready=False,
    )
    eventually(lambda: ready(name, tmp_path, {}) == 0, "the host is ready")
    (path,) = tmp_path.glob("*.sock")
    with connect(f"unix:{path}") as client:
        exchange(client, b"1")
    assert host.stop() == 0
    host.other_output.clear()


@pytest.mark.parametrize("state", ["closed", "full", "broken"])
def test_ready_is_told_by_the_exit_code_without_standard_output(
    start: Start, tmp_path: Path, state: str
) -> None:
    name = f"streams-{os.getpid()}"
    assert ready(name, tmp_path, {1: state}) == 1
    host = start("--name", name)
    assert ready(name, tmp_path, {1: state}) == 0
    assert ready(name, tmp_path, {1: state, 2: state}) == 0
    assert host.stop() == 0


@pytest.mark.parametrize("words", [["--version"], ["settings"]])
def test_output_that_cannot_be_written_has_an_exit_code_of_its_own(words: list[str]) -> None:
    for state, said in (("full", FULL), ("broken", ""), ("closed", None)):
        asked = command(words, streams={1: state})
        done = subprocess.run(
            asked, check=False, env=environment(BUFFERED), capture_output=True, text=True
        )
        expected = (ExitCode.OK, "") if said is None else (ExitCode.OUTPUT, said)
        assert (done.returncode, done.stderr) == expected, state


def test_a_command_that_has_failed_says_so_whatever_becomes_of_its_output() -> None:
    asked = command(["settings", "--workers", "0"], streams={1: "full"})
    done = subprocess.run(asked, check=False, env=environment(BUFFERED), capture_output=True)
    assert done.returncode == ExitCode.SETTINGS


@pytest.mark.parametrize("buffered", [{"PYTHONUNBUFFERED": "1"}, BUFFERED])
def test_all_output_is_written_to_a_pipe_that_does_not_block(buffered: dict[str, str]) -> None:
    """Another program that has the pipe has made it so."""
    asked = command(["settings"])
    whole = subprocess.check_output(asked, env=environment())
    reader, writer = os.pipe()
    with open(reader, "rb") as read:
        size = fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        assert size < len(whole)
        os.set_blocking(writer, False)
        with subprocess.Popen(asked, stdout=writer, env=environment(buffered)) as printing:
            os.close(writer)
            eventually(lambda: waiting_bytes(reader) == size, "the pipe is full")
            assert read.read() == whole
        assert printing.returncode == ExitCode.OK


def waiting_bytes(descriptor: int) -> int:
    """Return how many bytes can be read from a pipe."""
    found = fcntl.ioctl(descriptor, termios.FIONREAD, bytes(4))
    return int.from_bytes(found, sys.byteorder)


@pytest.mark.parametrize("state", ["closed", "full", "broken"])
def test_a_host_that_cannot_start_says_so_by_its_exit_code_alone(state: str) -> None:
    flags = command(["--plugin", "no_such_plugin"], streams={1: state, 2: state})
    done = subprocess.run(flags, check=False, env=environment(), timeout=patience(30))
    assert done.returncode == 4


def test_a_host_that_cannot_say_why_it_does_not_start_can_be_told_to_end() -> None:
    host = subprocess.Popen(
        command(["--plugin", "no_such_plugin"], streams={2: "stalled"}), env=environment()
    )
    try:
        eventually(lambda: says_last_words(host.pid), "it prints its message")
        host.terminate()
        assert host.wait(patience(DEADLINE_SECONDS)) == 4
    finally:
        host.kill()
        host.wait()


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_client_never_gets_a_standard_stream_that_a_plugin_has_closed(
    start: Start, number: int
) -> None:
    host = start(plugin=PRINTING, workers=1, env=BUFFERED)
    with connect(host.address) as first:
        exchange(first, b"close %d" % number)
        with connect(host.address) as victim:
            exchange(victim, b"1")
            with connect(host.address) as other:
                other.sendall(b"raise")
                assert other.recv(100) == b""
            host.wait_for("hook_failed")  # the log is where it was
            exchange(victim, b"2")
            exchange(first, b"3")
    assert host.stop() == 0
    host.other_output.clear()


def test_the_log_stays_where_it_is_over_a_reload(start: Start) -> None:
    host = start(plugin=PRINTING, workers=1, env=BUFFERED)
    for generation in (1, 2):
        host.signal(signal.SIGHUP)
        host.wait_for("generation_ready", generation=generation)
    assert host.stop() == 0
    host.other_output.clear()


@pytest.mark.parametrize(
    "code",
    [
        "sys.stdout = sys.stderr = None",
        "sys.stdout = io.StringIO()",
        "sys.stdout.close()",
        "print('mine'); sys.stdout = type('Mine', (), {'write': len})()",
    ],
)
def test_plugins_that_print_elsewhere_are_checked_and_reloaded(
    start: Start, tmp_path: Path, code: str
) -> None:
    """Where a plugin has its prints go is no matter of what the host has to say."""
    path = tmp_path / "answerer.py"
    path.write_text(f"import io, sys\n{code}\n{answerer()}")
    checked = subprocess.run(
        command(["check", "--plugin", str(path)]),
        check=False,
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert (checked.returncode, checked.stdout.splitlines()[-1:]) == (0, ["ok"]), checked.stderr
    host = start(plugin=str(path))
    reload(host)
    assert host.stop() == 0
