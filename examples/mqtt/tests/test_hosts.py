"""One broker over two hosts, which Redis connects: raw packets over real connections."""

import pytest
from reading import CONNACK, connect, publish, subscribe

from host.testing.machine import patience


@pytest.fixture
def hosts(make_hosts):
    return make_hosts(30)


@pytest.fixture
def dial(hosts):
    """Return what connects a client to one of the hosts, and reads what it is told of itself."""

    def dial(which, client_id, *filters, clean=True, answer=CONNACK):
        client = hosts[which].connect(timeout=patience(30))
        opened.append(client)
        client.sendall(connect(client_id, clean=clean))
        assert read(client, 4) == answer
        for number, each in enumerate(filters, 1):
            client.sendall(subscribe(each, 1))
            assert read(client, 5)[0] == 0x90, number
        return client

    opened = []
    yield dial
    for client in opened:
        client.close()


def read(client, count):
    found = b""
    while len(found) < count:
        data = client.recv(count - len(found))
        assert data, found
        found += data
    return found


def heard(client):
    """Return topic and payload of the next message, which has QoS 1."""
    first, length = read(client, 2)
    assert first & 0xF6 == 0x32
    rest = read(client, length)
    end = 2 + int.from_bytes(rest[:2], "big")
    return rest[2:end], rest[end + 2 :]


def say(client, topic, payload, number):
    client.sendall(publish(topic, payload, 1, number))
    assert read(client, 4) == b"\x40\x02" + number.to_bytes(2, "big")


def test_messages_cross_hosts_in_their_order(dial):
    hearer, speaker = dial(0, "h", "a/#"), dial(1, "s")
    for number in range(1, 51):
        say(speaker, "a/b", b"%d" % number, number)
    assert [heard(hearer) for _ in range(50)] == [(b"a/b", b"%d" % each) for each in range(1, 51)]


def test_a_session_is_found_on_another_host_with_what_it_has_missed(dial):
    dial(0, "me", "a", clean=False).close()
    speaker = dial(0, "s")
    for number in (1, 2, 3):
        say(speaker, "a", b"%d" % number, number)
    again = dial(1, "me", clean=False, answer=b"\x20\x02\x01\x00")
    assert [heard(again)[1] for _ in range(3)] == [b"1", b"2", b"3"]


def test_a_client_has_one_connection_over_all_hosts(dial):
    old = dial(0, "me")
    new = dial(1, "me")
    assert old.recv(1) == b""
    new.sendall(b"\xc0\x00")
    assert read(new, 2) == b"\xd0\x00"
