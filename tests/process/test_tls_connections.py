"""What plugins do with connections, and the limits of connections, over TLS."""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress

import pytest

from host.testing.machine import Stopwatch, patience
from support.asking import query
from support.exchanging import exchanged
from support.hosting import SUPPORT

pytestmark = [pytest.mark.process, pytest.mark.warm]

MIB = 1 << 20
CONFIG = """
plugins = ["{plugin}"]
workers = 1
[log]
access = true
[[listen]]
address = "tcp://127.0.0.1:0"
tls = "public"
[tls.public]
certificates = [{files}]
"""


@pytest.fixture
def served(start_from, authority):
    """Start a host with settings like `connection.max_unsent_bytes`."""
    files = authority.files("a", "a.example")

    def begin(settings=None):
        text = CONFIG.format(plugin=SUPPORT / "tls_doings.py", files=files.toml)
        return start_from(text, settings=settings)

    return begin


@pytest.fixture
def connect(authority):
    def begin(host, room=None):
        sock = socket.socket()
        if room is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
        sock.settimeout(patience(20))
        sock.connect(("127.0.0.1", int(host.address.rpartition(":")[2])))
        return authority.client().wrap_socket(sock, server_hostname="a.example")

    return begin


def whole(client, size):
    found = bytearray()
    while len(found) < size and (data := client.recv(size - len(found))):
        found += data
    return bytes(found)


def all_of(sock):
    """Return all that comes until the end."""
    found = bytearray()
    while data := sock.recv(65_536):
        found += data
    return bytes(found)


def test_a_file_goes_between_what_is_written_before_and_after(served, connect):
    with connect(served()) as client:
        client.sendall(b"file\n")
        content = bytes(range(256)) * (4 * MIB // 256)
        expected = b"before" + content[100 : 100 + 3 * MIB] + b"after"
        assert whole(client, len(expected)) == expected


def test_a_buffer_smaller_than_a_record_gets_all_of_it(served, connect):
    data = bytes(range(250)) * 800
    with connect(served()) as client:
        client.sendall(b"into\n")
        assert whole(client, 2) == b"go"
        assert exchanged(client, data, len(data)) == data


def test_an_abort_resets_and_says_nothing_before(served, connect):
    host = served()
    with connect(host) as client, socket.socket(fileno=socket.dup(client.fileno())) as below:
        below.settimeout(patience(20))
        client.sendall(b"abort\n")
        with pytest.raises(ConnectionResetError):  # which ssl shows as an end
            all_of(below)
    host.wait_for("connection_closed")


def test_what_comes_during_a_pause_is_read_after_it(served, connect):
    with connect(served()) as client:
        client.sendall(b"pause\n")
        assert whole(client, 6) == b"paused"
        client.sendall(b"sent in the pause")
        assert whole(client, 24) == b"resumedsent in the pause"


def test_who_sends_on_in_a_pause_and_reads_late_loses_nothing(served, connect):
    data = bytes(range(32, 250)) * 8000  # no ends of lines, which the plugin leaves out
    with connect(served(), room=8192) as client:
        client.sendall(b"pause\n")
        assert whole(client, 6) == b"paused"
        assert exchanged(client, data, len(data) + 7) == b"resumed" + data


def test_a_plugin_is_called_when_there_is_room(served, connect):
    with connect(served(), room=8192) as client:
        client.sendall(b"writable\n")
        assert whole(client, 2 * MIB + 8) == bytes(2 * MIB) + b"writable"


@pytest.mark.timing
def test_who_says_nothing_is_closed_and_told_so(served, connect):
    host = served({"limits.idle_timeout_seconds": "0.5"})
    with connect(host) as client:
        client.sendall(b"hello")
        assert whole(client, 5) == b"hello"
        watch = Stopwatch()
        assert client.recv(1) == b""  # close_notify: without it this raises SSLEOFError
        assert 0.49 <= watch.seconds <= 0.5 * 1.05 + watch.scaled(0.3)
    assert host.wait_for("connection_closed")["reason"] == "idle for too long"


def test_who_does_not_read_is_closed_after_the_write_timeout(served, connect):
    host = served({"connection.write_timeout_seconds": "0.5"})
    with connect(host, room=8192) as client:
        client.sendall(b"much\n")
        closed = host.wait_for("connection_closed")
        assert closed["reason"] == "peer does not take what is sent"
        received = 0
        with suppress(ConnectionResetError, ssl.SSLEOFError):
            while data := client.recv(65_536):
                received += len(data)
        assert received < 4 * MIB


def test_more_unsent_than_allowed_ends_the_connection(served, connect):
    limits = {"high_water": 100_000, "low_water": 50_000, "max_unsent": 1_000_000}
    host = served({f"connection.{name}_bytes": str(size) for name, size in limits.items()})
    with connect(host, room=8192) as client:
        client.sendall(b"pieces\n")
        assert host.wait_for("connection_closed")["reason"] == "too much unsent"


def test_connections_are_listed_with_what_was_agreed_on(served, connect):
    host = served()
    (began,) = host.events("host_starting")
    with connect(host) as client:
        client.do_handshake()
        (listed,) = query(began["name"], "connections")["connections"]
        cipher, version, _ = client.cipher()
    assert version == "TLSv1.3"
    agreed = {"version": version, "cipher": cipher, "alpn": None, "server_name": "a.example"}
    assert listed["tls"] == agreed
