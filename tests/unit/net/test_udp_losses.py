"""What the kernel says of sockets is found by their addresses, and counted once."""

import socket
from contextlib import closing

import pytest

from host.net import udp_losses
from host.net.shards import open_group
from host.net.udp_losses import lost_datagrams
from host.settings import Listen


def overflown(address, shards=2):
    """Return the sockets of a listener of which one has lost datagrams."""
    group = open_group(Listen(address=address, shards=shards), 0, "echo")
    group.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    with socket.socket(group.sock.family, socket.SOCK_DGRAM) as client:
        client.connect(group.sock.getsockname()[:2])
        while not group.queues().lost:
            client.send(bytes(1000))
    return group


@pytest.mark.parametrize("address", ["udp://127.0.0.1:0", "udp://[::1]:0"])
def test_it_is_what_the_sockets_themselves_tell(address):
    with closing(overflown(address, shards=1)) as group:
        name = group.view.address
        assert lost_datagrams([name]) == {name: group.queues().lost}


def test_all_sockets_of_an_address_are_summed_and_no_others():
    with closing(overflown("udp://127.0.0.1:0")) as v4, closing(overflown("udp://[::1]:0")) as v6:
        expected = {each.view.address: each.queues().lost for each in (v4, v6)}
        assert lost_datagrams(expected) == expected


def test_an_address_without_sockets_is_left_out():
    with closing(overflown("udp://127.0.0.1:0")) as group:
        name = group.view.address
    assert lost_datagrams([name]) == {}
    assert lost_datagrams([]) == {}


def test_a_machine_that_does_not_tell_has_none(monkeypatch):
    monkeypatch.setattr(udp_losses, "_FILES", {"udp4": "/nothing", "udp6": "/nothing"})
    assert lost_datagrams(["udp://127.0.0.1:53", "udp://[::1]:53"]) == {}


def test_a_socket_that_is_connected_is_somebody_elses():
    with closing(overflown("udp://127.0.0.1:0")) as group:
        name, lost = group.view.address, group.queues().lost
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            other.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            other.bind(group.sock.getsockname())
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.bind(("127.0.0.1", 0))
                other.connect(client.getsockname())
                for _ in range(20):
                    client.sendto(bytes(1000), group.sock.getsockname())
        assert lost_datagrams([name]) == {name: lost}
