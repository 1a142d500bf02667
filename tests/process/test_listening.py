"""Several listeners at once, and addresses that are taken, stale or free."""

from __future__ import annotations

import os
import signal
import socket
import stat
from contextlib import closing
from pathlib import Path

import pytest

from host.testing.machine import patience
from support.address import connect
from support.asking import fresh_name, query
from support.hosting import BULK, WHOAMI, Load, Refuse, Start, spread
from support.session import ask
from support.targets import parse

pytestmark = [pytest.mark.process, pytest.mark.warm]


def test_each_listener_is_served_by_its_own_plugin(start: Start, load: Load) -> None:
    host = start(
        "--plugin",
        BULK,
        "--plugin",
        "echo",
        listen=("tcp4=whoami", "tcp6=bulk", "unix=echo", "unix=whoami"),
        workers=3,
    )
    assert [event["plugin"] for event in host.events("listening")] == [
        "whoami",
        "bulk",
        "echo",
        "whoami",
    ]
    first, bulk, echo, last = host.addresses
    with connect(bulk) as client:
        client.sendall(b"100000\n")
        received = 0
        while received < 100_000:
            received += len(client.recv(65_536))
    with connect(echo) as client:
        client.sendall(b"hello")
        assert client.recv(100) == b"hello"
    for address in (first, last):
        result = load.burst(address, 100, group=address)
        assert result["failures"] == {}
        counts, difference = spread(result["answers"], 3)
        assert difference <= 1, counts
    assert load.burst(echo, 100, group="echo")["failures"] == {}


def test_bursts_on_several_listeners_at_once_are_answered(start: Start, load: Load) -> None:
    host = start(listen=("tcp4", "tcp6", "unix", "tcp4"), workers=4)
    for address in host.addresses:
        load.open(address, 200, group="all")
    result = load.exchange(group="all")
    assert result["failures"] == {}
    counts, difference = spread(result["answers"], 4)
    # Every listener has a turn of its own, each exact to one.
    assert difference <= 4, counts
    assert sum(counts) == 800


def test_a_socket_file_has_its_mode_and_goes_with_the_host(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "own.sock"
    host = start(listen=(f"unix:{path}",))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert host.stop() == 0
    assert not path.exists()


def test_an_abstract_address_needs_no_file(start: Start, load: Load) -> None:
    name = f"@prefork-test-{os.getpid()}"
    host = start(listen=(f"unix:{name}",))
    assert host.address == f"unix:{name}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(patience(10))
        client.connect("\0" + name[1:])
        client.sendall(b"hello\n")
        assert client.recv(100).endswith(b"hello\n")


def test_a_stale_socket_file_is_replaced(start: Start, load: Load, tmp_path: Path) -> None:
    path = tmp_path / "stale.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as gone:
        gone.bind(str(path))
        gone.listen()
    assert path.is_socket()
    host = start(listen=(f"unix:{path}",))
    assert load.burst(host.address, 10)["failures"] == {}


def test_a_socket_file_that_another_host_has_taken_over_is_left_alone(
    start: Start, load: Load, tmp_path: Path
) -> None:
    path = tmp_path / "contested.sock"
    first = start(listen=(f"unix:{path}",))
    path.unlink()
    second = start(listen=(f"unix:{path}",))
    assert first.stop() == 0
    assert path.is_socket()
    assert load.burst(second.address, 10)["failures"] == {}


def test_a_live_socket_file_is_refused_and_its_owner_unharmed(
    start: Start, refuse: Refuse, load: Load
) -> None:
    host = start(listen=("unix",))
    refusal = refuse("--plugin", WHOAMI, "--listen", host.address)
    assert refusal.code == 5
    assert host.address in refusal.message
    assert "another process listens there" in refusal.message
    assert load.burst(host.address, 20)["failures"] == {}


def test_a_file_that_is_no_socket_is_not_touched(refuse: Refuse, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("precious")
    refusal = refuse("--plugin", WHOAMI, "--listen", f"unix:{path}")
    assert refusal.code == 5
    assert "it is no socket" in refusal.message
    assert path.read_text() == "precious"


@pytest.mark.parametrize("family", ["tcp4", "tcp6"])
def test_a_port_in_use_is_refused(start: Start, refuse: Refuse, load: Load, family: str) -> None:
    host = start(listen=(family,))
    refusal = refuse("--plugin", WHOAMI, "--listen", host.address)
    assert refusal.code == 5
    assert f"cannot listen on {host.address}: Address already in use" in refusal.message
    assert len(refusal.message.splitlines()) == 1
    assert load.burst(host.address, 20)["failures"] == {}


def test_if_one_address_is_taken_the_others_are_given_back(
    start: Start, refuse: Refuse, tmp_path: Path
) -> None:
    host = start(listen=("tcp4",))
    path = tmp_path / "first.sock"
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        free = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    addresses = ("--listen", f"unix:{path}", "--listen", free, "--listen", host.address)
    refusal = refuse("--plugin", WHOAMI, *addresses)
    assert refusal.code == 5
    assert host.address in refusal.message
    assert not path.exists()
    assert start(listen=(free,)).address == free


def test_a_port_is_free_as_soon_as_a_host_has_ended(start: Start, load: Load) -> None:
    address = "tcp4"
    for turn in range(3):
        host = start(listen=(address,))
        assert load.burst(host.address, 50, group=str(turn))["failures"] == {}
        address = host.address
        load.close(group=str(turn))
        assert host.stop() == 0


def test_a_folder_that_does_not_exist(refuse: Refuse, tmp_path: Path) -> None:
    refusal = refuse("--plugin", WHOAMI, "--listen", f"unix:{tmp_path}/missing/x.sock")
    assert refusal.code == 5
    assert "its folder does not exist" in refusal.message


def test_an_address_that_no_interface_has(refuse: Refuse) -> None:
    refusal = refuse("--plugin", WHOAMI, "--listen", "tcp://192.0.2.1:0")
    assert refusal.code == 5
    assert "no network interface of this machine has that address" in refusal.message


def test_a_folder_that_is_not_to_be_written_to(refuse: Refuse, tmp_path: Path) -> None:
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o555)
    refusal = refuse("--plugin", "echo", "--listen", f"unix:{folder}/x.sock", unprivileged=True)
    assert refusal.code == 5
    assert "Permission denied" in refusal.message


RESERVED_BELOW = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())


