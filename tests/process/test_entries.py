"""The fixture `host_server` with TLS and behind a proxy, as authors of plugins use it."""

import socket
import ssl

import pytest

from host.testing.machine import patience
from support.hosting import SUPPORT

pytestmark = pytest.mark.process

ORIGINS, TLS_ORIGINS = str(SUPPORT / "origins.py"), str(SUPPORT / "tls_origins.py")
TLS = "TLSv1.3 None localhost False 0"
BACK = """
from host import hookimpl

@hookimpl
def on_datagram(datagram):
    datagram.reply(datagram.data)
"""


def told(host, address=None, **how):
    """Return what the plugin knows of a new client."""
    with host.connect(address, **how) as client, client.makefile("rb") as replies:
        return replies.readline().decode().rstrip("\n")


def test_a_client_has_tls_and_can_tell_of_its_end(host_server):
    host = host_server(TLS_ORIGINS, tls=True, settings={"log.access": True})
    with host.connect() as client:
        assert client.recv(100).decode().startswith(f"{TLS} from 127.0.0.1:")
        client.unwrap()
    assert host.wait_for("connection_closed")["reason"] == "peer finished sending"
    with host.connect() as client:
        assert client.recv(100)
    assert host.wait_for("connection_closed", count=2)["reason"] == "ended without close_notify"


def test_the_context_is_the_hosts_own(host_server):
    host, other = host_server(TLS_ORIGINS, tls=True), host_server("echo")
    host.tls.maximum_version = ssl.TLSVersion.TLSv1_2
    assert told(host).startswith("TLSv1.2 ")
    assert told(host_server(TLS_ORIGINS, tls=True)).startswith("TLSv1.3 ")
    assert other.tls is None


def test_nobody_else_trusts_its_certificate(host_server):
    host = host_server(TLS_ORIGINS, tls=True)
    with (
        socket.create_connection(("127.0.0.1", host.port), 20) as sock,
        pytest.raises(ssl.SSLCertVerificationError),
    ):
        ssl.create_default_context().wrap_socket(sock, server_hostname="localhost")


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_a_client_comes_through_a_proxy(host_server, version):
    host = host_server(ORIGINS, proxy=version)
    assert told(host) == f"192.0.2.7:50211 {version} 192.0.2.7:50211 None"
    peer = "[2001:db8::9]:4000"
    assert told(host, client=("2001:db8::9", 4000)) == f"{peer} {version} {peer} None"


def test_both_at_each_address_with_its_plugin(host_server, tmp_path):
    places = ["tcp://127.0.0.1:0", "tcp://[::1]:0", f"unix:{tmp_path}/x.sock"]
    listen = [f"{place}=tls_origins" for place in places]
    host = host_server(TLS_ORIGINS, "echo", listen=listen, tls=True, proxy="v2", workers=2)
    for address in host.addresses:
        reply = told(host, address)
        assert reply.startswith(f"{TLS} via ")
        assert reply.endswith(" from 192.0.2.7:50211")


def test_udp_stays_as_it_is(host_server, tmp_path):
    (tmp_path / "back.py").write_text(BACK)
    listen = ["udp://127.0.0.1:0=back", "tcp://127.0.0.1:0=echo"]
    host = host_server("./back.py", "echo", listen=listen, tls=True, proxy="v2")
    datagrams, connections = host.addresses
    with socket.socket(type=socket.SOCK_DGRAM) as sock, host.connect(connections) as client:
        sock.settimeout(patience(20))
        sock.sendto(b"hello", ("127.0.0.1", int(datagrams.rpartition(":")[2])))
        client.sendall(b"hello")
        assert (sock.recv(100), client.recv(5)) == (b"hello", b"hello")


def test_settings_of_a_test_are_kept(host_server):
    settings = {"tls.tests.profile": "modern", "limits.idle_timeout_seconds": 300}
    host = host_server("echo", tls=True, settings=settings, flags=["--name", "kept"])
    host.tls.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        host.connect()
    assert host.stop() == 0


def test_what_is_no_version_of_the_protocol_is_refused(host_server):
    with pytest.raises(ValueError, match=r'proxy is "v1" or "v2", .* and not \'v3\''):
        host_server("echo", proxy="v3")


def test_a_client_that_is_no_ip_address_is_refused(host_server):
    host = host_server("echo", proxy="v1")
    with pytest.raises(ValueError, match="has an IP address, and not 'example'"):
        host.connect(client=("example", 1))
