"""Listeners with TLS, with the clients that people use, and with those that mean no good."""

from __future__ import annotations

import hashlib
import shutil
import socket
import ssl
import subprocess
from contextlib import ExitStack, contextmanager, suppress

import pytest

from host.control import client as control
from host.testing.machine import patience
from support.exchanging import exchanged, send_until_held
from support.hosting import SUPPORT, eventually
from support.tls_records import Records, logging_secrets, secret_of

pytestmark = [pytest.mark.process, pytest.mark.warm]

GREETER = str(SUPPORT / "tls_origins.py")
CONFIG = """
plugins = ["{plugin}", "echo"]
{more}
[[listen]]
address = "{address}"
plugin = "{name}"
tls = "public"
{listen}
[tls.public]
certificates = [{files}]
{table}
"""
TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
needs_openssl = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="openssl is not installed (Debian: openssl)"
)
needs_curl = pytest.mark.skipif(
    shutil.which("curl") is None, reason="curl is not installed (Debian: curl)"
)


@pytest.fixture
def served(start_from, authority):
    """Start a host with a certificate for a.example and for this machine's addresses."""
    files = authority.files("a", "a.example", "127.0.0.1")

    def begin(*flags, plugin="echo", listen="", table="", more="", address="tcp://127.0.0.1:0"):
        name = "echo" if plugin == "echo" else "tls_origins"
        text = CONFIG.format(
            plugin=plugin,
            name=name,
            listen=listen,
            table=table,
            more=more,
            address=address,
            files=files.toml,
        )
        if plugin == "echo":
            text = text.replace('plugins = ["echo", "echo"]', 'plugins = ["echo"]')
        return start_from(text, *flags)

    return begin


def connect(host, context, name="a.example", **how):
    sock = socket.create_connection(("127.0.0.1", host.port), timeout=patience(20))
    return context.wrap_socket(sock, server_hostname=name, **how)


def status(host):
    [starting] = host.events("host_starting")
    return control.ask(starting["name"], "status", {}, patience(20))


def refusals(host):
    return status(host)["listeners"][0]["refusals"]


def whole(sock, size):
    found = b""
    while len(found) < size and (data := sock.recv(size - len(found))):
        found += data
    return found


@pytest.mark.parametrize("where", ["thread", "loop"])
@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_a_client_gets_what_it_has_sent_and_is_told_of_the_end(served, authority, version, where):
    host = served(table=f'handshakes = "{where}"')
    context = authority.client()
    context.minimum_version = context.maximum_version = version
    with connect(host, context) as client:
        assert client.version() == {TLS12: "TLSv1.2", TLS13: "TLSv1.3"}[version]
        for size in (1, 100, 16_384, 300_000):
            client.sendall(b"x" * size)
            assert whole(client, size) == b"x" * size
        client.unwrap()  # raises unless the host has said that it has finished, too
    assert host.stop() == 0


def test_a_plugin_knows_what_was_agreed_on(served, authority):
    host = served(plugin=GREETER)
    context = authority.client()
    context.set_alpn_protocols(["chat/1"])
    with connect(host, context) as client, client.makefile("rb") as file:
        local = "{}:{}".format(*client.getsockname())
        assert file.readline().decode() == f"TLSv1.3 None a.example False 0 from {local}\n"
        session = client.session
    with connect(host, context, session=session) as client, client.makefile("rb") as file:
        assert file.readline().startswith(b"TLSv1.3 None a.example True 0")


def test_the_protocol_that_is_agreed_on_chooses_the_plugin(served, authority):
    host = served(plugin=GREETER, listen='alpn = { "echo/1" = "echo", "greet" = "tls_origins" }')
    context = authority.client()
    context.set_alpn_protocols(["unknown", "echo/1"])
    with connect(host, context) as client:
        assert client.selected_alpn_protocol() == "echo/1"
        client.sendall(b"no greeting")
        assert whole(client, 11) == b"no greeting"
    context.set_alpn_protocols(["greet"])
    with connect(host, context) as client:
        assert whole(client, 13) == b"TLSv1.3 greet"
    with connect(host, authority.client()) as client:  # it asks for none: the listener's plugin
        assert whole(client, 12) == b"TLSv1.3 None"
    context.set_alpn_protocols(["unknown"])
    for version in (TLS12, TLS13):
        context.maximum_version = version
        with pytest.raises(ssl.SSLError, match="no application protocol"):
            connect(host, context)
    eventually(lambda: refusals(host)["tls"] == 2, "they are refused")
    told = host.wait_for("connections_refused")
    assert "protocols that are not in alpn" in told["why"]


