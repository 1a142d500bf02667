"""What asyncio's protocols see of the host's connections: the table of the page, line by line."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
from typing import Any

import pytest

from host.errors import ExitCode
from support.address import connect
from support.hosting import SUPPORT, Host, Start

pytestmark = [pytest.mark.process, pytest.mark.warm]

FILE = SUPPORT / "asyncio_protocol.py"
LINGER = struct.pack("ii", 1, 0)


def begin(start: Start, plugin: str = "Plugin", **settings: Any) -> Host:
    return start(plugin=f"{FILE}:{plugin}", workers=1, settings={"log.access": "true", **settings})


def asked(client: socket.socket, line: str) -> str:
    client.sendall(f"{line}\n".encode())
    with client.makefile("r") as answers:
        return answers.readline().rstrip("\n")


def test_connection_made_that_raises_ends_the_connection(start: Start) -> None:
    host = begin(start, "Refuser")
    with connect(host.address) as client:
        assert client.recv(100) == b""
    assert host.wait_for("hook_failed")["hook"] == "on_accept"
    assert host.wait_for("connection_closed")["reason"] == "the plugin failed"


def test_data_received_that_raises_ends_this_connection_alone(start: Start) -> None:
    host = begin(start)
    with connect(host.address) as other, connect(host.address) as client:
        assert asked(other, "echo 1") == "1"
        client.sendall(b"raise\n")
        assert client.recv(100) == b""
        assert asked(other, "echo 2") == "2"
        failed = host.wait_for("hook_failed")
        assert failed["error"] == "ValueError: of a protocol"
        assert failed["plugin"] == "asyncio_protocol:Plugin"
        assert failed["connection"]
        error = "ConnectionAbortedError('the plugin failed')"
        host.wait_for("plugin_printed", text=f"lost: {error}")


def test_each_connection_has_a_context_of_its_own(start: Start) -> None:
    host = begin(start)
    with connect(host.address) as ann, connect(host.address) as bob:
        assert asked(ann, "who ann") == "ann"
        assert asked(bob, "who") == "nobody"
        assert asked(bob, "who bob") == "bob"
        assert asked(ann, "who") == "ann"


@pytest.mark.parametrize(
    ("half_open", "answer", "reason"),
    [(False, b"", "peer finished sending"), (True, b"after the end\n", "closed by the plugin")],
)
def test_eof_received_says_whether_the_connection_stays(
    start: Start, half_open: bool, answer: bytes, reason: str
) -> None:
    host = begin(start)
    with connect(host.address) as client:
        if half_open:
            assert asked(client, "half") == "half"
        client.shutdown(socket.SHUT_WR)
        assert client.makefile("rb").read() == answer
    host.wait_for("plugin_printed", text="lost: None")
    assert host.wait_for("connection_closed")["reason"] == reason


def test_close_sends_what_is_queued(start: Start) -> None:
    host = begin(start)
    with connect(host.address) as client:
        assert asked(client, "close") == "bye"
        assert client.recv(100) == b""
    host.wait_for("plugin_printed", text="lost: None")
    assert host.wait_for("connection_closed")["reason"] == "closed by the plugin"


def test_abort_resets(start: Start) -> None:
    host = begin(start)
    with connect(host.address) as client:
        client.sendall(b"abort\n")
        with pytest.raises(ConnectionResetError):
            client.recv(100)
    host.wait_for("plugin_printed", text="lost: None")
    assert host.wait_for("connection_closed")["reason"] == "closed by the plugin"


def test_a_reset_is_one_for_the_protocol(start: Start) -> None:
    host = begin(start)
    with connect(host.address) as client:
        assert asked(client, "echo 1") == "1"
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER)
    host.wait_for("plugin_printed", text="lost: ConnectionResetError('reset by the peer')")


def test_a_time_out_is_one_for_the_protocol(start: Start) -> None:
    host = begin(start, **{"limits.idle_timeout_seconds": 0.5})
    with connect(host.address) as client:
        assert asked(client, "echo 1") == "1"
        assert client.recv(1) == b""
    host.wait_for("plugin_printed", text="lost: TimeoutError('idle for too long')")


def test_the_drain_deadline_aborts(start: Start) -> None:
    host = begin(start, **{"lifecycle.drain_timeout_seconds": 0.5})
    with connect(host.address) as client:
        assert asked(client, "echo 1") == "1"
        host.signal(signal.SIGTERM)
        error = "ConnectionAbortedError('still open at the drain deadline')"
        host.wait_for("plugin_printed", text=f"lost: {error}")
        host.wait_for("plugin_printed", text="stopped")
        assert host.wait() == ExitCode.CUT_SHORT


def test_what_is_known_of_a_connection(start: Start) -> None:
    host = begin(start)
    with connect(host.address) as client:
        name = list(client.getsockname())
        assert json.loads(asked(client, "info")) == {
            "peername": name,
            "sockname": list(client.getpeername()),
            "socket": list(client.getpeername()),
            "own": True,
            "ssl_object": None,
            "listener": host.address,
            "limits": [65_536, 262_144],
            "reading": True,
            "clock": True,
        }


def test_a_protocol_is_paused_and_resumed(start: Start) -> None:
    host = begin(start)
    with connect(host.address) as client:
        client.sendall(b"until_paused\n")
        host.wait_for("plugin_printed", text="paused")
        with client.makefile("rb") as answers:
            assert answers.readline().endswith(b"xresumed\n")


def test_a_write_may_be_larger_than_all_limits(start: Start) -> None:
    host = begin(start)
    size = 50_000_000
    with connect(host.address) as client:
        client.sendall(f"much 100000 30\nmuch {size}\n".encode())
        left = size + 3_000_000
        while left > 0:
            data = client.recv(1 << 20)
            assert data, f"{left} bytes are missing"
            left -= len(data)


def test_a_protocol_that_does_not_heed_is_cut(start: Start) -> None:
    host = begin(start)
    with connect(host.address) as client:
        client.sendall(b"much 1000000 100\n")
        host.wait_for("plugin_printed", text="lost: ConnectionAbortedError('too much unsent')")


def test_write_eof_comes_after_what_was_written(start: Start) -> None:
    host = begin(start)
    with connect(host.address) as client:
        client.sendall(b"eof\n")
        host.wait_for("plugin_printed", text="Cannot call write() after write_eof()")
        assert len(client.makefile("rb").read()) == 1_000_000


@pytest.mark.parametrize(
    ("command", "call", "error"),
    [
        ("fail", "task failing", "ValueError: of a task"),
        ("callback", "callback Obedient.do_callback.<locals>.broken", "ValueError: of a callback"),
        ("exit", "a callback", "SystemExit: 3"),
    ],
)
def test_what_fails_outside_of_hooks_is_told(
    start: Start, command: str, call: str, error: str
) -> None:
    host = begin(start)
    with connect(host.address) as client:
        client.sendall(f"{command}\n".encode())
        failed = host.wait_for("callback_failed")
        assert failed["call"] == call
        assert failed["error"] == error
        assert error in failed["traceback"]
        assert failed["plugin"] == "asyncio_protocol:Plugin"
        assert asked(client, "echo on") == "on"


def test_a_handler_that_hears_of_the_end_of_its_connection_has_not_failed(start: Start) -> None:
    host = begin(start, "Reader")
    with connect(host.address) as client:
        assert asked(client, "hello") == "hello"
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER)
    assert host.wait_for("connection_closed")["reason"] == "reset by the peer"
    with connect(host.address) as client:
        client.sendall(b"raise\n")
        with pytest.raises(ConnectionResetError):
            client.recv(100)
    assert host.wait_for("callback_failed")["error"] == "ConnectionError: of another service"
    assert host.stop() == 0
    assert len(host.events("callback_failed")) == 1


@pytest.mark.parametrize(
    ("command", "what"),
    [
        ("hang", "in hook on_readable of plugin "),
        ("hang_in_task", "in a task of asyncio of plugin "),
    ],
)
def test_a_hang_is_blamed_on_what_hangs(start: Start, command: str, what: str) -> None:
    host = begin(start, **{"lifecycle.hang_seconds": 1})
    with connect(host.address) as other, connect(host.address) as client:
        assert asked(other, "echo 1") == "1"
        client.sendall(f"{command}\n".encode())
        hung = host.wait_for("worker_hung")
        assert what in hung["message"]
        assert f", connection {host.workers[0]}-2" in hung["message"]
        assert "time.sleep" in str(hung) or "in hangs" in str(hung) or "do_hang" in str(hung)
        host.wait_for("worker_ready", count=2)


def test_signals_of_the_host_cannot_be_handled_and_others_can(start: Start) -> None:
    host = begin(start)
    with connect(host.address) as client:
        assert asked(client, "signal SIGTERM") == (
            "signal SIGTERM cannot be handled: the host uses it"
        )
        assert asked(client, "signal SIGUSR2") == "handled"
        os.kill(host.workers[0], signal.SIGUSR2)
        assert client.makefile("r").readline() == "signalled\n"


def test_a_reload_and_a_stop_with_open_connections(start: Start) -> None:
    host = begin(start, **{"lifecycle.drain_timeout_seconds": 5})
    with connect(host.address) as before:
        assert asked(before, "echo 1") == "1"
        host.signal(signal.SIGHUP)
        host.wait_for("generation_ready")
        with connect(host.address) as after:
            assert asked(after, "echo 2") == "2"
            assert asked(before, "echo 3") == "3"
    host.wait_for("plugin_printed", text="stopped")
    assert host.stop() == 0
