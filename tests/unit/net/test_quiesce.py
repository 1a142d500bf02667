"""The gate closes the listeners once nobody has come for a while, and never later than it may."""

import pytest

from host.net.quiesce import PATIENCE_SECONDS, QUIET_SECONDS, Gate
from support.fakes import FakeLoop


class Listening:
    def __init__(self, story, fd):
        self._story, self._fd = story, fd

    def fileno(self):
        return self._fd

    def shut_gate(self):
        self._story.append(("shut", self._fd))

    def close(self):
        self._story.append(("close", self._fd))


class Scene:
    def __init__(self):
        self.loop, self.story, self.quiet, self.asked = FakeLoop(), [], True, 0
        for fd in (3, 4):
            self.loop.add(fd, 1, lambda mask: None)
        self.gate = Gate(
            self.loop,
            [Listening(self.story, 3), Listening(self.story, 4)],
            quiet=self.ask,
            done=lambda: self.story.append(("done", self.loop.now)),
        )

    def ask(self):
        self.asked += 1
        return self.quiet

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
    assert scene.closed_after == QUIET_SECONDS
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
    assert scene.closed_after == 0.08 + QUIET_SECONDS


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
