"""Connections that begin TLS in the middle, with clients that do it well and with others."""

from __future__ import annotations

import shutil
import smtplib
import socket
import ssl
import subprocess
from contextlib import suppress

import pytest

from host.control import client as control
from host.interfaces import CloseReason
from host.testing.machine import patience
from support.asking import fresh_name
from support.certificates import Authority
from support.hosting import SUPPORT

pytestmark = pytest.mark.process

CONFIG = """
plugins = ["{plugin}"]
[log]
access = true
[[listen]]
address = "tcp://127.0.0.1:0"
[tls.mail]
certificates = [{files}]
{table}
"""
MIB = 1 << 20
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


@pytest.fixture
def served(start, authority, tmp_path):
    """Start a host with a certificate for a.example; its listener is one for plain text."""
    files = authority.files("a", "a.example", "localhost")

    def begin(*flags, plugin="upgrading", table=""):
        text = CONFIG.format(plugin=SUPPORT / f"{plugin}.py", files=files.toml, table=table)
        config = tmp_path / "host.toml"
        config.write_text(text)
        given = ["--config", str(config), "--name", fresh_name(), *flags]
        return start(*given, plugin=None, listen=())

    return begin


def port_of(host):
    return int(host.address.rpartition(":")[2])


class Client:
    """A client whose bytes are seen as they come, before TLS and within it."""

    def __init__(self, host, context=None, room=None):
        self.sock = socket.socket()
        if room is not None:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
        self.sock.settimeout(patience(20))
        self.sock.connect(("127.0.0.1", port_of(host)))
        self._context, self.plain = context, b""
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def say(self, text):
        self.sock.sendall(text)

    def hello(self):
        """Return the first bytes of a handshake."""
        self.tls = self._context.wrap_bio(
            self._incoming, self._outgoing, server_hostname="a.example"
        )
        with suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()
        return self._outgoing.read()

    def plain_until(self, end):
        while not self.plain.endswith(end):
            data = self.sock.recv(65_536)
            assert data, f"the connection has ended after {self.plain[:100]!r}"
            self.plain += data

    def shake(self):
        self.sock.sendall(self.hello())
        self._do(self.tls.do_handshake)

    def read(self, size=65_536):
        return self._do(lambda: self.tls.read(size))

    def lines(self, number):
        found = b""
        while found.count(b"\n") < number:
            data = self.read()
            assert data, f"the session has ended after {found!r}"
            found += data
        return found.decode().splitlines()

    def write(self, data):
        self.tls.write(data)
        self.sock.sendall(self._outgoing.read())

    def _do(self, step):
        while True:
            try:
                return step()
            except ssl.SSLWantReadError:
                with suppress(OSError):
                    self.sock.sendall(self._outgoing.read())
                data = self.sock.recv(65_536)
                if data:
                    self._incoming.write(data)
                else:
                    self._incoming.write_eof()
            finally:
                if self._outgoing.pending:
                    with suppress(OSError):
                        self.sock.sendall(self._outgoing.read())

    def rest(self):
        """Return all that comes until the end."""
        found = bytearray()
        while data := self.sock.recv(65_536):
            found += data
        return bytes(found)


def refusals(host):
    [starting] = host.events("host_starting")
    status = control.ask(starting["name"], "status", {}, patience(20))
    return {cause: count for cause, count in status["listeners"][0]["refusals"].items() if count}


def reason_of(host):
    """Wait until a connection has ended; return why."""
    return CloseReason(host.wait_for("connection_closed")["reason"])


@pytest.mark.parametrize("where", ["thread", "loop"])
@pytest.mark.parametrize("version", VERSIONS)
def test_smtplib(served, authority, version, where):
    host = served(plugin="mail", table=f'handshakes = "{where}"')
    context = authority.client()
    context.minimum_version = context.maximum_version = version
    with smtplib.SMTP("localhost", port_of(host), timeout=patience(20)) as client:
        assert client.noop() == (250, b"plain")
        assert client.has_extn("starttls") or client.ehlo()[0] == 250
        assert client.starttls(context=context)[0] == 220
        assert client.noop() == (250, version.name.replace("_", ".").encode())
        client.ehlo()
        assert not client.has_extn("starttls")
        assert client.docmd("STARTTLS")[0] == 502
        assert client.quit()[0] == 221
    assert refusals(host) == {}
    assert host.stop() == 0


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_openssl(served, authority):
    host = served(plugin="mail")
    command = ["openssl", "s_client", "-starttls", "smtp", "-connect", f"127.0.0.1:{port_of(host)}"]
    command += ["-quiet", "-crlf", "-servername", "a.example", "-verify_return_error"]
    found = subprocess.run(
        [*command, "-CAfile", str(authority.file)],
        input=b"NOOP\nQUIT\n",
        capture_output=True,
        timeout=patience(30),
        check=False,
    )
    assert found.stdout.splitlines()[-2:] == [b"250 TLSv1.3", b"221 bye"], found.stderr
    assert found.returncode == 0


def test_a_client_that_does_not_wait_for_the_answer(served, authority):
    host = served()
    with Client(host, authority.client()) as client:
        client.say(b"write:go tls:mail\n" + client.hello())
        client.plain_until(b"go")
        client._do(client.tls.do_handshake)
        assert client.lines(1) == ["TLSv1.3"]


@pytest.mark.parametrize("text", [b"NOOP\r\n", b"\x15\x03\x01", b"\x00"])
def test_plain_text_behind_the_request_ends_the_connection(served, text):
    host = served(plugin="mail")
    with Client(host) as client:
        client.say(b"STARTTLS\r\n" + text)
        assert client.rest() == b"220 mail.example ESMTP\r\n220 go ahead\r\n"
    assert reason_of(host) is CloseReason.TLS_FAILED
    with Client(host) as client:
        client.say(b"STARTTLS\r\n")
        client.plain_until(b"go ahead\r\n")
        client.say(text)
        assert client.rest() == b""
    assert refusals(host) == {"tls": 2}
    assert "what it sends is not TLS" in host.events("connections_refused")[0]["why"]
