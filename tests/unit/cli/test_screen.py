"""Tables of a host's state; they are coloured where a terminal shows them."""

import pytest

from host.cli.screen import Table, ago, listeners
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
