"""Sockets get a name in the store of a service manager, and are found by it."""

import os
import socket
from contextlib import ExitStack

import pytest

from host.net import gates
from host.net.activation import Passed, PassedSockets
from host.net.listeners import open_listener
from host.net.socket_store import changes, find, inode
from host.settings import Listen

ANY = "tcp://127.0.0.1:0"


class Store:
    """The store, as far as it is known, and the sockets that are in it."""

    def __init__(self):
        self._stack = ExitStack()
        self.inodes, self.sockets = {}, {}

    def open(self, *addresses):
        opened = [open_listener(Listen(address=each), 0, "echo") for each in addresses]
        for each in opened:
            self._stack.callback(each.close)
        return opened

    def change(self, *listeners):
        """Change it; return the names that were removed and added."""
        removed, added = changes(self.inodes, listeners)
        for name in removed:
            del self.inodes[name], self.sockets[name]
        for name, listener in added.items():
            self.inodes[name] = inode(listener.sock)
            self.sockets[name] = os.dup(listener.fileno())
            self._stack.callback(os.close, self.sockets[name])
        return removed, list(added)

    def find(self, *others):
        """Return what the next host finds, and what else it was passed."""
        passed = [Passed(name, os.dup(fd)) for name, fd in self.sockets.items()]
        found, rest = find(PassedSockets([*passed, *others]))
        for each in found:
            self._stack.callback(each.sock.close)
        return found, rest

    def close(self):
        self._stack.close()


@pytest.fixture
def store():
    made = Store()
    yield made
    made.close()


def test_what_is_listened_on_is_stored_once(store):
    one, other = store.open(ANY, f"unix:@prefork-store-{os.getpid()}")
    assert store.change(one, other)[1] == [
        "prefork=tcp%3A//127.0.0.1%3A0",
        f"prefork=unix%3A@prefork-store-{os.getpid()}",
    ]
    assert store.change(other, one) == ([], [])
    assert store.change(other) == (["prefork=tcp%3A//127.0.0.1%3A0"], [])
    assert len(store.change()[0]) == 1


def test_sockets_on_any_port_have_names_of_their_own(store):
    one, two, three = store.open(ANY, ANY, ANY)
    first = "prefork=tcp%3A//127.0.0.1%3A0"
    assert store.change(one, two)[1] == [first, f"{first}#2"]
    assert store.change(two, three) == ([first], [first])
    found, _ = store.find()
    assert [each.configured for each in found] == [ANY, ANY]
    assert {each.address for each in found} == {two.view.address, three.view.address}


@pytest.mark.parametrize("name", ["x y.sock", "a:b#7", "é%41=", "x\n", "\udcff"])
def test_a_path_is_found_whatever_is_in_it(store, tmp_path, name):
    [listener] = store.open(f"unix:{tmp_path}/{name}")
    [stored] = store.change(listener)[1]
    assert stored.isascii()
    assert stored.isprintable()
    assert ":" not in stored
    [found], _ = store.find()
    assert found.configured == f"unix:{tmp_path}/{name}"
    assert found.address == f"unix:{tmp_path}/{name}"
    assert found.file == listener.file


def test_a_name_that_would_be_too_long_is_not_stored(store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    [listener] = store.open("unix:" + "é" * 53)
    assert store.change(listener) == ([], [])


def test_what_the_service_manager_has_opened_is_none_of_it(store):
    with socket.create_server(("127.0.0.1", 0)) as server:
        web = Passed("web", os.dup(server.fileno()))
        found, rest = store.find(web)
        assert found == []
        supply = rest.supply([Listen(address="fd:web")])
        listener = open_listener(Listen(address="fd:web"), 0, "echo", supply)
        assert store.change(listener) == ([], [])
        listener.close()
        rest.close()


def test_a_file_that_is_somebody_elses_by_now_is_not_there(store, tmp_path):
    path = tmp_path / "x.sock"
    [listener] = store.open(f"unix:{path}")
    store.change(listener)
    path.unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        [found], _ = store.find()
        assert found.file.state == "replaced"
        path.unlink()
        [found], _ = store.find()
        assert found.file.state == "gone"


@pytest.mark.parametrize("address", [ANY, "tcp://[::1]:0"])
def test_a_gate_that_was_shut_is_open_for_the_next_host(store, address):
    [listener] = store.open(address)
    store.change(listener)
    gates.shut(listener.sock)
    gates._set_least_ttl(listener.sock, 255)  # as where no filter is allowed
    [found], _ = store.find()
    found.sock.settimeout(10)
    with socket.create_connection(found.sock.getsockname()[:2], timeout=10):
        found.sock.accept()[0].close()


@pytest.mark.parametrize("kind", ["file", "datagrams", "connection"])
def test_what_no_host_has_stored_is_left_among_the_others(store, kind):
    with ExitStack() as stack:
        if kind == "file":
            passed = stack.enter_context(open(os.devnull, "rb"))
        elif kind == "datagrams":
            passed = stack.enter_context(socket.socket(type=socket.SOCK_DGRAM))
        else:
            passed, _other = map(stack.enter_context, socket.socketpair())
        each = Passed("prefork=tcp%3A//127.0.0.1%3A7000", os.dup(passed.fileno()))
        stack.callback(os.close, each.fd)
        found, rest = store.find(each)
        assert found == []
        assert rest.sockets == (each,)