@pytest.mark.skipif(RESERVED_BELOW < 2, reason="this machine reserves no ports")
def test_a_port_that_needs_a_privilege(refuse: Refuse) -> None:
    refusal = refuse("--plugin", "echo", "--listen", "tcp://127.0.0.1:1", unprivileged=True)
    assert refusal.code == 5
    assert "Permission denied" in refusal.message
    assert "CAP_NET_BIND_SERVICE" in refusal.message


def test_a_killed_hosts_socket_file_does_not_stop_the_next_one(start: Start, load: Load) -> None:
    host = start(listen=("unix",))
    host.signal(signal.SIGKILL)
    assert host.wait() == -signal.SIGKILL
    path = parse(host.address)[1]
    assert isinstance(path, str)
    assert Path(path).is_socket()
    again = start(listen=(host.address,))
    assert load.burst(again.address, 10)["failures"] == {}


@pytest.mark.parametrize("how", ["removed", "moved", "stale"])
def test_a_reload_makes_a_lost_socket_file_anew(start: Start, tmp_path: Path, how: str) -> None:
    path, moved = tmp_path / "own.sock", tmp_path / "moved.sock"
    name = fresh_name()
    host = start("--name", name, listen=(f"unix:{path}", "tcp4"))
    with connect(f"unix:{path}") as before:
        ask(before)
        path.rename(moved) if how == "moved" else path.unlink()
        if how == "stale":
            with socket.socket(socket.AF_UNIX) as sock:
                sock.bind(str(path))
        files = [each["file"] for each in query(name, "status")["listeners"]]
        assert files == ["replaced" if how == "stale" else "gone", None]
        query(name, "reload")
        host.wait_for("generation_ready")
        assert [each["file"] for each in query(name, "status")["listeners"]] == ["present", None]
        for address in (f"unix:{path}", host.addresses[1]):
            with connect(address) as client:
                ask(client)
        assert not host.events("not_listening")
        ask(before)
    assert host.stop() == 0
    assert not path.exists()
    moved.unlink(missing_ok=True)  # nobody but its mover knows where it is


def test_a_socket_file_that_cannot_be_made_anew_is_named_and_the_reload_goes_on(
    start: Start, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    name = fresh_name()
    host = start("--name", name, listen=(f"unix:{folder}/own.sock", "tcp4"))
    (folder / "own.sock").unlink()
    folder.rmdir()
    query(name, "reload")
    host.wait_for("generation_ready")
    lost = host.wait_for("socket_file_lost")
    assert lost["address"] == f"unix:{folder}/own.sock"
    assert "its folder does not exist" in lost["cause"]
    with connect(host.addresses[1]) as client:
        ask(client)
    folder.mkdir()
    query(name, "reload")
    host.wait_for("generation_ready", count=2)
    with connect(f"unix:{folder}/own.sock") as client:
        ask(client)
    assert host.stop() == 0
    assert list(folder.iterdir()) == []


def test_what_somebody_else_has_put_in_the_place_of_a_socket_file_stays(
    start: Start, tmp_path: Path
) -> None:
    path = tmp_path / "own.sock"
    name = fresh_name()
    host = start("--name", name, listen=(f"unix:{path}", "tcp4"))
    path.unlink()
    with socket.socket(socket.AF_UNIX) as theirs:
        theirs.bind(str(path))
        query(name, "reload")
        host.wait_for("generation_ready")
        assert "another process" in host.wait_for("socket_file_lost")["cause"]
        theirs.listen()
        assert host.stop() == 0
        with connect(f"unix:{path}"):
            theirs.accept()[0].close()
    path.unlink()


def test_an_address_that_the_host_itself_has_is_told_so_and_nothing_is_left(
    refuse: Refuse, tmp_path: Path
) -> None:
    """Where it is shown how a host is, and the same file under another name."""
    for more in (("--ops", "unix:./x.sock"), ("--listen", "unix:./x.sock")):
        own = ("--name", fresh_name(), "--plugin", WHOAMI, "--listen", "unix:x.sock")
        refusal = refuse(*own, *more)
        assert refusal.code == 5
        assert "this host listens on unix:x.sock itself" in refusal.message
        assert not (tmp_path / "x.sock").exists()
