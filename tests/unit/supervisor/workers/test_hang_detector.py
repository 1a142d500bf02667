"""Who is found to hang, and who is not."""

import pytest

from host.ipc.heartbeat import BEAT_SECONDS, beat_seconds
from host.supervisor.workers.hang_detector import HangDetector, Reading

SECOND = 1_000_000_000


class Scene:
    """A watch that looks whenever it says that it wants to, at one worker's loop."""

    def __init__(self, limit=4.0):
        self.watch, self.now = HangDetector(limit), 100.0
        self.reading = Reading(7, 0, 5, 0)
        self.look()

    def look(self):
        return self.watch.look([self.reading], self.now)

    def turn(self, *, lasted):
        self.reading = Reading(7, 0, lasted, 0)

    def enter(self):
        """The worker begins a turn that does not end."""
        self.reading = Reading(7, int(self.now * SECOND), self.reading.lasted, 0)

    def call(self, word):
        """The worker calls a plugin within its turn."""
        self.reading = self.reading._replace(call=word)

    def pass_time(self, seconds):
        """Look as often as wanted; return who was found hanging, and when that was."""
        until, found = self.now + seconds, []
        while (due := self.watch.next_look(self.now)) is not None and due <= until:
            self.now = due
            if hung := self.look():
                found.append((self.now, hung))
        self.now = until
        return found


def test_a_turn_without_an_end_is_found_soon_after_the_limit():
    scene = Scene()
    scene.pass_time(2.3)
    scene.enter()
    began = scene.now
    assert scene.pass_time(3.9) == []
    [(when, [(pid, seconds)])] = scene.pass_time(0.25)[:1]
    assert pid == 7
    assert seconds == pytest.approx(when - began, abs=0.01)
    assert seconds >= 4


def test_a_loop_that_waits_and_does_not_turn_any_more_is_found():
    scene = Scene()
    found = scene.pass_time(5.1)
    assert found[0][0] == pytest.approx(104.0)


def test_a_loop_that_turns_is_never_found():
    scene = Scene()
    for turn in range(60):
        scene.turn(lasted=1000 + turn)
        assert scene.pass_time(BEAT_SECONDS) == []


def test_a_slow_turn_that_ends_before_the_limit_is_forgiven():
    scene = Scene()
    for turn in range(5):
        scene.enter()
        assert scene.pass_time(3.0) == []
        scene.turn(lasted=3 * SECOND + turn)


def test_a_turn_in_which_call_follows_call_is_never_found_however_long_it_takes():
    scene = Scene()
    scene.enter()
    for word in range(1, 600):
        scene.call(word)
        assert scene.pass_time(0.1) == []


def test_calls_of_almost_the_limit_after_each_other_are_forgiven():
    """Nobody knows when a call began, only when it was seen first."""
    scene = Scene()
    scene.enter()
    for word in range(1, 8):
        scene.call(word)
        assert scene.pass_time(3.9) == []


@pytest.mark.parametrize("after", [0.0, 0.3, 0.49, 0.77, 2.0])
def test_a_call_that_does_not_end_is_found_within_five_seconds(after):
    scene = Scene()
    scene.pass_time(0.2)
    scene.enter()
    for word in range(1, int(after * 100) + 1):
        scene.call(word)
        assert scene.pass_time(0.01) == []
    scene.call(10_000)
    began = scene.now
    assert scene.pass_time(3.99) == []
    (when, [(pid, seconds)]), *_ = scene.pass_time(1.0)
    assert pid == 7
    assert 4.0 <= seconds <= when - began < 4.7


def test_the_same_word_in_the_next_turn_is_another_call():
    scene = Scene()
    for turn in range(5):
        scene.enter()
        scene.call(1)
        assert scene.pass_time(3.0) == []
        scene.turn(lasted=3 * SECOND + turn)


def test_time_in_which_nobody_looked_does_not_count():
    scene = Scene()
    scene.enter()
    scene.pass_time(3.0)
    scene.now += 30  # all were stopped
    assert scene.look() == []
    assert scene.pass_time(3.9) == []
    assert scene.pass_time(0.3) != []


def test_a_worker_with_the_number_of_a_dead_one_begins_anew():
    scene = Scene()
    scene.pass_time(3.0)
    scene.watch.look([], scene.now)
    assert scene.pass_time(3.9) == []


def test_a_turn_that_began_before_its_worker_was_first_looked_at_counts_from_there():
    watch = HangDetector(4.0)
    watch.look([], 100.0)
    for now in (101.0, 102.0, 103.0, 104.0):
        assert watch.look([Reading(7, int(100.2 * SECOND), 0, 0)], now) == []
    [(pid, seconds)] = watch.look([Reading(7, int(100.2 * SECOND), 0, 0)], 104.3)
    assert pid == 7
    assert seconds == pytest.approx(4.1)


def test_without_a_limit_nobody_hangs():
    watch = HangDetector(0)
    assert watch.next_look(1.0) is None
    assert watch.look([Reading(1, 1, 1, 0)], 1e6) == []
    assert watch.look([Reading(1, 1, 1, 0)], 2e6) == []


@pytest.mark.parametrize(("limit", "beat"), [(4.0, 1.0), (60.0, 1.0), (1.0, 0.25), (0.0, 1.0)])
def test_loops_turn_often_enough_to_be_told_from_hung_ones(limit, beat):
    assert beat_seconds(limit) == beat
