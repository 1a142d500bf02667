"""Whoever counts as one client for the limits is one here, too."""

import pytest

from host.cli.clients import busiest, table


def found(*peers, v4=32, v6=64):
    settings = [
        {"key": "limits.client_prefix_v4", "value": str(v4)},
        {"key": "limits.client_prefix_v6", "value": str(v6)},
    ]
    told = busiest([{"peer": peer} for peer in peers], settings)
    return [(each["client"], each["connections"]) for each in told]


def test_those_with_most_come_first_and_no_more_than_ten():
    peers = [f"192.0.2.{number}:{port}" for number in range(1, 15) for port in range(number)]
    assert found(*peers) == [(f"192.0.2.{number}", number) for number in range(14, 4, -1)]


@pytest.mark.parametrize(
    ("peer", "settings", "client"),
    [
        ("192.0.2.1:50211", {}, "192.0.2.1"),
        ("192.0.2.1:50211", {"v4": 24}, "192.0.2.0/24"),
        ("[2001:db8::1]:5", {}, "2001:db8::/64"),
        ("[2001:db8::1]:5", {"v6": 128}, "2001:db8::1"),
        ("[::ffff:192.0.2.1]:5", {}, "192.0.2.1"),
        ("[fe80::1%eth0]:5", {}, "fe80::/64"),
        ("unix", {}, "unix"),
        ("\x1b[2J", {}, "\x1b[2J"),
    ],
)
def test_a_client_is_its_network(peer, settings, client):
    assert found(peer, **settings) == [(client, 1)]


def test_a_user_is_a_client_where_users_are_known():
    settings = [{"key": f"limits.client_prefix_v{v}", "value": "32"} for v in (4, 6)]
    known = [{"peer": "unix", "uid": uid} for uid in (0, 33, 33, None)]
    told = {each["client"]: each["connections"] for each in busiest(known, settings)}
    assert told == {"user 33": 2, "user 0": 1, "unix": 1}


def test_the_table_is_harmless():
    assert table([{"client": "\x1b[2J", "connections": 3}]).rows == [("\\x1b[2J", "3")]
