"""Protocols that ship, put through chaos."""

import re

import pytest

from host.testing import Conversation

pytestmark = pytest.mark.process

TALKS = {
    "chat": Conversation(
        [
            (b"/rooms\r\n", b"-- there are no rooms yet\r\n"),
            (b"hello\n", b"!! you are in no room: /join #lobby, for example\r\n"),
            (b"/nix\r\n", b"!! there is no /nix: try /help\r\n"),
        ],
        greeting=re.compile(rb"(-- [^\r\n]+\r\n){3}"),
        goodbye=b"-- The server is going down; see you soon.\r\n",
    ),
    "echo": Conversation([(b"hello", b"hello"), (b"\x00" * 3000, b"\x00" * 3000)]),
    "line": Conversation([(b"PING\r\n", b"+PONG\r\n"), (b"ECHO x\n", b"+x\r\n")]),
}
OPTIONS = {"chat": {"chat": {"messages_per_second": 1e9, "burst": 1_000_000}}}


@pytest.mark.slow
@pytest.mark.parametrize("name", TALKS)
def test_protocols_that_ship_hold_over_tls_and_behind_a_proxy(chaos, name):
    chaos.over("tls", "proxy")(name, TALKS[name], options=OPTIONS.get(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", TALKS)
def test_protocols_that_ship_hold(chaos, name):
    chaos(name, TALKS[name], options=OPTIONS.get(name))
