"""Tables of a host's state; they are coloured where a terminal shows them."""

import pytest

from host.cli.screen import Table, ago
from host.testing.machine import patience
from support.at_terminal import DEADLINE_SECONDS
from support.fake_host import STATUS


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
