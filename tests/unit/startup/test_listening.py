"""Listeners are opened, or found among the sockets that an exec has left open."""

import os
from contextlib import closing
from types import SimpleNamespace

import pytest

from host.errors import ListenError
from host.net.activation import PassedSockets
from host.net.listeners import open_listener
from host.settings import Listen
from host.startup.listening import open_or_take
from host.supervisor.reload.handover import Serving, Socket
from host.supervisor.reload.sockets import bound_before


def unix(path):
    return Listen(address=f"unix:{path}")


def prepared(*served):
    """Return what a host is to run with that serves these."""
    return SimpleNamespace(served=list(served))


class Scene:
    """Listeners a, b, … of the supervisor before, of which the first so many are served."""

    def __init__(self, folder):
        self.folder = folder
        self.before, self.taken = [], []

    def path(self, name):
        return self.folder / f"{name}.sock"

    def listen(self, name):
        return unix(self.path(name)), "echo"

    def bind(self, *names):
        self.before = [open_listener(unix(self.path(name)), 0, "old") for name in names]

    def take(self, *names, served=1, failed=""):
        """Take over from the supervisor before; return the listeners and why it fails."""
        handed = SimpleNamespace(
            sockets=[
                Socket(
                    fd=os.dup(each.fileno()),
                    configured=each.configured,
                    max_rate=each.max_rate,
                    max_connections=each.max_connections,
                    address=each.view.address,
                    file=each.file,
                    source=each.source,
                )
                for each in self.before
            ],
            serving=Serving(generation=0, wake=0, sockets=list(range(served))),
        )
        self.inherited = bound_before(handed.sockets)
        wanted = prepared(*map(self.listen, names))
        self.taken, failed = open_or_take(
            wanted, handed, self.inherited, failed, PassedSockets(), []
        )
        return [each.view.address for each in self.taken], failed

    @property
    def open(self):
        """Whether each of the sockets that were handed over is open."""
        return [sock.fileno() >= 0 for sock in self.inherited]

    def close(self):
        for each in (*self.taken, *self.before, *self.inherited):
            each.close()


@pytest.fixture
def scene(tmp_path):
    with closing(Scene(tmp_path)) as scene:
        yield scene


def test_all_listeners_are_bound(tmp_path):
    first, second = tmp_path / "1.sock", tmp_path / "2.sock"
    wanted = prepared((unix(first), "echo"), (unix(second), "line"))
    listeners, failed = open_or_take(wanted, None, [], "", PassedSockets(), [])
    assert failed == ""
    views = [each.view for each in listeners]
    assert [(each.index, each.plugin) for each in views] == [(0, "echo"), (1, "line")]
    assert first.exists()
    assert second.exists()
    for listener in listeners:
        listener.close()
    assert list(tmp_path.iterdir()) == []


def test_if_one_listener_cannot_be_bound_none_is_left(tmp_path):
    wanted = prepared((unix(tmp_path / "1.sock"), "echo"), (unix(tmp_path / "no/2.sock"), "echo"))
    with pytest.raises(ListenError):
        open_or_take(wanted, None, [], "", PassedSockets(), [])
    assert list(tmp_path.iterdir()) == []


def test_after_an_exec_a_listener_has_the_socket_that_is_bound(scene):
    scene.bind("a")
    addresses, failed = scene.take("a", "b")
    assert addresses == [f"unix:{scene.path('a')}", f"unix:{scene.path('b')}"]
    assert failed == ""
    assert scene.taken[0].sock is scene.inherited[0]


def test_a_socket_that_nobody_uses_any_more_is_closed(scene):
    scene.bind("a", "b", "c")
    assert scene.take("c") == ([f"unix:{scene.path('c')}"], "")
    assert scene.open == [True, False, True]  # a is served until the new generation takes over


def test_an_address_that_is_refused_after_an_exec_is_why_the_generation_cannot_start(scene):
    scene.bind("a", "b")
    addresses, failed = scene.take("no/c")
    assert addresses == []
    assert failed.startswith(f"cannot listen on unix:{scene.path('no/c')}")
    assert scene.open == [True, False]


def test_a_generation_that_cannot_start_listens_nowhere(scene):
    scene.bind("a", "b")
    assert scene.take("b", "c", failed="no such plugin") == ([], "no such plugin")
    assert not scene.path("c").exists()
    assert scene.open == [True, False]


def test_a_file_that_was_made_for_a_generation_that_cannot_start_is_removed(scene):
    scene.bind("a", "b")
    assert scene.take("a", "b", failed="no such plugin")[1] == "no such plugin"
    assert scene.path("a").exists()
    assert not scene.path("b").exists()