@pytest.mark.parametrize("where", ["thread", "loop"])
@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_who_asks_for_no_protocol_is_served_by_a_plugin_that_waits(
    served, authority, version, where
):
    host = served(listen='alpn = { "echo/1" = "echo" }', table=f'handshakes = "{where}"')
    context = authority.client()
    context.minimum_version = context.maximum_version = version
    with connect(host, context) as client:
        client.sendall(b"I begin")
        assert whole(client, 7) == b"I begin"


def test_a_header_of_a_proxy_and_the_first_record_come_in_one_segment(served, authority):
    host = served(plugin=GREETER, listen='proxy = "v1"\nproxy_from = ["127.0.0.1"]')
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = authority.client().wrap_bio(incoming, outgoing, server_hostname="a.example")
    with socket.create_connection(("127.0.0.1", host.port), timeout=patience(20)) as client:
        with suppress(ssl.SSLWantReadError):
            tls.do_handshake()
        client.sendall(b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 443\r\n" + outgoing.read())
        found = b""
        while not found.endswith(b"\n"):
            incoming.write(client.recv(1 << 16))
            with suppress(ssl.SSLWantReadError):
                tls.do_handshake()
                client.sendall(outgoing.read())
                found += tls.read(1000)
        assert b"via 127.0.0.1:" in found
        assert found.endswith(b"from 192.0.2.7:4711\n")


def say_no_more(client):
    client.setblocking(False)
    with suppress(ssl.SSLWantReadError, ConnectionResetError):  # the host may be the quicker one
        client.unwrap()


@pytest.mark.parametrize("version", [TLS12, TLS13])
@pytest.mark.parametrize("end", [say_no_more, lambda _: None], ids=["close_notify", "reset"])
def test_a_check_of_a_proxy_that_ends_after_its_handshake_is_told_to_no_plugin(
    served, authority, version, end
):
    settings = 'proxy = "v1"\nproxy_from = ["127.0.0.1"]'
    host = served("--set", "log.access=true", plugin=GREETER, listen=settings)
    context = authority.client()
    context.minimum_version = context.maximum_version = version

    @contextmanager
    def meet():
        sock = socket.create_connection(("127.0.0.1", host.port), timeout=patience(20))
        sock.sendall(b"PROXY UNKNOWN\r\n")
        with context.wrap_socket(sock, server_hostname="a.example") as client:
            yield client

    with meet() as client:
        end(client)
    eventually(lambda: refusals(host)["probes"] == 1, "it is counted as a probe")
    with meet() as client:  # it waits for a greeting
        assert client.recv(100).startswith(version.name.replace("_", ".").encode())
    with meet() as client, client.makefile("rb") as file:
        client.sendall(b"x" * 30_000)
        assert file.readline().endswith(b"\n")
        assert file.read(30_000) == b"x" * 30_000
    assert host.stop() == 0
    assert len(host.events("connection_closed")) == 2
    assert host.events("connections_refused") == []


def test_what_is_not_tls_is_refused_and_counted(served):
    host = served()
    with socket.create_connection(("127.0.0.1", host.port), timeout=patience(20)) as client:
        client.sendall(b"GET / HTTP/1.1\r\n\r\n")
        with pytest.raises(ConnectionResetError):  # see the key `refuse`
            client.recv(100)
    eventually(lambda: refusals(host)["tls"] == 1, "it is counted")
    assert "is not TLS" in host.wait_for("connections_refused")["why"]


def test_a_host_name_that_is_none_is_refused_and_leaves_no_traceback(served, authority):
    """CPython prints one for a name that it cannot decode, before it calls anybody."""
    host = served()
    outgoing = ssl.MemoryBIO()
    tls = authority.client().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="a.example")
    with suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    hello = outgoing.read().replace(b"a.example", b"\xff.example")
    for size in (len(hello), 90):  # at once, and in two parts
        with socket.create_connection(("127.0.0.1", host.port), timeout=patience(20)) as client:
            client.sendall(hello[:size])
            client.sendall(hello[size:])
            assert whole(client, 7) == b"\x15\x03\x03\x00\x02\x02\x70"  # unrecognized_name
            assert client.recv(100) == b""
    eventually(lambda: refusals(host)["tls"] == 2, "both are counted")
    assert "is not ASCII" in host.wait_for("connections_refused")["why"]
    assert host.stop() == 0
    assert "Traceback" not in host.said()
    assert "UnicodeDecodeError" not in host.said()


