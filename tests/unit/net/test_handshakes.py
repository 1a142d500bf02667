"""The kernel tells whether a client of a listener is in the middle of a handshake."""

import socket

import pytest

from host.net.handshakes import under_way


@pytest.fixture(
    params=[("127.0.0.1", socket.IPPROTO_IP, 21), ("::1", socket.IPPROTO_IPV6, 73)],
    ids=["IPv4", "IPv6"],
)
def half_open(request):
    """A listener, and a client that does not take the answer, since its time to live is 64."""
    host, *least_ttl = request.param
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as server, socket.socket(family) as client:
        client.setsockopt(*least_ttl, 255)
        client.setblocking(False)
        client.connect_ex(server.getsockname())
        yield server


def test_a_handshake_that_is_under_way_is_seen(half_open):
    assert under_way([half_open])


def test_those_of_other_listeners_are_not_meant(half_open):
    with socket.create_server(("127.0.0.1", 0)) as other:
        assert not under_way([other])
        assert under_way([other, half_open])


def test_a_connection_that_is_complete_is_no_handshake():
    server = socket.create_server(("127.0.0.1", 0))
    with server, socket.create_connection(server.getsockname()):
        assert not under_way([server])


def test_a_listener_that_is_closed_or_not_tcp_has_none(half_open):
    with socket.socket(socket.AF_UNIX) as unix:
        closed = socket.socket()
        closed.close()
        assert not under_way([closed, unix])
        assert under_way([closed, unix, half_open])
