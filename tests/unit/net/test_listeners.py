"""Listening sockets and their files: opened with care, and given back."""

import errno
import os
import socket

import pytest

from host.errors import ListenError
from host.net.listeners import open_listener
from host.net.queue_length import queue_length
from host.net.socket_files import is_stale
from host.settings import Listen


def unix(path, **how):
    return Listen(address=f"unix:{path}", **how)


@pytest.fixture
def listen():
    opened = []

    def listen(*args):
        opened.append(open_listener(*args))
        return opened[-1]

    yield listen
    for each in opened:
        each.close()


def leave_behind(path):
    """Bind a socket file whose listener then goes without removing it."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        sock.listen()


def test_a_socket_file_has_its_mode_and_goes_with_the_listener(tmp_path, listen):
    path = tmp_path / "x.sock"
    listener = listen(unix(path, mode=0o640), 3, "echo")
    assert path.stat().st_mode & 0o777 == 0o640
    assert (listener.view.index, listener.view.plugin) == (3, "echo")
    assert listener.view.address == f"unix:{path}"
    listener.close()
    assert not path.exists()


def test_a_file_of_a_listener_that_is_gone_is_replaced(tmp_path, listen):
    path = tmp_path / "x.sock"
    leave_behind(path)
    assert is_stale(str(path))
    listen(unix(path), 0, "echo")
    assert not is_stale(str(path))


def test_a_listener_that_is_there_is_left_alone(tmp_path, listen):
    path = tmp_path / "x.sock"
    listen(unix(path), 0, "echo")
    with pytest.raises(ListenError, match="another process listens there") as caught:
        open_listener(unix(path), 0, "echo")
    assert caught.value.errno == errno.EADDRINUSE
    assert path.exists()


def test_a_busy_listener_is_not_taken_for_one_that_is_gone(tmp_path):
    path = tmp_path / "x.sock"
    with socket.socket(socket.AF_UNIX) as sock, socket.socket(socket.AF_UNIX) as client:
        sock.bind(str(path))
        sock.listen(0)
        client.connect(str(path))
        assert not is_stale(str(path))


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_is_no_socket_is_left_alone(tmp_path, kind):
    path = tmp_path / "x.sock"
    path.write_text("precious") if kind == "file" else path.mkdir()
    with pytest.raises(ListenError) as caught:
        open_listener(unix(path), 0, "echo")
    assert caught.value.errno == errno.EEXIST
    assert path.exists()


def test_a_folder_that_is_missing_is_named_as_the_cause(tmp_path):
    with pytest.raises(ListenError, match="make it first") as caught:
        open_listener(unix(tmp_path / "missing" / "x.sock"), 0, "echo")
    assert caught.value.errno == errno.ENOENT


def test_a_file_that_somebody_else_has_made_since_is_left_alone(tmp_path, listen):
    path = tmp_path / "x.sock"
    listener = listen(unix(path), 0, "echo")
    path.rename(tmp_path / "moved.sock")
    path.write_text("theirs")
    listener.close()
    assert path.read_text() == "theirs"


def test_a_shut_gate_takes_the_file_away_and_keeps_who_is_in(tmp_path, listen):
    path = tmp_path / "x.sock"
    listener = listen(unix(path), 0, "echo")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        listener.shut_gate()
        assert not path.exists()
        accepted, _ = listener.sock.accept()
        accepted.close()


def test_closing_gives_back_every_descriptor(tmp_path):
    before = sorted(os.listdir("/proc/self/fd"))
    listener = open_listener(unix(tmp_path / "x.sock"), 0, "echo")
    queue_length(listener)
    listener.close()
    assert sorted(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("tcp://127.0.0.1:0", True),
        ("tcp://[::1]:0", True),
        ("unix:@test-{pid}", True),
        ("tcp://*:0", False),
    ],
)
def test_a_listener_is_local_if_only_programs_of_this_machine_reach_it(listen, address, local):
    listener = listen(Listen(address=address.format(pid=os.getpid())), 0, "echo")
    assert listener.is_local is local