def test_who_does_not_trust_the_certificate_is_refused(served):
    host = served()
    with pytest.raises(ssl.SSLCertVerificationError):
        connect(host, ssl.create_default_context())
    eventually(lambda: refusals(host)["tls"] == 1, "it is counted")


def test_who_begins_and_says_no_more_is_refused_in_time(served, authority):
    host = served("--set", "limits.admission_seconds=0.3")
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = authority.client().wrap_bio(incoming, outgoing, server_hostname="a.example")
    with suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    hello = outgoing.read()
    for size in (0, 1, 50, len(hello)):  # the last one is whole, and what follows never comes
        with socket.create_connection(("127.0.0.1", host.port), timeout=patience(20)) as client:
            client.sendall(hello[:size])
            with suppress(ConnectionResetError):  # see the key `refuse`
                while client.recv(1 << 16):
                    pass
    eventually(lambda: refusals(host)["late"] == 4, "all are refused")


def test_who_says_nothing_keeps_nobody_out(served, authority):
    host, context = served("--set", "limits.max_admissions_per_worker=2"), authority.client()
    with ExitStack() as stack:
        silent = [
            stack.enter_context(
                socket.create_connection(("127.0.0.1", host.port), timeout=patience(20))
            )
            for _ in range(40)
        ]
        for sock in (None, *silent[::9]):  # somebody who comes later, and some that speak late
            if sock is None:
                client = connect(host, context)
            else:
                client = context.wrap_socket(sock, server_hostname="a.example")
            with client:
                client.sendall(b"hello")
                assert whole(client, 5) == b"hello"
        assert not any(refusals(host).values())


def test_an_end_without_a_word_is_told_as_that(served, authority):
    host = served("--set", "log.access=true")
    with connect(host, authority.client()) as client:
        client.sendall(b"x")
        assert whole(client, 1) == b"x"
        client.shutdown(socket.SHUT_WR)  # of the socket below
        while client.recv(1 << 16):
            pass
    closed = host.wait_for("connection_closed")
    assert closed["reason"] == "ended without close_notify"


def test_what_is_no_record_ends_the_connection(served, authority):
    host = served("--set", "log.access=true")
    with connect(host, authority.client()) as client:
        client.sendall(b"x")
        assert whole(client, 1) == b"x"
        with socket.socket(fileno=socket.dup(client.fileno())) as below:
            below.sendall(b"nonsense that is no record\n")
        with suppress(OSError):
            client.recv(10)
    closed = host.wait_for("connection_closed")
    assert closed["reason"] == "TLS protocol error"


def test_who_sends_new_keys_and_no_data_is_ended(served, authority, tmp_path):
    host = served("--set", "log.access=true")
    context = authority.client()
    secrets = logging_secrets(context, tmp_path)
    with connect(host, authority.client()) as other, connect(host, context) as client:
        records = Records(secret_of(secrets))
        with socket.socket(fileno=socket.dup(client.fileno())) as below:
            below.settimeout(patience(20))
            few = b"".join(records.key_update(requested=True) for _ in range(20))
            below.sendall(few + records.data(b"x"))
            assert whole(client, 1) == b"x"
            with suppress(OSError):
                below.sendall(b"".join(records.key_update() for _ in range(2000)))
            closed = host.wait_for("connection_closed")
        other.sendall(b"y")
        assert whole(other, 1) == b"y"
    assert closed["reason"] == "TLS protocol error"


