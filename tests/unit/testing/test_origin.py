"""What plugins see of clients that came over TLS, or through a proxy, as a test says it."""

from dataclasses import replace

import pytest

from host import ConnectionOrigin, ProxyHeader, TlsInfo
from host.testing import FakeConnection, Harness

TLS = TlsInfo("TLSv1.3", "TLS_AES_128_GCM_SHA256", "chat/1", "a.example", False, None)
ORIGIN = ConnectionOrigin(
    "192.0.2.7:50211", "192.0.2.7", 50_211, proxy=ProxyHeader(2, False, "127.0.0.1:4000"), tls=TLS
)


def test_a_fake_connection_has_the_origin_that_it_is_given():
    connection = FakeConnection(address=ORIGIN)
    assert connection.origin is ORIGIN
    assert connection.peer == "192.0.2.7:50211"


def test_so_has_one_of_a_harness():
    with Harness("echo") as harness:
        connection = harness.connect(address=ORIGIN)
        assert connection.origin.tls is TLS
        connection.feed(b"hello")
        assert connection.take() == b"hello"


def test_a_client_has_tls():
    connection = FakeConnection(tls=True)
    assert connection.origin.tls.version == "TLSv1.3"
    assert connection.origin.tls.peer_certificate is None
    assert connection.origin.proxy is None
    assert connection.peer == "127.0.0.1:50211"


@pytest.mark.parametrize(("version", "number"), [("v1", 1), ("v2", 2)])
def test_a_proxy_has_named_a_client(version, number):
    with Harness("echo") as harness:
        connection = harness.connect(proxy=version, address=("192.0.2.7", 50_211))
        proxy = connection.origin.proxy
        assert (proxy.version, proxy.local, proxy.source) == (number, False, "192.0.2.7:50211")
        assert (connection.origin.host, connection.origin.port) == ("192.0.2.7", 50_211)
        assert connection.origin.tls is None


def test_what_is_given_whole_stays_as_it_is():
    header, info = ProxyHeader(2, True, "10.0.0.1:4000"), replace(TLS, alpn="chat/2")
    connection = FakeConnection(tls=info, proxy=header)
    assert connection.origin.tls is info
    assert connection.origin.proxy is header
    assert FakeConnection(address=ORIGIN, tls=info).origin == replace(ORIGIN, tls=info)


def test_a_unix_socket_behind_a_proxy():
    connection = FakeConnection(address="", tls=True, proxy="v2")
    assert (connection.peer, connection.origin.proxy.source) == ("unix", "unix")


def test_what_is_no_version_is_refused():
    with pytest.raises(ValueError, match=r'"v1" or "v2"'):
        FakeConnection(proxy="v4")
