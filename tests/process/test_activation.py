"""Sockets that a service manager passes are listened on, and stay its own."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

import pytest

from support.address import connect
from support.asking import fresh_name, query
from support.hosting import SUPPORT, Load, Refuse, eventually
from support.service_manager import FakeManager
from support.session import ask

pytestmark = pytest.mark.process


def test_sockets_that_are_passed_are_served(
    manager: FakeManager, load: Load, tmp_path: Path
) -> None:
    web, local = manager.listen("web"), manager.listen("local", tmp_path / "local.sock")
    name = fresh_name()
    host = manager.start("--listen", "fd:local", "--listen", "fd:web", "--name", name)
    assert host.addresses == [local, web]
    for address in (web, local):
        assert load.burst(address, 20, group=address)["failures"] == {}
    listeners = query(name, "status")["listeners"]
    assert [(each["configured"], each["source"]) for each in listeners] == [
        ("fd:local", "passed"),
        ("fd:web", "passed"),
    ]
    assert not host.events("socket_unused")


def test_who_waits_while_there_is_no_host_is_served_by_the_next_one(
    manager: FakeManager, tmp_path: Path
) -> None:
    addresses = manager.listen("web"), manager.listen("local", tmp_path / "local.sock")
    host = manager.start("--listen", "fd:web", "--listen", "fd:local")
    assert host.stop() == 0
    waiting = [connect(each) for each in addresses]
    manager.start("--listen", "fd:web", "--listen", "fd:local")
    for client in waiting:
        with client:
            ask(client)


def test_a_stop_does_not_wait_for_clients_that_keep_coming(manager: FakeManager) -> None:
    """They are in no hurry: the next host serves them. Who was taken is served to the end."""
    address = manager.listen("web")
    host = manager.start("--listen", "fd:web", settings={"lifecycle.quiet_seconds": 5})
    with connect(address) as served:
        ask(served)
        host.signal(signal.SIGTERM)
        host.wait_for("host_stopping")
        waiting = []

        def drained() -> bool:
            waiting.append(connect(address))
            return bool(host.events("worker_exited"))

        eventually(drained, "the worker without connections leaves")
        ask(served)
    assert host.wait() == 0
    again = manager.start("--listen", "fd:web")
    for client in waiting[-3:]:
        ask(client)
    for client in waiting:
        client.close()
    assert again.stop() == 0


def test_a_reload_keeps_what_was_passed_and_takes_more_of_it(
    manager: FakeManager, tmp_path: Path
) -> None:
    web, more = manager.listen("web"), manager.listen("more")
    settings = tmp_path / "host.toml"
    settings.write_text('listen = ["fd:web"]')
    host = manager.start("--config", str(settings), "--name", fresh_name())
    assert host.wait_for("socket_unused")["name"] == "fd:more"

    for listen, generation in ((["fd:web", "fd:more"], 1), (["fd:more"], 2), (["fd:web"], 3)):
        settings.write_text(f"listen = {listen}".replace("'", '"'))
        host.signal(signal.SIGHUP)
        host.wait_for("generation_ready", generation=generation)
        for address, name in ((web, "fd:web"), (more, "fd:more")):
            if name in listen:
                with connect(address) as client:
                    ask(client)

    settings.write_text('listen = ["fd:web", "fd:none"]')
    host.signal(signal.SIGHUP)
    reason = host.wait_for("reload_failed")["reason"]
    assert reason.startswith("cannot listen on fd:none: there is no such socket; there is: fd:web")
    with connect(web) as client:
        ask(client)


def test_neither_variables_nor_sockets_are_passed_on(manager: FakeManager) -> None:
    address = manager.listen("web")
    manager.watch(20)
    host = manager.start("--listen", "fd:web", plugin=str(SUPPORT / "variables.py"))
    host.signal(signal.SIGHUP)
    host.wait_for("generation_ready")
    with connect(address) as client:
        client.sendall(b"?")
        said = client.recv(65_536).decode()
    assert "PATH" in said
    assert "LISTEN_" not in said
    assert "NOTIFY_SOCKET" not in said
    assert "WATCHDOG_" not in said
    # Those of the child: three streams, and the folder that it reads.
    assert said.endswith("['0', '1', '2', '3']\n")


def test_what_is_not_passed_is_one_clear_message(refuse: Refuse) -> None:
    refusal = refuse("--plugin", "echo", "--listen", "fd:web")
    assert refusal.code == 5
    assert refusal.message == (
        "host: cannot listen on fd:web: there is no such socket; no service manager has passed any"
        " to this process: start it by the service that the socket unit belongs to\n"
    )


def test_a_unit_with_accept_is_refused(manager: FakeManager, refuse: Refuse) -> None:
    """It starts a program for each connection, and passes that one."""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()),
        server.accept()[0] as one,
    ):
        manager.add("web", one)
        with manager.passing() as passed:
            refusal = refuse("--plugin", "echo", "--listen", "fd:web", passed=passed)
    assert refusal.code == 5
    assert refusal.message == (
        "host: cannot listen on fd:web: it does not listen: it is a client's connection; set"
        " Accept=no in the socket unit, since one host serves all connections\n"
    )
