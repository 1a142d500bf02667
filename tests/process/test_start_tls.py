"""Connections that begin TLS in the middle, with clients that do it well and with others."""

from __future__ import annotations

import shutil
import signal
import smtplib
import socket
import ssl
import subprocess
from contextlib import suppress

import pytest

from host.control import client as control
from host.interfaces import CloseReason
from host.testing.machine import patience
from support.hosting import SUPPORT

pytestmark = [pytest.mark.process, pytest.mark.warm]

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
def served(start_from, authority):
    """Start a host with a certificate for a.example; its listener is one for plain text."""
    files = authority.files("a", "a.example", "localhost")

    def begin(*flags, plugin="upgrading", table="", line=False):
        text = CONFIG.format(plugin=SUPPORT / f"{plugin}.py", files=files.toml, table=table)
        if line:
            text = text.replace("plugins = [", 'plugins = ["line", ')
            text += f'[options.line]\ncommands = ["{plugin}"]\n'
        return start_from(text, *flags)

    return begin


class Client:
    """A client whose bytes are seen as they come, before TLS and within it."""

    def __init__(self, host, context=None, room=None):
        self.sock = socket.socket()
        if room is not None:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
        self.sock.settimeout(patience(20))
        self.sock.connect(("127.0.0.1", host.port))
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
        """Read what comes in plain text to its end; what came with it is for the handshake."""
        while (found := self.plain.find(end)) < 0:
            data = self.sock.recv(65_536)
            assert data, f"the connection has ended after {self.plain[:100]!r}"
            self.plain += data
        found += len(end)
        self._incoming.write(self.plain[found:])
        self.plain = self.plain[:found]

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
    with smtplib.SMTP("localhost", host.port, timeout=patience(20)) as client:
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
    command = ["openssl", "s_client", "-starttls", "smtp", "-connect", f"127.0.0.1:{host.port}"]
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


def test_who_sends_nothing_is_ended_in_time(served):
    host = served("--set", "limits.admission_seconds=0.3")
    with Client(host) as client:
        client.say(b"write:go tls:mail write:secret\n")
        with suppress(ConnectionResetError):  # what waits for the session is lost
            assert client.rest() in (b"go", b"")
    assert reason_of(host) is CloseReason.TLS_FAILED
    assert refusals(host) == {"late": 1}


def test_who_goes_during_the_handshake_has_ended_without_a_word(served, authority):
    host = served()
    with Client(host, authority.client()) as client:
        client.say(b"write:go tls:mail\n")
        client.plain_until(b"go")
        client.say(client.hello()[:20])
    assert reason_of(host) is CloseReason.TRUNCATED


def test_who_does_not_trust_the_certificate_is_told_of_as_any_other(served):
    host = served()
    with Client(host, ssl.create_default_context()) as client:
        client.say(b"tls:mail\n")
        with pytest.raises(ssl.SSLCertVerificationError):
            client.shake()
    assert reason_of(host) is CloseReason.TLS_FAILED
    assert refusals(host) == {"tls": 1}


def test_who_fails_hears_why_also_if_something_waits(served, authority):
    host = served(table='profile = "modern"')
    context = authority.client()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with Client(host, context) as client:
        client.say(b"tls:mail write:secret\n")
        with pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION"):
            client.shake()
        assert client.rest() == b""
    assert reason_of(host) is CloseReason.TLS_FAILED


LATER = ["later", "next", "writable"]


@pytest.mark.parametrize(
    "script",
    [
        "write:go flush tls:mail write:secret",
        "write:go tls:mail write:sec write:ret",
        "write:go tls:mail flush write:secret flush",
        "write:go tls:mail read resume write:secret",
        "later:write:go later:tls:mail later:write:secret",
        "write:go next:tls:mail later:write:secret",
        "write:go tls:mail file:1500",
        "file:2 tls:mail write:secret file:4",
        *(f"write:go tls:mail {when}:write:secret" for when in LATER),
    ],
)
def test_nothing_that_is_written_after_it_is_sent_in_plain_text(served, authority, script):
    host = served()
    with Client(host, authority.client()) as client:
        client.say(script.encode() + b"\n")
        client.plain_until(b'""' if script.startswith("file:2") else b"go")
        client.shake()
        assert client.plain in (b"go", b'""')  # a file of Python begins with quotes
        found = b""
        while b"TLSv1.3\n" not in found or not (b"secret" in found or len(found) > 1500):
            found += client.read()


