"""Files that libraries of asyncio send, over TCP and over the host's TLS, and half-closes."""

from __future__ import annotations

import socket
import ssl
from ast import literal_eval
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from host.testing.machine import patience
from support.address import connect
from support.certificates import Authority
from support.hosting import SUPPORT, Host, Start

pytestmark = [pytest.mark.process, pytest.mark.warm]

FILE = SUPPORT / "asyncio_sending.py"
CONFIG = """
plugins = ["{plugin}:app"]
workers = 1
[[listen]]
address = "tcp://127.0.0.1:0"
plugin = "asyncio_sending:app"
tls = "public"
[tls.public]
certificates = [{files}]
"""

Connect = Callable[[], socket.socket]


@pytest.fixture(params=["tcp", "tls"])
def served(
    request: pytest.FixtureRequest, start: Start, start_from: Start, authority: Authority
) -> tuple[Host, Connect]:
    if request.param == "tcp":
        host = start(plugin=f"{FILE}:app", workers=1)
        return host, lambda: connect(host.address)
    host, context = with_tls(start_from, authority)
    return host, lambda: secured(host, context)


def with_tls(start_from: Start, authority: Authority) -> tuple[Host, ssl.SSLContext]:
    files = authority.files("a", "a.example")
    return start_from(CONFIG.format(plugin=FILE, files=files.toml)), authority.client()


def secured(host: Host, context: ssl.SSLContext) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", host.port), timeout=patience(20))
    return context.wrap_socket(sock, server_hostname="a.example")


@pytest.fixture
def slow(start: Start) -> Iterator[tuple[Host, socket.socket]]:
    """Return a host, and a client for whom the kernel takes little."""
    host = start(plugin=f"{FILE}:app", workers=1)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(patience(20))
        client.connect(("127.0.0.1", host.port))
        yield host, client


def test_files_are_sent_where_they_are_asked_for(
    served: tuple[Host, Connect], tmp_path: Path
) -> None:
    host, connected = served
    path = tmp_path / "file"
    path.write_bytes(b"0123456789" * 200_000)
    data = path.read_bytes()
    asked = [
        ("", data, "2000000 at 2000000"),
        ("5 10", b"5678901234", "10 at 15"),
        ("1999998 10", b"89", "2 at 2000000"),
        ("3000000", b"", "0 at 3000000"),
    ]
    with connected() as client, client.makefile("rb") as answers:
        for numbers, part, what in asked:
            client.sendall(f"file {path} {numbers}\n".encode())
            answer = b"before " + part + f" after {what}\n".encode()
            assert answers.read(len(answer)) == answer
    assert host.stop() == 0


def test_what_is_no_regular_file_cannot_be_sent(served: tuple[Host, Connect]) -> None:
    host, connected = served
    with connected() as client, client.makefile("rb") as answers:
        client.sendall(b"file /dev/null\n")
        assert answers.readline() == b"before  after -1 at 0\n"
        host.wait_for("plugin_printed", text="SendfileNotAvailableError: not a regular file")


def test_who_sends_a_file_hears_of_the_end_of_the_connection(
    slow: tuple[Host, socket.socket], tmp_path: Path
) -> None:
    host, client = slow
    path = tmp_path / "file"
    path.write_bytes(b"x" * 50_000_000)
    client.sendall(f"file {path}\n".encode())
    assert client.recv(7) == b"before "
    client.close()
    host.wait_for("plugin_printed", text="ConnectionError: Connection closed by peer")
    assert host.stop() == 0


def test_a_half_close_waits_until_all_is_sent_and_holds_up_nobody(
    slow: tuple[Host, socket.socket],
) -> None:
    host, client = slow
    client.sendall(b"fill 20000\n")
    host.wait_for("plugin_printed", text="full")
    client.sendall(b"eof\n")
    host.wait_for("plugin_printed", text="half closed")
    with connect(host.address) as other, other.makefile("rb") as answers:
        other.sendall(b"tls\n")
        assert b"version" in answers.readline()
    with client.makefile("rb") as answers:
        assert set(answers.read()) == {ord("x")}  # up to its end: the half-close has come
    client.close()
    assert host.stop() == 0


def test_a_connection_with_tls_says_so_as_asyncio_has_it(
    start_from: Start, authority: Authority
) -> None:
    host, context = with_tls(start_from, authority)
    with secured(host, context) as client, client.makefile("rb") as answers:
        client.sendall(b"tls\n")
        assert literal_eval(answers.readline().decode()) == {
            "version": "TLSv1.3",
            "context": True,
            "cipher": "TLSv1.3",
            "compression": None,
            "peercert": None,
        }
        client.sendall(b"eof\n")
        host.wait_for("plugin_printed", text="a connection with TLS has no write_eof()")
        host.wait_for("plugin_printed", text="cannot half-close")
        client.sendall(b"tls\n")
        assert answers.readline()
    assert host.stop() == 0
