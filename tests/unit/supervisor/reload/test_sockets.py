"""Sockets that are bound already are found again by their settings, and all others are opened."""

import os
import socket
import stat
from contextlib import ExitStack

import pytest

from host.errors import ListenError
from host.interfaces import Listener
from host.net.activation import Passed, PassedSockets
from host.net.listeners import open_listener
from host.net.queue_length import queue_length
from host.net.shards import open_group
from host.settings import Listen
from host.supervisor.reload.handover import Socket
from host.supervisor.reload.sockets import (
    bound_before,
    changed_shards,
    open_missing,
    take_listeners,
)

ANY = "tcp://127.0.0.1:0"


class Scene:
    """The sockets of the process before, and what is opened or taken from them."""

    def __init__(self):
        self._stack = ExitStack()
        self.before, self.passed = [], PassedSockets()

    def open(self, *listens):
        """Bind them as the process before has done; return them as it hands them over."""
        for listen in listens:
            self.before.append(self.keep(open_listener(listen, len(self.before), "old")))
        return [
            Socket(
                fd=each.fileno(),
                configured=each.configured,
                max_rate=each.max_rate,
                max_connections=each.max_connections,
                address=each.view.address,
                file=each.file,
                source=each.source,
            )
            for each in self.before
        ]

    def keep(self, listener):
        self._stack.callback(listener.close)
        return listener

    def take(self, *served, handed):
        """Take listeners for (listen, plugin)."""
        socks = [each.sock for each in self.before]
        return [self.keep(each) for each in take_listeners(served, handed, socks, self.passed)]

    def missing(self, *listens):
        return [self.keep(each) for each in open_missing(listens, self.before, self.passed)]

    def close(self):
        self._stack.close()


@pytest.fixture
def scene():
    made = Scene()
    yield made
    made.close()


def unix(folder, name="x.sock", **more):
    return Listen(address=f"unix:{folder}/{name}", **more)


def open_descriptors():
    return len(os.listdir("/proc/self/fd"))


def taken_address():
    """An address that nobody else can listen on, and the socket that does."""
    sock = socket.create_server(("127.0.0.1", 0))
    return sock, f"tcp://127.0.0.1:{sock.getsockname()[1]}"


def test_sockets_that_an_exec_left_open_are_sockets_again():
    one, other = socket.socketpair()
    fd = os.dup(one.fileno())
    known = {"max_rate": 0, "max_connections": 0, "file": None, "source": "opened"}
    [found] = bound_before([Socket(fd=fd, configured="", address="", **known)])
    with one, other, found:
        assert found.fileno() == fd
        found.send(b"x")
        assert other.recv(9) == b"x"


def test_the_same_address_keeps_its_socket_and_gets_its_new_number_and_plugin(scene, tmp_path):
    handed = scene.open(Listen(address=ANY), unix(tmp_path))
    tcp, local = scene.before
    served = [(unix(tmp_path), "chat"), (Listen(address=ANY), "echo")]
    one, other = scene.take(*served, handed=handed)
    assert (one.sock, other.sock) == (local.sock, tcp.sock)
    assert one.view == Listener(0, f"unix:{tmp_path}/x.sock", "chat")
    assert other.view == Listener(1, tcp.view.address, "echo")
    assert (one.file, other.file) == (local.file, None)
    assert (one.configured, other.configured) == (local.configured, ANY)


def test_an_address_is_the_same_however_it_is_written(scene):
    handed = scene.open(Listen(address="tcp://localhost:0"))
    [one] = scene.take((Listen(address=ANY), "echo"), handed=handed)
    assert one.sock is scene.before[0].sock


def test_each_socket_on_any_port_is_taken_once(scene):
    handed = scene.open(Listen(address=ANY), Listen(address=ANY))
    three = scene.take(*[(Listen(address=ANY), "echo")] * 3, handed=handed)
    assert [each.sock for each in three[:2]] == [each.sock for each in scene.before]
    assert three[2].sock not in [each.sock for each in scene.before]
    assert len({each.view.address for each in three}) == 3
    assert [each.view.index for each in three] == [0, 1, 2]


def test_the_port_that_any_port_became_is_another_address(scene):
    """Settings that say a port mean that port: the socket on any port is not theirs."""
    handed = scene.open(Listen(address=ANY))
    address = handed[0].address
    with pytest.raises(ListenError, match="in use"):
        scene.take((Listen(address=address), "echo"), handed=handed)


def test_what_nobody_asks_for_is_left_alone(scene):
    handed = scene.open(Listen(address=ANY))
    assert scene.take(handed=handed) == []
    assert scene.before[0].sock.getsockname()


