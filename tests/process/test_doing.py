"""What is done for a connection: in the list of connections, and when a worker hangs in it."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import pytest

from support.address import connect
from support.asking import fresh_name, query
from support.hosting import SUPPORT, Host, Start, eventually

pytestmark = [pytest.mark.process, pytest.mark.warm]

NAME = fresh_name()


def begin(start: Start, **settings: Any) -> Host:
    options = {"app": "asgi_app:app", "app_folder": SUPPORT}
    settings |= {f"options.asgi.{key}": value for key, value in options.items()}
    return start("--name", NAME, plugin="asgi", workers=1, settings=settings)


def request(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


def test_the_list_of_connections_has_what_each_does(start: Start) -> None:
    host = begin(start)

    def doing() -> list[str]:
        return sorted(each["doing"] for each in query(NAME, "connections")["connections"])

    with ExitStack() as stack:
        idle, busy, upgraded = (stack.enter_context(connect(host.address)) for _ in range(3))
        idle.sendall(request("/"))
        busy.sendall(request("/events?secret=1"))
        upgraded.sendall(
            b"GET /echo?secret=2 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"
        )
        expected = ["", "GET /events", "WebSocket /echo"]
        eventually(lambda: doing() == expected, "all three are listed")
    assert host.stop() == 0


def test_the_tasks_of_a_connection_are_told_with_where_they_wait(start: Start) -> None:
    host = begin(start, **{"lifecycle.drain_timeout_seconds": 0.5})
    with connect(host.address) as other, connect(host.address) as sock:
        for each in (other, sock):
            each.sendall(request("/for_ever"))
        host.wait_for("plugin_printed", count=2, text="waiting for ever")
        listed = query(NAME, "connections", sort="age")["connections"]
        told = query(NAME, "why", id=listed[1]["id"])
        assert told["doing"] == "GET /for_ever"
        [task] = told["tasks"]
        assert task.startswith("task Task-")
        assert " (RequestResponseCycle.run_asgi) waits: " in task
        assert "wait_for_ever (" in task
        assert "asgi_app.py:" in task
    host.stop()


def test_a_hang_in_c_is_told_with_its_request_and_its_connection(start: Start) -> None:
    host = begin(start, **{"lifecycle.hang_seconds": 1})
    with connect(host.address) as other, connect(host.address) as sock:
        other.sendall(request("/for_ever"))
        host.wait_for("plugin_printed", text="waiting for ever")
        sock.sendall(request("/hang_in_c?turns=3"))
        hung = host.wait_for("worker_hung")
    place = f"in a task of asyncio of plugin asgi, connection {hung['pid']}-2, GET /hang_in_c"
    assert hung["place"] == place
    assert " in hang_in_c" in hung["traceback"]
    host.wait_for("worker_ready", count=2)
    assert host.stop() == 0


def test_who_keeps_the_lock_in_a_thread_is_told_as_begun_last(start: Start) -> None:
    host = begin(start, **{"lifecycle.hang_seconds": 1})
    with connect(host.address) as sock:
        sock.sendall(request("/hang_in_thread"))
        hung = host.wait_for("worker_hung")
    assert hung["place"].endswith(f"; begun last: connection {hung['pid']}-1, GET /hang_in_thread")
    host.wait_for("worker_ready", count=2)
    assert host.stop() == 0