@pytest.mark.parametrize("after", ["write:secret", "file:4", "much:5000000", "expire:60"])
def test_what_was_queued_is_sent_first_however_slow_the_client(served, authority, after):
    size = 6 * MIB
    host = served("--set", f"connection.max_unsent_bytes={32 * MIB}")
    with Client(host, authority.client(), room=8192) as client:
        client.say(f"much:{size} write:go tls:mail {after}\n".encode())
        client.plain_until(b"go")
        assert client.plain == bytes(size) + b"go"
        client.shake()
        found = b""
        while b"TLSv1.3\n" not in found:
            found += client.read()
        expected = {"write:secret": b"secret", "file:4": b'"""A', "much:5000000": bytes(5_000_000)}
        assert found == expected.get(after, b"") + b"TLSv1.3\n"


@pytest.mark.parametrize("script", ["tls:mail write:bye close", "much:6000000 tls:mail close"])
def test_a_connection_that_is_closed_meanwhile_sends_what_waits(served, authority, script):
    host = served()
    with Client(host, authority.client()) as client:
        client.say(script.encode() + b"\n")
        if "bye" in script:
            client.shake()
            assert client.read() == b"bye"
            assert client.read() == b""
        else:
            assert client.rest() == bytes(6_000_000)
    assert reason_of(host) is CloseReason.PLUGIN


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("tls:mail close", CloseReason.PLUGIN),
        ("tls:mail later:close", CloseReason.PLUGIN),
        ("tls:mail abort", CloseReason.PLUGIN),
        ("tls:mail write:lost abort", CloseReason.PLUGIN),
        ("tls:mail expire:0.1", CloseReason.TIMEOUT),
        ("much:6000000 tls:mail write:lost abort", CloseReason.PLUGIN),
        ("tls:mail close tls:mail", CloseReason.PLUGIN),
    ],
)
def test_a_connection_can_be_ended_before_its_handshake(served, script, why):
    host = served()
    with Client(host) as client:
        client.say(script.encode() + b"\n")
        if "abort" in script:
            with pytest.raises(ConnectionResetError):
                client.rest()
        else:
            assert client.rest() == b""
    assert reason_of(host) is why
    assert refusals(host) == {}


@pytest.mark.parametrize(
    ("script", "error"),
    [
        ("tls:male", 'ValueError: start_tls("male"): the settings have no table [tls.male];'
         ' did you mean "mail"?; there is: [tls.mail]'),
        ("tls:mail tls:mail", "RuntimeError: start_tls() was called already"),
        ("much:6000000 tls:mail tls:mail", "RuntimeError: start_tls() was called already"),
    ],
)  # fmt: skip
def test_what_a_plugin_does_wrong_is_told_and_ends_its_connection(served, script, error):
    host = served()
    with Client(host) as client:
        client.say(script.encode() + b"\n")
        with suppress(ConnectionResetError):
            client.rest()
    assert error in host.wait_for("hook_failed")["error"]
    assert reason_of(host) is CloseReason.PLUGIN_FAILED


def test_tls_cannot_begin_within_tls(served, authority):
    host = served()
    with Client(host, authority.client()) as client:
        client.say(b"tls:mail\n")
        client.shake()
        assert client.lines(1) == ["TLSv1.3"]
        client.write(b"tls:mail\n")
        assert client.read() == b""
    assert "has TLS already" in host.wait_for("hook_failed")["error"]


def test_a_worker_that_drains_meanwhile_says_goodbye_within_tls(served, authority):
    host = served()
    with Client(host, authority.client()) as client:
        client.say(b"write:go tls:mail\n")
        client.plain_until(b"go")
        host.signal(signal.SIGHUP)
        host.wait_for("plugin_printed")
        client.shake()
        assert client.lines(1) == ["goodbye"]
        assert client.read() == b""
        assert client.plain == b"go"
    assert reason_of(host) is CloseReason.PLUGIN


def test_a_silent_client_is_cut_at_the_drain_deadline(served):
    host = served("--set", "lifecycle.drain_timeout_seconds=0.5")
    with Client(host) as client:
        client.say(b"write:go tls:mail\n")
        client.plain_until(b"go")
        host.signal(signal.SIGHUP)
        with suppress(ConnectionResetError):
            assert client.rest() == b""
    assert reason_of(host) in (CloseReason.DEADLINE, CloseReason.PLUGIN)


def test_plugins_of_the_line_protocol_begin_it_with_what_follows_the_line(served, authority):
    host = served(plugin="line_tls", line=True)
    with Client(host, authority.client()) as client:
        client.say(b"NOOP\nSTARTTLS\n")
        client.plain_until(b"250 None\r\n220 go ahead\r\n")
        client.shake()
        client.write(b"NOOP\n")
        assert client.lines(1) == ["250 TLSv1.3"]
    with Client(host) as client:
        client.say(b"STARTTLS\nNOOP\n")
        assert client.rest() == b"220 go ahead\r\n"
    assert refusals(host) == {"tls": 1}
