"""Which connections are meant, and which of many come first."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.control.selection import ORDERS, First, peer_filter, ranking, split_peer

IN_ORDER = [
    "9.9.9.9:1",
    "10.0.0.9:80",
    "10.0.0.10:79",
    "10.0.0.10:80",
    "255.255.255.255:65535",
    "[::1]:80",
    "[2001:db8::9]:80",
    "[2001:db8::10]:80",
    "",
    "10.0.0.9",
    "unix",
]
"""Addresses by number, those of IPv4 first; then what is none, by its characters."""


@pytest.mark.parametrize(
    ("peer", "parts"),
    [
        ("127.0.0.1:50211", (bytes([127, 0, 0, 1]), 50211)),
        ("[::1]:50211", (bytes(15) + b"\1", 50211)),
        ("[fe80::1%3]:9", (b"\xfe\x80" + bytes(13) + b"\1", 9)),
        ("[::ffff:10.1.2.3]:9", (bytes([10, 1, 2, 3]), 9)),
        ("::1:9", None),
        ("unix", None),
        ("127.0.0.1", None),
        ("127.0.0.1:", None),
        ("127.0.0.1:x", None),
        ("127.0.0.1:\u0661", None),
        ("host.example:80", None),
        ("\0:1", None),
        ("\ud800:1", None),
    ],
)
def test_a_peer_is_taken_apart(peer, parts):
    assert split_peer(peer) == parts


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("10.0.0.0/8", ["10.0.0.9:80", "10.0.0.10:79", "10.0.0.10:80"]),
        ("10.0.0.12/29", ["10.0.0.9:80", "10.0.0.10:79", "10.0.0.10:80"]),
        ("0.0.0.0/0", IN_ORDER[:5]),
        ("2001:db8::/32", ["[2001:db8::9]:80", "[2001:db8::10]:80"]),
        ("::/0", IN_ORDER[5:8]),
        ("10.0.0.10", ["10.0.0.10:79", "10.0.0.10:80"]),
        ("10.0.0.1", []),
        ("::1", ["[::1]:80"]),
        ("[::1]", ["[::1]:80"]),
        ("2001:db8::1:80", []),
        ("2001:DB8:0::9", ["[2001:db8::9]:80"]),
        ("::ffff:10.0.0.9", ["10.0.0.9:80"]),
        ("10.0.0.10:80", ["10.0.0.10:80"]),
        ("10.0.0.10:8", []),
        ("10.0.0.", ["10.0.0.9:80", "10.0.0.10:79", "10.0.0.10:80", "10.0.0.9"]),
        (":79", ["10.0.0.10:79"]),
        ("unix", ["unix"]),
        ("nobody", []),
    ],
)
def test_peers_are_meant_by_network_address_port_or_a_part_of_their_text(text, meant):
    assert list(filter(peer_filter(text), IN_ORDER)) == meant


@pytest.mark.parametrize("text", ["10.0.0.0/33", "10.0.0.0/x", "unix:/run/x", "/"])
def test_what_has_a_slash_must_be_a_network(text):
    with pytest.raises(ValueError, match="does not appear to be an IPv4 or IPv6 network"):
        peer_filter(text)


@given(st.permutations(IN_ORDER))
def test_peers_come_in_the_order_of_their_addresses(peers):
    assert sorted(peers, key=ranking("peer", reverse=False)) == IN_ORDER
    assert sorted(peers, key=ranking("peer", reverse=True)) == IN_ORDER[::-1]


@pytest.mark.parametrize("name", ORDERS)
@pytest.mark.parametrize("reverse", [False, True])
def test_the_largest_come_first_or_the_first_in_the_alphabet(name, reverse):
    values = [1, 2.5, 30] if name not in ("peer", "listener") else ["a", "ab", "b"]
    last_first = ORDERS[name].largest_first != reverse
    ranked = sorted(values, key=ranking(name, reverse=reverse))
    assert ranked == (values[::-1] if last_first else values)


@pytest.mark.parametrize("value", [None, [], {}])
def test_a_value_that_cannot_be_put_in_order_is_as_good_as_none(value):
    assert ranking("age", reverse=False)(value) == 0


@given(st.lists(st.integers(0, 9)), st.integers(1, 8))
def test_the_first_of_many_are_kept_and_of_equal_ones_those_that_came_first(ranks, most):
    first = First(most)
    for place, rank in enumerate(ranks):
        kept = first.takes(rank)
        first.add(rank, (rank, place))
        assert kept == ((rank, place) in [entry[2] for entry in first._worst_first])
        assert len(first) == min(place + 1, most)
    taken = [first.take_last() for _ in range(len(first))]
    assert taken[::-1] == sorted((rank, place) for place, rank in enumerate(ranks))[:most]
