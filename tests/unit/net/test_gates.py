"""A shut gate keeps new clients out, and lets in those whose handshake is under way."""

import socket

import pytest

from host.net import gates, handshakes
from host.testing.machine import patience

FAMILIES = [("127.0.0.1", socket.IPPROTO_IP, 21), ("::1", socket.IPPROTO_IPV6, 73)]
"""Each with its option for the least time to live that it takes."""


@pytest.fixture(params=FAMILIES, ids=["IPv4", "IPv6"])
def family(request):
    return request.param


@pytest.fixture
def server(family):
    kind = socket.AF_INET6 if ":" in family[0] else socket.AF_INET
    with socket.create_server((family[0], 0), family=kind) as made:
        made.settimeout(patience(10))
        yield made


@pytest.fixture
def client(server):
    with socket.socket(server.family) as made:
        made.setblocking(False)
        yield made


def begin_only(client, server, family):
    """Begin a handshake that goes on when the client takes what has a time to live of 64."""
    client.setsockopt(*family[1:], 255)
    client.connect_ex(server.getsockname())


def test_nobody_new_comes_in(server, client):
    gates.shut(server)
    client.connect_ex(server.getsockname())
    server.setblocking(False)
    with pytest.raises(BlockingIOError):
        server.accept()
    assert not handshakes.under_way([server])


def test_who_is_connected_is_accepted(server):
    with socket.create_connection(server.getsockname()[:2]) as inside:
        gates.shut(server)
        inside.sendall(b"x")
        accepted, _ = server.accept()
        with accepted:
            assert accepted.recv(1) == b"x"


def test_a_handshake_that_is_under_way_completes(server, client, family):
    begin_only(client, server, family)
    gates.shut(server)
    client.setsockopt(*family[1:], 0)
    accepted, _ = server.accept()  # as soon as the kernel has answered the client once more
    with accepted:
        assert accepted.getsockopt(*family[1:]) == (255 if gates.why_no_filter() else 0)
        gates.lift(accepted)
        client.sendall(b"x")
        accepted.settimeout(patience(10))
        assert accepted.recv(1) == b"x"


def test_without_the_filter_packets_need_the_highest_time_to_live(server, family):
    gates.shut(server)
    assert server.getsockopt(*family[1:]) == (255 if gates.why_no_filter() else 0)


@pytest.mark.parametrize(("host", "level", "option"), FAMILIES)
def test_what_an_accepted_socket_has_inherited_is_lifted(host, level, option):
    """IP_MINTTL and IPV6_MINHOPCOUNT; the accepted socket has inherited them."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as server:
        server.setsockopt(level, option, 10)
        client = socket.create_connection(server.getsockname()[:2])
        accepted, _ = server.accept()
        with client, accepted:
            assert accepted.getsockopt(level, option) == 10
            gates.lift(accepted)
            assert accepted.getsockopt(level, option) == 0


def test_a_socket_that_is_not_tcp_is_left_alone():
    one, other = socket.socketpair()
    with one, other:
        gates.shut(one)
        gates.lift(one)
        one.sendall(b"x")
        assert other.recv(1) == b"x"
