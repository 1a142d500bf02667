"""Libraries for asyncio, unchanged, and clients that have nothing to do with them."""

from __future__ import annotations

import os
import shutil
import signal
import smtplib
import socket
import ssl
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect as connect_websocket

from host.errors import ExitCode
from host.testing.machine import patience
from support.address import connect
from support.exchanging import exchanged
from support.hosting import SUPPORT, Host, Start

pytestmark = [pytest.mark.process, pytest.mark.warm]

FILE = SUPPORT / "asyncio_libraries.py"


def begin(start: Start, plugin: str, **others: Any) -> Host:
    return start(plugin=f"{FILE}:{plugin}", **others)


def run(*command: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        command, input=given, capture_output=True, timeout=patience(30), check=False
    )


def anybody() -> ssl.SSLContext:
    """Return a context that trusts everybody."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def needs(name: str, package: str) -> Any:
    reason = f"{name} is not installed (Debian: {package})"
    return pytest.mark.skipif(shutil.which(name) is None, reason=reason)


def test_mail_by_smtplib(start: Start) -> None:
    host = begin(start, "mail")
    with smtplib.SMTP("127.0.0.1", host.port, timeout=patience(20)) as client:
        client.starttls(context=anybody())
        assert client.sendmail("a@x", ["b@x"], "Subject: x\n\n" + "text\n" * 20_000) == {}
    assert "a@x ['b@x']" in host.wait_for("plugin_printed")["text"]
    late = smtplib.SMTP("127.0.0.1", host.port, timeout=patience(20))
    late.ehlo()
    host.signal(signal.SIGTERM)
    assert late.sock is not None
    with late.sock, late.sock.makefile("rb") as answers:
        assert answers.read() == b"421 4.3.2 the server goes away\r\n"
    assert host.wait() == 0


@needs("ssh", "openssh-client")
def test_a_command_by_openssh(start: Start) -> None:
    host = begin(start, "Shell")
    options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR"]
    flags = [word for option in options for word in ("-o", option)]
    command = ["ssh", "-F", "none", *flags, "-p", str(host.port), "user@127.0.0.1", "count this"]
    done = run(*command, given=b"z" * 300_000)
    assert (done.returncode, done.stdout) == (7, b"count this 300000\n"), done
    assert host.stop() == 0


def test_websockets_are_told_that_the_server_goes_away(start: Start) -> None:
    host = begin(start, "Sockets")
    address = f"ws://127.0.0.1:{host.port}"
    with ExitStack() as stack, connect_websocket(address) as client:
        client.send("x" * 900_000)
        assert client.recv() == "x" * 900_000
        silent = stack.enter_context(connect(host.address))
        host.signal(signal.SIGTERM)
        assert silent.recv(1) == b""
        with pytest.raises(ConnectionClosed) as closed:
            client.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1001
    assert host.wait() == 0


@pytest.mark.parametrize("plugin", ["secure", "SecureServer"])
def test_tls_of_asyncio(start: Start, plugin: str) -> None:
    host = begin(start, plugin)
    data = os.urandom(3_000_000)
    with ExitStack() as stack:
        garbage = stack.enter_context(connect(host.address))
        garbage.sendall(b"GET / HTTP/1.1\r\n\r\n")
        client = stack.enter_context(anybody().wrap_socket(connect(host.address)))
        assert exchanged(client, data, len(data)) == data
    assert host.stop() == 0
    assert not host.events("callback_failed")


def test_streams(start: Start) -> None:
    host = begin(start, "Streams")
    with connect(host.address) as client, client.makefile("rb") as answers:
        client.sendall(b"hello\n" * 100)
        client.shutdown(socket.SHUT_WR)
        assert answers.read() == b"hello\n" * 100
    assert host.stop() == 0


@needs("curl", "curl")
def test_pages_by_curl(start: Start, tmp_path: Path) -> None:
    pipe = tmp_path / "release"
    os.mkfifo(pipe)
    host = begin(start, "Site", env={"RELEASE": str(pipe)})
    address = f"http://127.0.0.1:{host.port}"
    page, file = run("curl", "-sS", f"{address}/"), run("curl", "-sS", f"{address}/file")
    assert page.stdout == b"hello\n", page
    assert file.stdout == FILE.read_bytes(), file
    assert len(run("curl", "-sS", f"{address}/big").stdout) == 50_000_000
    upload = ["curl", "-sS", "--data-binary", "@-", f"{address}/upload"]
    assert run(*upload, given=b"x" * 3_000_000).stdout == b"3000000"
    slow = subprocess.Popen(["curl", "-sS", f"{address}/slow"], stdout=subprocess.PIPE)
    with slow:
        host.wait_for("plugin_printed", text="slow")
        host.signal(signal.SIGTERM)  # the response that is under way is finished
        host.wait_for("host_stopping")
        pipe.write_text("at last\n")
        assert slow.stdout is not None
        assert slow.stdout.read() == b"at last\n"
    assert host.wait() == 0


@pytest.mark.parametrize(
    ("plugin", "cause"),
    [
        ("Twice", 'create_server(host="prefork") was called twice'),
        ("Nothing", "Nothing must have one of"),
    ],
)
def test_what_cannot_be_served_is_told_at_the_start(start: Start, plugin: str, cause: str) -> None:
    host = begin(start, plugin, ready=False)
    assert cause in host.wait_for("worker_start_failed")["message"]
    assert host.wait() == ExitCode.WORKER_START
