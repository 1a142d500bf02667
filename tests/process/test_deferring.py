"""What plugins put off, and how connections end, as real clients see it."""

from __future__ import annotations

import os
import re
import socket

import pytest

from host.testing.machine import Stopwatch
from support.address import connect
from support.hosting import SUPPORT, Host, Start

pytestmark = [pytest.mark.process, pytest.mark.warm]

DEFERRING = str(SUPPORT / "deferring.py")
FAMILIES = pytest.mark.parametrize("family", ["tcp4", "tcp6", "unix"])


def receive_all(client: socket.socket) -> bytes:
    return b"".join(iter(lambda: client.recv(1 << 20), b""))


def receive_exactly(client: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        piece = client.recv(size - len(data))
        assert piece
        data += piece
    return bytes(data)


def begin(start: Start, family: str = "tcp4", *flags: str) -> Host:
    return start(*flags, plugin=DEFERRING, listen=(family,), workers=1)


@FAMILIES
def test_an_answer_that_comes_after_the_peer_has_finished_arrives(
    start: Start, family: str
) -> None:
    host = begin(start, family)
    with connect(host.address) as client:
        client.sendall(b"thread\nthread\n")
        client.shutdown(socket.SHUT_WR)
        assert receive_all(client) == 2 * b"from a thread"
    with connect(host.address) as client:
        client.sendall(b"lost\n")
        client.shutdown(socket.SHUT_WR)
        assert receive_all(client) == b""
        told = host.wait_for("writes_lost")
    assert "begin_answer()" in told["message"]
    assert told["count"] == 1


def test_a_time_out_of_the_plugin_closes_in_time_and_says_so(start: Start) -> None:
    host = begin(start, "tcp4", "--set", "log.access=true")
    watch = Stopwatch()
    with connect(host.address) as client:
        client.sendall(b"expire 0.3\n")
        assert receive_all(client) == b""
    assert watch.seconds >= 0.3
    told = host.wait_for("connection_closed")
    assert told["reason"] == "not done in the time the plugin gave it"


def test_a_call_of_a_timer_writes(start: Start) -> None:
    host = begin(start)
    with connect(host.address) as client:
        client.sendall(b"later 0.05\n")
        assert client.recv(100) == b"late\n"


def test_an_abort_is_a_reset(start: Start) -> None:
    host = begin(start)
    with connect(host.address) as client:
        client.sendall(b"abort\n")
        with pytest.raises(ConnectionResetError):
            receive_all(client)


@FAMILIES
def test_a_file_larger_than_all_buffers_arrives_whole(
    start: Start, family: str, tmp_path: os.PathLike[str]
) -> None:
    path = f"{tmp_path}/large"
    content = os.urandom(1 << 20) * 24  # more than max_unsent_bytes
    with open(path, "wb") as file:
        file.write(content)
    host = begin(start, family)
    with connect(host.address) as client:
        client.sendall(f"file {path}\n".encode())
        client.shutdown(socket.SHUT_WR)
        assert receive_all(client) == b"begin " + content + b" end"


def test_an_answer_that_is_cut_is_a_reset_and_told(start: Start) -> None:
    host = begin(start, "tcp4", "--set", "connection.max_unsent_bytes=1000000")
    with connect(host.address) as client:
        client.sendall(b"single 30000000\n")  # nothing waits before it
        assert len(receive_exactly(client, 30_000_000)) == 30_000_000
        client.sendall(b"later 0.1\nsingle 30000000\n")
        assert host.wait_for("answers_cut")["reason"] == "too much unsent"
        with pytest.raises(ConnectionResetError):
            receive_exactly(client, 30_000_000)


def test_the_origin_says_who_has_connected(start: Start) -> None:
    host = start(plugin=DEFERRING, listen=("tcp4", "tcp6", "unix"), workers=1)
    found = []
    for address in host.addresses:
        with connect(address) as client:
            client.sendall(b"origin\n")
            found.append(client.recv(1000).decode())
            if not address.startswith("unix"):
                port = client.getsockname()[1]
                assert f"port={port}" in found[-1]
    assert "peer='127.0.0.1:" in found[0]
    assert "host='127.0.0.1'" in found[0]
    assert re.search(r"host='::1', port=\d+, scope=0", found[1])
    assert "peer='unix', host=None, port=None, scope=None" in found[2]
    assert f"uid={os.getuid()}, pid={os.getpid()}" in found[2]


@pytest.mark.parametrize("where", ["worker", "supervisor"])
def test_a_plugin_stops_the_host_and_clients_are_drained(start: Start, where: str) -> None:
    host = begin(start)
    with connect(host.address) as other:
        other.sendall(b"later 0\n")
        assert other.recv(100) == b"late\n"
        with connect(host.address) as client:
            client.sendall(b"stop enough is enough\n" if where == "worker" else b"crash\n")
            told = host.wait_for("stop_asked")
            assert told["reason"] == "enough is enough"
            assert (told["pid"] == host.pid) == (where == "supervisor")
            host.wait_for("host_stopping", cause="SIGTERM")
    assert host.wait() == 0
