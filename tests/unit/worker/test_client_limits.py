"""Who counts as one client, where, and what is given back when a connection ends."""

import pytest

from host.ipc.client_counts import ClientCounts
from host.ipc.scoreboard import PER_CLIENT, RATE
from host.settings import Limits, Listen
from host.worker.client_limits import client_limit

TCP, UNIX = "tcp://127.0.0.1:7000", "unix:@limits"


@pytest.fixture
def limit():
    counts = ClientCounts()
    row = counts.row(counts.take_row())

    def make(address=TCP, *, listen=None, **limits):
        return client_limit(Limits(**limits), Listen(address=address, **(listen or {})), row)

    make.counts = counts
    yield make
    counts.close()


@pytest.mark.parametrize(
    ("settings", "one", "other", "same"),
    [
        ({}, "192.0.2.1", "192.0.2.2", False),
        ({}, "192.0.2.1", "::ffff:192.0.2.1", True),
        ({"client_prefix_v4": 24}, "192.0.2.1", "192.0.2.200", True),
        ({"client_prefix_v4": 24}, "192.0.2.1", "192.0.3.1", False),
        ({}, "2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", True),
        ({}, "2001:db8::1", "2001:DB8:0:0::1", True),
        ({}, "2001:db8::1", "2001:db8:0:1::1", False),
        ({"client_prefix_v6": 128}, "2001:db8::1", "2001:db8::2", False),
        ({"client_prefix_v6": 57}, "2001:db8:0:7f::1", "2001:db8::1", True),
        ({"client_prefix_v6": 57}, "2001:db8:0:80::1", "2001:db8::1", False),
        ({}, "fe80::1%eth0", "fe80::2", True),
        ({"client_uid": True}, 0, 1, False),
        ({"client_uid": True}, 7, 7, True),
        ({"client_uid": True}, -1, 1, False),
    ],
)
def test_who_is_one_client(limit, settings, one, other, same):
    clients = limit(max_per_client=1, **settings)
    assert clients.refusal(3, one) is None
    assert clients.refusal(4, other) == (PER_CLIENT if same else None)


def test_what_is_closed_is_given_back_once(limit):
    clients, closed = limit(max_per_client=2), []
    close = clients.closing(closed.append)
    for fd in (3, 4):
        assert clients.refusal(fd, "192.0.2.1") is None
    assert clients.refusal(5, "192.0.2.1") == PER_CLIENT
    close(5)
    close(3)
    close(3)
    assert (limit.counts.total(), closed) == (1, [5, 3, 3])
    assert clients.refusal(6, "192.0.2.1") is None


def test_a_place_is_free_before_the_peer_sees_the_end(limit):
    clients, seen = limit(max_per_client=1), []
    close = clients.closing(lambda _: seen.append(limit.counts.total()))
    clients.refusal(3, "192.0.2.1")
    close(3)
    assert seen == [0]


def test_a_listener_without_its_own_limit_counts_with_the_others(limit):
    first, second = limit(max_per_client=1), limit("tcp://127.0.0.1:7001", max_per_client=1)
    assert first.refusal(3, "192.0.2.1") is None
    assert second.refusal(4, "192.0.2.1") == PER_CLIENT


def test_a_listener_with_its_own_limit_counts_by_itself(limit):
    common = limit(max_per_client=1)
    own = limit("tcp://127.0.0.1:7001", max_per_client=1, listen={"max_per_client": 2})
    assert common.refusal(3, "192.0.2.1") is None
    assert [own.refusal(fd, "192.0.2.1") for fd in (4, 5, 6)] == [None, None, PER_CLIENT]


@pytest.mark.parametrize(
    ("address", "listen", "limits", "is_limited"),
    [
        (TCP, {}, {}, False),
        (TCP, {}, {"max_per_client": 1}, True),
        (TCP, {}, {"rate_per_client": 1.0}, True),
        (TCP, {"max_per_client": 0}, {"max_per_client": 1}, False),
        (TCP, {"max_per_client": 1}, {}, True),
        (UNIX, {}, {"max_per_client": 1}, False),
        ("udp://127.0.0.1:7000", {}, {"max_per_client": 1}, False),
        ("udp://127.0.0.1:7000", {}, {"rate_per_client": 1.0}, False),
        (UNIX, {}, {"max_per_client": 1, "client_uid": True}, True),
        (UNIX, {"proxy": "any", "proxy_from": ("unix",)}, {"max_per_client": 1}, True),
    ],
)
def test_which_listeners_are_limited(limit, address, listen, limits, is_limited):
    assert (limit(address, listen=listen, **limits) is not None) == is_limited


def test_a_listener_with_a_rate_alone_closes_as_ever(limit):
    assert limit(rate_per_client=1.0).closing(print) is print


def test_who_comes_too_often_is_refused_and_holds_no_place(limit):
    clients = limit(max_per_client=5, rate_per_client="2/h")
    found = [clients.refusal(fd, "192.0.2.1") for fd in range(3, 6)]
    assert found == [None, RATE, RATE]
    assert limit.counts.total() == 1
    assert "rate_per_client" in clients.why(RATE, "192.0.2.1")
    assert "user 5 has 5 connections" in clients.why(PER_CLIENT, 5)


def test_as_many_come_at_once_as_the_burst_allows(limit):
    clients = limit(rate_per_client="1/h", burst_per_client=4)
    found = [clients.refusal(fd, "192.0.2.1") for fd in range(3, 9)]
    assert found == [None] * 4 + [RATE] * 2


@pytest.mark.parametrize(
    ("value", "a_second"),
    [("20/s", 20.0), ("30/m", 0.5), (" 9 / h ", 0.0025), ("7", 7.0), (3, 3.0), (2.5, 2.5)],
)
def test_a_rate_may_be_written_as_text(value, a_second):
    assert Limits(rate_per_client=value).rate_per_client == a_second


@pytest.mark.parametrize(
    "value",
    ["fast", "20/d", "-1/s", "1/s/s", "", "1e3/s", "\u0663/s", "1e-9", True, -1, 1e-9, 20_000],
)
def test_what_is_no_rate_is_refused(value):
    with pytest.raises(ValueError, match="rate_per_client"):
        Limits(rate_per_client=value)
