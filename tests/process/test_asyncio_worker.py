"""What a program of asyncio does works in a worker, too, and is undone at its end."""

from __future__ import annotations

import pytest

from support.address import connect
from support.hosting import SUPPORT, Start

pytestmark = pytest.mark.process

FILE = SUPPORT / "asyncio_zoo.py"
TRIED = {
    "background": "True",
    "thread": "42",
    "call_from_thread": "7",
    "subprocess": "(300000, 0)",
    "fork": "0",
    "getaddrinfo": "True",
    "datagrams": "b'hello'",
    "client": "b'hello\\n'",
    "group": "3",
    "timeout": "in time",
    "second_server": 'create_server(host="prefork") serves the listeners of a plugin, '
    "within its method start() alone",
    "datagrams_of_the_host": 'create_datagram_endpoint(("prefork", …)): asyncio cannot serve UDP '
    "listeners, whose datagrams come by the hook on_datagram",
}


@pytest.mark.parametrize("debug", ["", "1"])
def test_everything_works(start: Start, debug: str) -> None:
    host = start(plugin=f"{FILE}:Zoo", workers=1, env={"PYTHONASYNCIODEBUG": debug})
    with connect(host.address) as client, client.makefile("r") as answers:
        for name, result in TRIED.items():
            client.sendall(f"{name}\n".encode())
            assert answers.readline() == f"{result}\n", name
    assert host.stop() == 0
    printed = [event["text"] for event in host.events("plugin_printed")]
    assert sorted(printed) == ["cancelled", "generator closed"]
    assert not host.events("callback_failed")


def test_the_event_loop_must_be_asked_for_in_time(start: Start) -> None:
    host = start(plugin=f"{FILE}:Late", workers=1)
    with connect(host.address) as client:
        client.sendall(b"hello")
        assert client.recv(100) == b""
    assert host.wait_for("hook_failed")["error"] == (
        "RuntimeError: worker.asyncio was asked for too late: ask for it in on_worker_start"
    )