@pytest.mark.parametrize("size", [1, 448, 65_536])
def test_a_reader_that_stops_for_a_while_gets_all(served, authority, size):
    """A plugin that takes a part of a record is called again for the rest, in time."""
    host = served("--set", f"connection.read_size_bytes={size}")
    data = bytes(range(256)) * (100 if size == 1 else 16_384)
    with connect(host, authority.client()) as client:
        left = send_until_held(client, data)  # the host reads no more than it can send
        found = exchanged(client, left, len(data))
        assert hashlib.sha256(found).digest() == hashlib.sha256(data).digest()


def test_unix_sockets_have_it_too(served, authority, tmp_path):
    host = served(plugin=GREETER, address=f"unix:{tmp_path}/s.sock")
    context = authority.client()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(patience(20))
        sock.connect(f"{tmp_path}/s.sock")
        with context.wrap_socket(sock, server_hostname="a.example") as client:
            assert whole(client, 31) == b"TLSv1.3 None a.example False 0 "
    assert host.stop() == 0


@needs_openssl
@pytest.mark.parametrize("version", ["tls1_2", "tls1_3"])
def test_openssl(served, authority, version):
    host = served()
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{host.port}", f"-{version}"]
    command += ["-CAfile", str(authority.file), "-verify_return_error", "-brief"]
    with subprocess.Popen(command, stdin=-1, stdout=-1, stderr=-1) as client:
        try:
            for number in range(3):
                if number and version == "tls1_3":  # new keys, and the host is asked for new ones
                    client.stdin.write(b"K\n")
                    client.stdin.flush()
                    while client.stderr.readline() != b"KEYUPDATE\n":
                        assert client.poll() is None
                client.stdin.write(b"line %d\n" % number)
                client.stdin.flush()
                assert client.stdout.readline() == b"line %d\n" % number
            client.stdin.write(b"Q\n")
            client.stdin.flush()
            assert client.wait(patience(20)) == 0
        finally:
            client.kill()


@needs_openssl
def test_nobody_begins_a_second_handshake_in_a_session(served, authority):
    host = served()
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{host.port}", "-tls1_2"]
    done = subprocess.run(command, input=b"R\n", capture_output=True, timeout=60, check=False)
    assert b"RENEGOTIATING" in done.stderr + done.stdout
    assert b"no renegotiation" in done.stderr


@needs_openssl
def test_who_is_refused_in_the_handshake_hears_why(served):
    """The alert arrives, although who is refused otherwise sees a reset (the key `refuse`)."""
    host = served(table='profile = "modern"')
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{host.port}", "-tls1_2"]
    for _ in range(5):
        done = subprocess.run(command, input=b"", capture_output=True, timeout=60, check=False)
        assert b"alert protocol version" in done.stderr
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context()
    context.maximum_version = TLS12
    tls = context.wrap_bio(incoming, outgoing, server_hostname="a.example")
    with suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    with socket.create_connection(("127.0.0.1", host.port), timeout=patience(20)) as client:
        client.sendall(outgoing.read())
        assert whole(client, 7)[-2:] == b"\x02\x46"  # fatal, protocol_version (RFC 8446, 6)
        assert client.recv(1) == b""  # and no reset


@needs_curl
def test_curl(served, authority):
    host = served()
    address = f"https://127.0.0.1:{host.port}/"
    command = ["curl", "-sv", "--http0.9", "--cacert", str(authority.file)]
    command += ["--max-time", str(patience(2)), address]
    done = subprocess.run(command, capture_output=True, timeout=patience(60), check=False)
    assert done.stdout.startswith(b"GET / HTTP/1.1\r\n")


def test_those_who_are_served_go_on_over_a_reload_and_until_the_stop(served, authority):
    host = served()
    with connect(host, authority.client()) as client:
        [starting] = host.events("host_starting")
        control.ask(starting["name"], "reload", {}, patience(60))
        client.sendall(b"still here")
        assert whole(client, 10) == b"still here"
        with connect(host, authority.client()) as another:
            another.sendall(b"new")
            assert whole(another, 3) == b"new"
    assert host.stop() == 0
