"""Servers of asyncio on the host's listeners: by its name, and by listening sockets."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from host.errors import ExitCode
from support.address import connect
from support.hosting import SUPPORT, Host, Start

pytestmark = [pytest.mark.process, pytest.mark.warm]

FILE = SUPPORT / "asyncio_capture.py"


def begin(start: Start, plugin: str, *addresses: str, **others: Any) -> Host:
    return start(plugin=f"{FILE}:{plugin}", workers=1, listen=[*addresses], **others)


def said(address: str) -> bytes:
    with connect(address) as client, client.makefile("rb") as answers:
        return answers.read()


@pytest.fixture
def addresses(tmp_path: Path) -> tuple[str, str]:
    return "tcp://127.0.0.1:0", f"unix:{tmp_path / 'a.sock'}"


def test_a_server_shows_the_sockets_of_all_listeners(
    start: Start, addresses: tuple[str, str]
) -> None:
    host = begin(start, "Everywhere", *addresses)
    tcp, unix = host.addresses
    port, path = int(tcp.rpartition(":")[2]), unix.removeprefix("unix:")
    host.wait_for("plugin_printed", text=f"{tcp} ('127.0.0.1', {port}) AF_INET")
    host.wait_for("plugin_printed", text=f"{unix} {path!r} AF_UNIX")
    assert said(tcp) == said(unix) == b"any\n"
    assert host.stop() == 0
    host.wait_for("plugin_printed", text="sockets at the end: 2")


def test_each_listener_has_the_server_that_was_made_on_its_socket(
    start: Start, addresses: tuple[str, str]
) -> None:
    host = begin(start, "Each", "tcp://127.0.0.1:0", *addresses)
    assert [said(address) for address in host.addresses] == [
        b"server 0\n",
        b"server 1\n",
        b"the last\n",
    ]
    assert host.stop() == 0


def test_a_socket_that_is_none_of_the_hosts_is_served_by_asyncio(start: Start) -> None:
    host = begin(start, "Foreign")
    port = int(host.wait_for("plugin_printed")["text"].removeprefix("port "))
    with socket.create_connection(("127.0.0.1", port)) as client, client.makefile("rb") as answers:
        assert answers.read() == b"own\n"
    assert host.stop() == 0


@pytest.mark.parametrize(
    ("plugin", "cause"),
    [
        ("TooFew", "nothing serves unix:"),
        ("Again", "create_server(sock=<listening socket tcp://127.0.0.1:"),
    ],
)
def test_what_cannot_be_served_is_told_at_the_start(
    start: Start, addresses: tuple[str, str], plugin: str, cause: str
) -> None:
    host = begin(start, plugin, *addresses, ready=False)
    assert cause in host.wait_for("worker_start_failed")["message"]
    assert host.wait() == ExitCode.WORKER_START
