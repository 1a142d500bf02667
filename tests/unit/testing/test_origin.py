"""What plugins see of clients that came over TLS, or through a proxy, as a test says it."""

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
