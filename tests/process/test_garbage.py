"""What a connection has kept is freed when it ends, and not when the collector finds it.

The collector counts objects: a few of them may be megabytes.
"""

from __future__ import annotations

import ast
import socket
from contextlib import suppress

import pytest

from host.testing.machine import patience
from support.hosting import SUPPORT, eventually

pytestmark = [pytest.mark.process, pytest.mark.warm]

VISITS = 20
CONFIG = """
plugins = ["echo", "line", "chat", "{asyncio}", "{collecting}"]
[[listen]]
address = "tcp://127.0.0.1:0"
plugin = "collecting:Collecting"
[[listen]]
address = "tcp://127.0.0.1:0"
plugin = "{plugin}"
{more}
[tls.public]
certificates = [{files}]
"""
PLAIN = {
    "echo": [b"hello"],
    "line": [b"PING\r\n", b"*1\r\n$4\r\nPING\r\n", b"QUIT\r\n"],
    "chat": [b"/nick a\n", b"/join #b\n", b"hello\n"],
    "asyncio_protocol:Reader": [b"hello\n"],
}


@pytest.fixture
def visited(start_from, authority):
    """Start a host with a plugin, have clients visit it, and return what the collector finds."""

    def visited(visit, plugin="echo", more=""):
        text = CONFIG.format(
            asyncio=f"{SUPPORT / 'asyncio_protocol.py'}:Reader",
            collecting=f"{SUPPORT / 'collecting.py'}:Collecting",
            files=authority.files("a", "a.example").toml,
            plugin=plugin,
            more=more,
        )
        host = start_from(text, workers=1)
        asked, served = [
            int(each["address"].rpartition(":")[2]) for each in host.events("listening")
        ]
        with socket.create_connection(("127.0.0.1", asked), timeout=patience(20)) as asking:
            found = []
            for _ in range(2):  # at first, modules are imported and caches filled
                for _ in range(VISITS):
                    visit(served)
                eventually(lambda: sum(host.board.active) == 1, "all visits have ended")
                asking.sendall(b"?")
                found.append(ast.literal_eval(asking.recv(65_536).decode()))
        return found[-1]

    return visited


@pytest.mark.parametrize("plugin", PLAIN)
def test_a_connection_leaves_the_collector_nothing(visited, plugin):
    def visit(port):
        with socket.create_connection(("127.0.0.1", port), timeout=patience(20)) as client:
            for piece in PLAIN[plugin]:
                client.sendall(piece)
                client.recv(1000)

    assert visited(visit, plugin) == {}


@pytest.mark.parametrize("first", [b"", b"no TLS", b"\x16\x03\x01\x00\x05hello", None])
def test_a_handshake_leaves_it_nothing_however_it_ends(visited, authority, first):
    context = authority.client()

    def visit(port):
        with socket.create_connection(("127.0.0.1", port), timeout=patience(20)) as client:
            if first is None:
                with context.wrap_socket(client, server_hostname="a.example") as secured:
                    secured.sendall(b"hello")
                    assert secured.recv(1000) == b"hello"
                return
            client.sendall(first)
            with suppress(OSError):  # it may have been refused by then
                client.shutdown(socket.SHUT_WR)
                client.recv(1000)

    assert visited(visit, more='tls = "public"') == {}