def test_an_address_that_is_new_is_opened_and_numbered(scene, tmp_path):
    handed = scene.open(Listen(address=ANY))
    one, other = scene.take((unix(tmp_path), "chat"), (Listen(address=ANY), "echo"), handed=handed)
    assert one.view == Listener(0, f"unix:{tmp_path}/x.sock", "chat")
    assert stat.S_ISSOCK(os.stat(tmp_path / "x.sock").st_mode)
    assert other.sock is scene.before[0].sock


def test_one_that_cannot_be_opened_leaves_none_open_and_the_old_ones_as_they_were(scene, tmp_path):
    handed = scene.open(Listen(address=ANY))
    blocker, address = taken_address()
    with blocker:
        before = open_descriptors()
        served = [unix(tmp_path), Listen(address=ANY), Listen(address=address)]
        with pytest.raises(ListenError, match="in use"):
            scene.take(*[(listen, "echo") for listen in served], handed=handed)
        assert open_descriptors() == before
    assert not os.path.exists(tmp_path / "x.sock")
    with socket.create_connection(scene.before[0].sock.getsockname(), 5):
        pass


def test_a_socket_file_of_the_host_itself_is_named_however_its_path_is_written(scene, tmp_path):
    handed = scene.open(unix(tmp_path))
    (tmp_path / "link").symlink_to(tmp_path)
    other = Listen(address=f"unix:{tmp_path}/link/x.sock")
    with pytest.raises(ListenError, match=f"this host listens on unix:{tmp_path}/x.sock itself"):
        scene.take((unix(tmp_path), "echo"), (other, "echo"), handed=handed)
    with pytest.raises(ListenError, match="itself"):
        scene.missing(unix(tmp_path), other)


def test_a_listener_of_the_host_itself_that_has_the_port_is_named(scene):
    handed = scene.open(Listen(address=ANY))
    address = handed[0].address
    port = address.rpartition(":")[2]
    with pytest.raises(ListenError, match=f"this host listens on {address} itself"):
        scene.take((Listen(address=f"tcp://*:{port}"), "echo"), handed=handed)
    blocker, taken = taken_address()
    with blocker, pytest.raises(ListenError, match="another process listens there"):
        scene.take((Listen(address=taken), "echo"), handed=handed)


def test_the_backlog_is_as_the_settings_have_it_now(scene, tmp_path):
    handed = scene.open(Listen(address=ANY, backlog=5), unix(tmp_path, backlog=5))
    served = [(Listen(address=ANY, backlog=9), "echo"), (unix(tmp_path, backlog=9), "echo")]
    for listener in scene.take(*served, handed=handed):
        assert queue_length(listener)[1] == 9
        assert listener.wanted == 9


def test_the_mode_is_as_the_settings_have_it_now(scene, tmp_path):
    handed = scene.open(unix(tmp_path))
    assert stat.S_IMODE(os.stat(tmp_path / "x.sock").st_mode) == 0o600
    scene.take((unix(tmp_path, mode=0o640), "echo"), handed=handed)
    assert stat.S_IMODE(os.stat(tmp_path / "x.sock").st_mode) == 0o640


def lose(path, how):
    """Have the file of a socket be gone, or be another one."""
    if how == "moved":
        path.rename(path.with_suffix(".moved"))
        return
    path.unlink()
    if how == "stale":
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(str(path))


@pytest.mark.parametrize("how", ["removed", "moved", "stale"])
def test_a_socket_whose_file_is_lost_is_opened_anew_before_the_exec_and_taken_after_it(
    scene, tmp_path, how
):
    scene.open(unix(tmp_path))
    lose(tmp_path / "x.sock", how)
    [new] = scene.missing(unix(tmp_path), Listen(address=ANY))[:1]
    assert new.file.state == "present"
    scene.before.append(new)
    handed = scene.open()
    [taken] = scene.take((unix(tmp_path), "echo"), handed=handed)
    assert taken.sock is new.sock
    assert taken.trouble == ""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / "x.sock"))
        assert scene.before[0].sock.gettimeout() == 0
        taken.sock.accept()[0].close()


def test_a_socket_whose_file_is_lost_is_opened_anew_also_without_an_exec_before(scene, tmp_path):
    handed = scene.open(unix(tmp_path))
    lose(tmp_path / "x.sock", "removed")
    [taken] = scene.take((unix(tmp_path), "echo"), handed=handed)
    assert taken.sock is not scene.before[0].sock
    assert taken.file.state == "present"


