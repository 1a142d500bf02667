"""Groups of sockets of UDP listeners: bound alone, shared among themselves."""

import errno
import os
import socket
from contextlib import closing

import pytest

from host.errors import ListenError
from host.net.shards import ShardGroup, open_group, open_shards
from host.settings import Listen
from support.processes import descriptors


def opened(address="udp://127.0.0.1:0", shards=4):
    return closing(open_group(Listen(address=address, shards=shards), 0, "echo"))


def port_of(group):
    return int(group.view.address.rpartition(":")[2])


@pytest.mark.parametrize(
    ("address", "bound"),
    [("udp://127.0.0.1:0", "udp://127.0.0.1:"), ("udp://[::1]:0", "udp://[::1]:")],
)
def test_all_sockets_have_one_address(address, bound):
    with opened(address) as group:
        assert group.view.address.startswith(bound)
        assert group.configured == address
        socks = open_shards(group.sock, [os.dup(each) for each in group.shards[1:]])
        assert len(socks) == 4
        assert {sock.getsockname()[1] for sock in socks} == {port_of(group)}
        assert not any(sock.getblocking() for sock in socks)
        for sock in socks[1:]:
            sock.close()


def test_a_client_comes_to_one_shard_each_time_and_many_come_to_all():
    with opened() as group:
        socks = open_shards(group.sock, [os.dup(each) for each in group.shards[1:]])
        found = set()
        for _ in range(100):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                for _ in range(3):
                    client.sendto(b"x", ("127.0.0.1", port_of(group)))
            counts = [drained(sock) for sock in socks]
            assert sorted(counts) == [0, 0, 0, 3]
            found.add(counts.index(3))
        assert found == {0, 1, 2, 3}
        for sock in socks[1:]:
            sock.close()


def drained(sock):
    count = 0
    try:
        while sock.recv(10):
            count += 1
    except BlockingIOError:
        return count


@pytest.mark.parametrize("shares", [False, True])
def test_an_address_that_somebody_has_is_refused_though_it_were_shared(shares):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        if shares:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        before = descriptors(os.getpid())
        with pytest.raises(ListenError, match="another process listens there") as caught:
            open_group(Listen(address=f"udp://127.0.0.1:{other.getsockname()[1]}"), 0, "echo")
        assert caught.value.errno == errno.EADDRINUSE
        assert descriptors(os.getpid()) == before


def test_a_second_host_is_refused():
    with opened() as group, pytest.raises(ListenError):
        open_group(Listen(address=f"udp://127.0.0.1:{port_of(group)}"), 0, "echo")


def test_closing_closes_all_and_harms_nobody_the_second_time():
    before = descriptors(os.getpid())
    with opened() as group:
        assert len(descriptors(os.getpid())) == len(before) + 4
        group.close()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            group.close()
            assert other.fileno() >= 0
            os.fstat(other.fileno())
    assert descriptors(os.getpid()) == before


def test_what_waits_and_what_was_lost_is_known_without_reading():
    with opened(shards=1) as group:
        group.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            for _ in range(20):
                client.sendto(bytes(1000), ("127.0.0.1", port_of(group)))
        waiting, lost = group.queues()
        assert waiting > 0
        assert lost + drained(group.sock) == 20
        assert group.queues() == (0, lost)


def test_the_queues_of_a_closed_group_are_not_known():
    with opened() as group:
        group.close()
        with pytest.raises(OSError, match="Bad file descriptor"):
            group.queues()


def test_there_is_no_gate_to_shut():
    with opened() as group:
        group.shut_gate()
        assert isinstance(group, ShardGroup)
        assert not group.gate_is_shut()
