"""The gate closes the listeners once nobody has come for a while, and never later than it may."""

import pytest

from host.net.quiesce import HANDSHAKE_STEP_SECONDS, LOCAL_QUIET_SECONDS, PATIENCE_SECONDS, Gate
from support.fakes import FakeLoop


class Listening:
    def __init__(self, story, fd, is_local, is_kept=False):
        self._story, self._fd, self.is_local, self.is_kept = story, fd, is_local, is_kept
        self.sock = ("the socket of", fd)

    def fileno(self):
        return self._fd

    def shut_gate(self):
        self._story.append(("shut", self._fd))

    def close(self):
        self._story.append(("close", self._fd))


class Scene:
    def __init__(self, *, local=(True, True), kept=(False, False), quiet_seconds=0.5):
        self.loop, self.story, self.quiet, self.asked = FakeLoop(), [], True, 0
        self.under_way, self.confirms, self.looked_at = False, False, []
        for fd in (3, 4):
            self.loop.add(fd, 1, lambda mask: None)
        self.gate = Gate(
            self.loop,
            [Listening(self.story, *each) for each in zip((3, 4), local, kept, strict=True)],
            quiet_seconds,
            quiet=self.ask,
            done=lambda: self.story.append(("done", self.loop.now)),
            under_way=self.look_for_handshakes,
        )

    def ask(self):
        self.asked += 1
        return self.quiet

    def look_for_handshakes(self, sockets):
        self.looked_at.append(list(sockets))
        self.quiet = self.quiet and not self.confirms
        return self.under_way

    @property
    def closed_after(self):
        [when] = [value for what, value in self.story if what == "done"]
        return pytest.approx(when - 100.0, abs=0.011)


def test_the_gates_are_shut_at_once_and_the_listeners_stay_open():
    scene = Scene()
    scene.gate.shut(100.0, 30.0)
    assert scene.story == [("shut", 3), ("shut", 4)]
    assert scene.gate.open
    assert set(scene.loop.watched) == {3, 4}


def test_the_listeners_are_closed_when_it_has_been_quiet_for_long_enough():
    scene = Scene()
    scene.gate.shut(100.0, 30.0)
    scene.loop.advance(101.0)
    assert scene.closed_after == LOCAL_QUIET_SECONDS
    assert scene.story[2:4] == [("close", 3), ("close", 4)]
    assert scene.loop.watched == {}
    assert not scene.gate.open


def test_whoever_comes_in_makes_it_wait_again():
    scene = Scene()
    scene.gate.shut(100.0, 30.0)
    scene.loop.advance(100.04)
    scene.quiet = False
    scene.loop.advance(100.08)
    scene.quiet = True
    scene.loop.advance(101.0)
    assert scene.closed_after == 0.08 + LOCAL_QUIET_SECONDS


@pytest.mark.parametrize("patience", [0.5, 30.0])
def test_it_does_not_wait_for_ever(patience):
    scene = Scene()
    scene.quiet = False
    scene.gate.shut(100.0, patience)
    scene.loop.advance(110.0)
    assert scene.closed_after == min(patience, PATIENCE_SECONDS)


def test_without_patience_it_closes_at_once():
    scene = Scene()
    scene.quiet = False
    scene.gate.shut(100.0, 0.0)
    assert not scene.gate.open


def test_it_is_closed_once_and_looks_no_more():
    scene = Scene()
    scene.gate.shut(100.0, 30.0)
    scene.gate.close()
    asked = scene.asked
    scene.gate.close()
    scene.loop.advance(110.0)
    assert [what for what, _ in scene.story].count("done") == 1
    assert scene.asked == asked


@pytest.mark.parametrize("local", [(False, False), (True, False)])
def test_where_others_reach_a_listener_the_quiet_time_is_that_of_the_settings(local):
    scene = Scene(local=local, quiet_seconds=0.3)
    scene.gate.shut(100.0, 30.0)
    scene.loop.advance(101.0)
    assert scene.closed_after == 0.3


def test_a_long_quiet_time_is_waited_for_even_if_somebody_comes_within_it():
    scene = Scene(local=(False, False), quiet_seconds=3.0)
    scene.gate.shut(100.0, 30.0)
    scene.loop.advance(102.9)
    scene.quiet = False
    scene.loop.advance(102.91)
    scene.quiet = True
    scene.loop.advance(110.0)
    assert scene.closed_after == 2.91 + 3.0


def test_handshakes_that_are_under_way_are_waited_for():
    scene = Scene()
    scene.under_way = True
    scene.gate.shut(100.0, 30.0)
    scene.loop.advance(101.0)
    assert scene.gate.open
    assert scene.looked_at[0] == [("the socket of", 3), ("the socket of", 4)]
    scene.under_way = False
    scene.loop.advance(102.0)
    [when] = [value for what, value in scene.story if what == "done"]
    assert 101.0 <= when <= 101.0 + HANDSHAKE_STEP_SECONDS


def test_a_handshake_that_never_ends_is_not_waited_for_for_ever():
    scene = Scene()
    scene.under_way = True
    scene.gate.shut(100.0, 30.0)
    scene.loop.advance(110.0)
    assert scene.closed_after == PATIENCE_SECONDS


def test_the_kernel_is_asked_for_handshakes_only_when_all_else_is_quiet_and_not_often():
    scene = Scene()
    scene.under_way = True
    scene.gate.shut(100.0, 30.0)
    scene.loop.advance(100.0 + LOCAL_QUIET_SECONDS - 0.01)
    assert scene.looked_at == []
    scene.loop.advance(110.0)
    assert len(scene.looked_at) <= PATIENCE_SECONDS / HANDSHAKE_STEP_SECONDS + 1


def test_a_client_that_confirms_while_the_kernel_is_asked_is_found_in_its_queue():
    scene = Scene()
    scene.confirms = True
    scene.gate.shut(100.0, 30.0)
    scene.loop.advance(101.0)
    assert scene.looked_at
    assert scene.gate.open


def test_nobody_is_waited_for_on_a_socket_that_the_service_manager_keeps():
    scene = Scene(local=(False, False), kept=(True, True), quiet_seconds=0.5)
    scene.gate.shut(100.0, 30.0)
    while scene.gate.open:
        scene.loop.advance(scene.loop.now + 0.005)
    assert scene.closed_after == LOCAL_QUIET_SECONDS
    assert scene.looked_at == [[]]


def test_a_socket_that_the_service_manager_keeps_makes_no_other_wait_less():
    scene = Scene(local=(False, False), kept=(True, False), quiet_seconds=0.5)
    scene.gate.shut(100.0, 30.0)
    while scene.gate.open:
        scene.loop.advance(scene.loop.now + 0.005)
    assert scene.closed_after == 0.5
    assert scene.looked_at == [[("the socket of", 4)]]


def test_without_listeners_it_is_over_as_soon_as_all_is_quiet():
    loop, done, quiet = FakeLoop(), [], []
    gate = Gate(loop, [], 0.5, quiet=lambda: bool(quiet), done=lambda: done.append(loop.now))
    gate.shut(100.0, 30.0)
    loop.advance(101.0)
    assert done == []
    quiet.append(True)
    loop.advance(102.0)
    assert done == [pytest.approx(101.005, abs=0.011)]