@pytest.mark.parametrize(
    ("how", "state", "cause"),
    [
        ("folder", "gone", "its folder does not exist: make it first"),
        ("listens", "replaced", "another process listens there"),
        ("bound", "replaced", "another process listens there"),
        ("file", "replaced", "it is no socket: remove it"),
    ],
)
def test_a_socket_that_gets_no_other_file_goes_on_and_says_why(scene, tmp_path, how, state, cause):
    folder = tmp_path / "folder"
    folder.mkdir()
    handed = scene.open(unix(folder), Listen(address=ANY))
    path = folder / "x.sock"
    path.unlink()
    with socket.socket(socket.AF_UNIX) as theirs:
        if how == "folder":
            folder.rmdir()
        elif how == "file":
            path.write_text("theirs")
        else:
            theirs.bind(str(path))
            if how == "listens":
                theirs.listen()
        served = [(unix(folder), "echo"), (Listen(address=ANY), "echo")]
        assert scene.missing(*[listen for listen, _ in served]) == []
        one, other = scene.take(*served, handed=handed)
        assert [one.sock, other.sock] == [each.sock for each in scene.before]
        assert cause in one.trouble
        assert other.trouble == ""
        assert one.file.state == state
        one.close()
        assert path.exists() == (how != "folder")


def test_a_mode_that_an_operator_has_changed_stays_until_the_settings_change_it(scene, tmp_path):
    handed = scene.open(unix(tmp_path))
    path = tmp_path / "x.sock"
    path.chmod(0o666)
    [taken] = scene.take((unix(tmp_path), "echo"), handed=handed)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666
    assert taken.file.mode == 0o600
    [taken] = scene.take((unix(tmp_path, mode=0o660), "echo"), handed=handed)
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    assert taken.file.mode == 0o660


def test_a_file_that_somebody_else_has_put_there_is_left_alone(scene, tmp_path):
    handed = scene.open(unix(tmp_path))
    os.unlink(tmp_path / "x.sock")
    (tmp_path / "x.sock").write_text("mine")
    os.chmod(tmp_path / "x.sock", 0o400)
    [taken] = scene.take((unix(tmp_path, mode=0o666), "echo"), handed=handed)
    assert "it is no socket" in taken.trouble
    assert stat.S_IMODE(os.stat(tmp_path / "x.sock").st_mode) == 0o400


def test_only_what_is_not_held_is_opened(scene, tmp_path):
    scene.open(Listen(address=ANY))
    [opened] = scene.missing(unix(tmp_path), Listen(address=ANY))
    assert opened.view.address == f"unix:{tmp_path}/x.sock"
    assert scene.missing(Listen(address=ANY)) == []
    assert scene.missing() == []


def test_each_socket_that_is_held_counts_once(scene):
    scene.open(Listen(address=ANY))
    opened = scene.missing(*[Listen(address=ANY)] * 3)
    assert len(opened) == 2
    assert {each.configured for each in opened} == {ANY}


def test_a_socket_that_two_generations_hold_counts_once(scene):
    scene.open(Listen(address=ANY))
    scene.before *= 2
    assert len(scene.missing(*[Listen(address=ANY)] * 2)) == 1


def test_opening_is_all_or_none(scene, tmp_path):
    scene.open(Listen(address=ANY))
    blocker, address = taken_address()
    with blocker:
        before = open_descriptors()
        with pytest.raises(ListenError, match="in use"):
            scene.missing(unix(tmp_path), Listen(address=address))
        assert open_descriptors() == before
    assert not os.path.exists(tmp_path / "x.sock")


def test_a_socket_that_was_passed_is_found_again_or_taken_when_the_settings_want_it(
    scene,
):
    servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    sockets = [Passed(f"s{at}", os.dup(each.fileno())) for at, each in enumerate(servers)]
    scene.passed = PassedSockets(sockets)
    first, second = Listen(address="fd:s0"), Listen(address="fd:s1")
    [before] = scene.missing(first)
    scene.before.append(before)
    handed = scene.open()
    assert scene.missing(first) == []
    [opened] = scene.missing(second)
    assert opened.view.address == f"tcp://127.0.0.1:{servers[1].getsockname()[1]}"
    one, other = scene.take((first, "echo"), (second, "echo"), handed=handed)
    assert one.sock is before.sock
    assert (one.source, other.source) == ("passed", "passed")
    scene.passed.close()
    for each in servers:
        each.close()


def test_a_group_of_sockets_cannot_get_more_or_fewer(scene):
    first, second = (
        Listen(address="udp://127.0.0.1:0", plugin="line", shards=number) for number in (2, 3)
    )
    groups = [scene.keep(open_group(each, 0, "line")) for each in (first, second)]
    assert changed_shards([first, second], groups) == ""
    assert changed_shards([first], groups) == ""
    more = second.model_copy(update={"shards": 5})
    others = [more, Listen(address=ANY, plugin="line")]
    assert changed_shards([first, *others, more], [*groups, *groups]) == (
        "shards of udp://127.0.0.1:0 change from 3 to 5, which takes a restart"
    )
    assert changed_shards([more], []) == ""
