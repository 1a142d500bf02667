"""UDP listeners of real hosts: who answers, from where, and what is lost when workers go."""

from __future__ import annotations

import socket

import pytest

from support.datagrams import Crowd, ask, client, status
from support.hosting import SUPPORT, Host, Start, eventually

pytestmark = pytest.mark.process

ANSWERING = str(SUPPORT / "answering.py")
UDP = ("udp://127.0.0.1:0",)


def owned(host: Host) -> list[int]:
    """Return how many shards each worker has, in ascending order."""
    return sorted(each["shards"] for each in status(host)["workers"])


@pytest.mark.parametrize("address", ["udp://127.0.0.1:0", "udp://[::1]:0"])
def test_a_datagram_is_answered(start: Start, address: str) -> None:
    host = start(plugin="echo", listen=(address,), workers=2)
    with client(host.address) as sock:
        assert ask(sock, b"hello") == b"hello"
        assert ask(sock, b"") == b""
        assert ask(sock, bytes(8000)) == bytes(8000)
    assert host.stop() == 0


@pytest.mark.parametrize(
    ("address", "asked"),
    [
        ("udp://0.0.0.0:0", ["127.0.0.1", "127.0.0.5", "127.1.2.3"]),
        ("udp://[::]:0", ["::1"]),
    ],
)
def test_an_answer_comes_from_the_address_that_was_asked(
    start: Start, address: str, asked: list[str]
) -> None:
    host = start(plugin="echo", listen=(address,), workers=2)
    port = int(host.address.rpartition(":")[2])
    family = socket.AF_INET6 if "[" in address else socket.AF_INET
    for one in asked:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.settimeout(10)
            sock.sendto(b"x", (one, port))
            data, source = sock.recvfrom(10)
            assert (data, source[:2]) == (b"x", (one, port))


def test_workers_share_the_shards_out_and_each_client_stays_with_one(start: Start) -> None:
    host = start(plugin=ANSWERING, listen=UDP, workers=3)
    with Crowd(host.address, 100) as crowd:
        # The first worker that is ready has all shards, until the others are.
        eventually(lambda: len(set(crowd.ask_all(b"who"))) == 3, "all three answer")
        eventually(lambda: owned(host) == [21, 21, 22], "the shards are dealt evenly")
        assert len(set(crowd.ask_all(b"who"))) == 3
        assert crowd.ask_all(b"who") == crowd.ask_all(b"who")
