"""Tables of a host's state; they are coloured where a terminal shows them."""

import pytest

from host.cli import screen
from host.cli.screen import Table, ago, head, listeners, overview
from host.testing.machine import patience
from support.at_terminal import DEADLINE_SECONDS
from support.fake_host import LISTENER, STATUS


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (59.4, "59s"), (60, "1m"), (3600, "1h"), (200_000, "2d")]
)
def test_times_are_in_their_largest_unit(seconds, text):
    assert ago(seconds) == text


def test_a_table_without_rows():
    assert Table.of("ID PEER", []).plain() == "ID  PEER"


def test_on_a_terminal_status_has_colours(host, terminal):
    shown = terminal("status", "--name", host(status=STATUS).name)
    assert shown.process.wait(patience(DEADLINE_SECONDS)) == 0
    shown.wait_for(b"\x1b[32mserving")


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("opened", "tcp://127.0.0.1:7000"),
        ("passed", "tcp://127.0.0.1:7000 (fd:web)"),
        ("stored", "tcp://127.0.0.1:7000 (stored)"),
    ],
)
def test_a_listener_is_shown_with_where_its_socket_is_from(source, shown):
    listener = LISTENER | {"source": source, "configured": "fd:web"}
    table = listeners(STATUS | {"listeners": [listener]})
    assert table.rows[0][0] == shown


UDP = {
    "address": "udp://127.0.0.1:53",
    "plugin": "dns",
    "file": None,
    "waiting": 0,
    "accepted": 0,
    "spurious": 0,
    "refused": 0,
    "refusals": {"denied": 2},
    "datagrams": {
        "shards": 64,
        "waiting_bytes": 0,
        "lost": 4,
        "received": 90,
        "replies": 80,
        "dropped_replies": 1,
        "refused_replies": 3,
    },
}


def test_all_that_was_not_let_in_is_counted_but_probes_and_those_that_left():
    told = {"denied": 1, "proxy": 2, "tls": 4, "late": 8, "per_client": 16, "rate": 32}
    listener = {"refused": 64, "refusals": {**told, "gone": 128, "probes": 256}}
    assert screen.refused(listener) == 127


def test_udp_listeners_have_a_table_of_their_own_and_are_among_the_others():
    status = {**STATUS, "listeners": [*STATUS["listeners"], UDP]}
    assert screen.datagrams(status).plain() == (
        "UDP                 SHARDS  RECEIVED  REPLIES  LOST  DROPPED  REFUSED\n"
        "udp://127.0.0.1:53      64        90       80     4        1        3"
    )
    assert screen.listeners(status).rows[-1] == (
        "udp://127.0.0.1:53",
        "dns",
        "0",
        "90",
        "0",
        "2",
    )
    assert any(isinstance(part, Table) and "RECEIVED" in part.columns for part in overview(status))


def test_without_udp_there_is_no_such_table():
    assert screen.datagrams(STATUS) is None


BUS = {
    "broker": "redis://10.0.0.5",
    "connected": True,
    "cause": "",
    "seconds": 7.2,
    "queued_bytes": 0,
    "foreign_entries": [],
}


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({}, "bus: connected for 7s, redis://10.0.0.5"),
        (
            {"connected": False, "cause": "it is gone", "queued_bytes": 3 << 20},
            "bus: away for 7s, redis://10.0.0.5: it is gone; 3M queued",
        ),
        (
            {"foreign_entries": ["p:ring:t", "p:table:t"]},
            "bus: connected for 7s, redis://10.0.0.5; somebody else's entries in the broker, to be"
            " deleted: p:ring:t, p:table:t",
        ),
    ],
)
def test_a_broker_is_told_of(changes, line):
    assert line in head(STATUS | {"bus": BUS | changes}).splitlines()


def test_without_a_broker_nothing_is_told_of_it():
    assert "bus" not in head(STATUS | {"bus": None})
