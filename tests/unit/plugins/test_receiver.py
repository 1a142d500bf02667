"""Frames are handled in their order, in turns, and not while their connection is held."""

import gc
import weakref
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host import CloseReason
from host.plugins.framing import FrameSyntaxError, FrameTooLongError, LineFramer, Receiver
from host.testing import Harness

PLUGIN = """
import time

from host import hookimpl
from host.plugins.framing import LineFramer, Receiver


class Lines:
    def __init__(self):
        self.got, self.errors, self.doings, self.clock = [], [], {}, time.monotonic

    @hookimpl
    def on_accept(self, connection):
        def handle(line):
            self.got.append(line)
            self.doings.get(line, lambda _: None)(connection)

        def on_error(error):
            self.errors.append(error)
            connection.close()

        connection.data = Receiver(connection, LineFramer(20), handle, on_error, share=10,
                                   clock=lambda: self.clock())

    @hookimpl
    def on_readable(self, connection):
        connection.data.feed(connection.read())
"""


@pytest.fixture(scope="module")
def plugin(tmp_path_factory):
    """What selects a plugin that keeps each line in `got`, and then does what `doings` say."""
    path = tmp_path_factory.mktemp("plugin") / "lines.py"
    path.write_text(PLUGIN)
    return f"{path}:Lines"


@pytest.fixture
def start(harness, plugin):
    """Return what starts the plugin: the harness, its object, and a connection."""

    def start(**how):
        started = harness(plugin, **how)
        return started, started.plugin("lines:Lines"), started.connect()

    return start


def lines(count, start=0):
    return [b"%d" % number for number in range(start, start + count)]


def wire(frames):
    return b"".join(each + b"\n" for each in frames)


def hold(connection):
    connection.data.hold()


def test_frames_are_handled_in_their_order(start):
    _, plugin, connection = start()
    connection.feed(wire(lines(95)))
    assert plugin.got == lines(95)
    connection.feed(b"a")
    connection.feed(b"b\nc")
    assert plugin.got == [*lines(95), b"ab"]


def test_a_connection_that_is_held_waits_until_it_is_released_as_often(start):
    started, plugin, connection = start()
    plugin.doings[b"3"] = lambda each: (hold(each), hold(each))
    connection.feed(wire(lines(5)))
    assert plugin.got == lines(4)
    connection.data.hold()
    for _ in range(2):
        connection.data.release()
        started.run()
        assert plugin.got == lines(4)
    connection.data.release()
    assert plugin.got == lines(4)  # not within the call: that may be one of `handle`
    started.run()
    assert plugin.got == lines(5)


def test_nothing_is_read_while_it_is_held(start):
    started, plugin, connection = start()
    connection.data.hold()
    connection.data.hold()
    connection.feed(wire(lines(5)))
    connection.data.release()
    started.run()
    assert plugin.got == []
    assert connection.unread == 10
    connection.data.release()
    started.run()
    assert plugin.got == lines(5)
    assert connection.unread == 0


def test_who_is_held_again_before_its_turn_waits(start):
    started, plugin, connection = start()
    plugin.doings[b"1"] = hold
    connection.feed(wire(lines(5)))
    connection.data.release()
    connection.data.hold()
    started.run()
    assert plugin.got == lines(2)
    connection.data.release()
    started.run()
    assert plugin.got == lines(5)


def test_what_is_fed_while_it_is_held_is_kept(start):
    started, plugin, connection = start()
    connection.data.hold()
    connection.data.feed(wire(lines(2)))
    assert plugin.got == []
    connection.data.feed(wire(lines(2, 2)))
    connection.data.release()
    started.run()
    assert plugin.got == lines(4)


def test_who_is_held_and_released_by_one_frame_goes_on(start):
    _, plugin, connection = start()
    plugin.doings[b"1"] = lambda each: (hold(each), each.data.release())
    connection.feed(wire(lines(5)))
    assert plugin.got == lines(5)


def test_others_have_their_turn_after_a_share(start):
    started, plugin, connection = start()
    worker = started.workers[0]
    plugin.doings[b"0"] = lambda _: worker.call_from_thread(lambda: plugin.got.append(b"other"))
    connection.feed(wire(lines(35)))
    assert plugin.got == [*lines(10), b"other", *lines(25, 10)]
    connection.feed(wire(lines(1, 35)))
    assert plugin.got[-2:] == [b"34", b"35"]


def test_of_slow_frames_after_fast_ones_eight_are_handled_in_a_turn(start):
    started, plugin, connection = start()
    now, worker = 1000.0, started.workers[0]
    plugin.clock = lambda: now
    connection.data._share = 100

    def slow(_connection):
        nonlocal now
        now += 0.3
        if now == 1000.3:
            worker.call_from_thread(lambda: plugin.got.append(b"other"))

    plugin.doings.update(dict.fromkeys(lines(16, 16), slow))
    connection.feed(wire(lines(40)))
    assert plugin.got.index(b"other") <= 16 + 8
    assert len(plugin.got) == 41


def test_after_exactly_a_share_nothing_waits(start):
    started, plugin, connection = start()
    connection.feed(wire(lines(10)))
    connection.data.hold()
    connection.feed(wire(lines(1, 10)))
    assert plugin.got == lines(10)
    connection.data.release()
    started.run()
    assert plugin.got == lines(11)


def test_who_is_held_by_the_last_frame_of_a_share_waits(start):
    started, plugin, connection = start()
    plugin.doings[b"9"] = hold
    connection.feed(wire(lines(15)))
    assert plugin.got == lines(10)
    connection.data.release()
    started.run()
    assert plugin.got == lines(15)


def test_who_is_held_in_between_two_shares_waits(start):
    started, plugin, connection = start()
    worker = started.workers[0]
    plugin.doings[b"0"] = lambda each: worker.call_from_thread(lambda: hold(each))
    connection.feed(wire(lines(35)))
    assert plugin.got == lines(10)
    connection.data.release()
    started.run()
    assert plugin.got == lines(35)


@pytest.mark.parametrize("waits", ["in the kernel", "in the framer"])
def test_all_that_came_before_the_end_of_file_is_handled(start, waits):
    started, plugin, connection = start()
    if waits == "in the kernel":
        connection.data.hold()
    else:
        plugin.doings[b"3"] = hold
    connection.feed(wire(lines(35)))
    connection.feed_eof()
    connection.data.release()
    started.run()
    assert plugin.got == lines(35)
    assert connection.reason is CloseReason.PEER_FINISHED


def test_what_the_framer_raises_is_told_after_the_frames_before(start):
    _, plugin, connection = start()
    connection.feed(wire([b"a", 21 * b"x", b"b"]))
    assert plugin.got == [b"a"]
    assert [type(each).__name__ for each in plugin.errors] == ["FrameTooLongError"]
    assert connection.reason is CloseReason.PLUGIN


def fail(error):
    raise error


@pytest.mark.parametrize("error", [FrameSyntaxError("no line"), FrameTooLongError(1)])
def test_what_the_handler_says_of_a_frame_is_told(start, error):
    _, plugin, connection = start()
    plugin.doings[b"1"] = lambda _: fail(error)
    connection.feed(wire(lines(5)))
    assert plugin.got == lines(2)
    assert plugin.errors == [error]
    assert connection.reason is CloseReason.PLUGIN


@pytest.mark.parametrize("error", [ValueError("a mistake"), KeyError(0)])
def test_another_error_of_the_handler_is_none_of_the_client(start, error):
    _, plugin, connection = start()
    plugin.doings[b"1"] = lambda _: fail(error)
    with pytest.raises(type(error)):
        connection.feed(wire(lines(5)))
    assert plugin.errors == []
    assert plugin.got == lines(2)


def test_nothing_is_handled_after_the_connection_was_closed(start):
    _, plugin, connection = start()
    plugin.doings[b"1"] = lambda each: each.close()
    connection.feed(wire(lines(5)))
    assert plugin.got == lines(2)
    assert connection.reason is CloseReason.PLUGIN


def test_a_connection_that_has_ended_while_it_was_held_is_released(start):
    started, plugin, connection = start()
    plugin.doings[b"1"] = hold
    connection.feed(wire(lines(5)))
    connection.abort()
    connection.data.release()
    started.run()
    assert plugin.got == lines(2)
    assert connection.closed


def test_who_is_idle_for_too_long_is_closed(start):
    started, _, connection = start()
    connection.data.idle_seconds = 10
    connection.feed(b"a\n")
    started.advance(9)
    connection.feed(b"half a ")
    started.advance(9)
    assert connection.reason is None
    started.advance(2)
    assert connection.reason is CloseReason.TIMEOUT


def test_nobody_is_idle_while_it_is_held(start):
    started, _, connection = start()
    connection.data.idle_seconds = 10
    connection.feed(b"a\n")
    connection.data.hold()
    started.advance(100)
    assert connection.reason is None
    connection.data.release()
    started.advance(9)
    assert connection.reason is None
    started.advance(2)
    assert connection.reason is CloseReason.TIMEOUT


def test_who_is_held_by_what_it_sends_is_not_idle(start):
    started, plugin, connection = start()
    connection.data.idle_seconds = 10
    plugin.doings[b"a"] = hold
    connection.feed(b"a\nb\n")
    started.advance(100)
    assert connection.reason is None
    connection.data.release()
    started.advance(11)
    assert connection.reason is CloseReason.TIMEOUT


def test_another_time_limit_is_left_alone_without_an_idle_time(start):
    started, _, connection = start()
    connection.expire(10)
    connection.feed(b"a\n")
    started.advance(9)
    assert connection.reason is None
    receiver = connection.data
    receiver.hold()
    receiver.release()
    connection.feed(b"b\n")
    started.advance(2)
    assert connection.reason is CloseReason.TIMEOUT


@given(
    st.lists(st.one_of(st.integers(1, 40), st.sampled_from(["hold", "release", "turn"]))),
    st.integers(0, 200),
    st.sets(st.integers(0, 200)),
)
def test_whatever_happens_frames_come_in_order_and_only_while_it_is_not_held(
    plugin, doings, count, holding
):
    with Harness(plugin) as started:
        it, connection = started.plugin("lines:Lines"), started.connect()
        holds, left = 0, wire(lines(count))

        def hold_it(_=None):
            nonlocal holds
            holds += 1
            connection.data.hold()

        def release():
            nonlocal holds
            holds -= 1
            connection.data.release()

        it.doings = {b"%d" % each: hold_it for each in holding}
        for each in doings:
            before, was_held = len(it.got), holds
            if each == "hold":
                hold_it()
            elif each == "release":
                if holds:
                    release()
            elif each == "turn":
                started.run()
                assert not was_held or len(it.got) == before
            else:
                connection.feed(left[:each])
                left = left[each:]
                assert not was_held or len(it.got) == before
        connection.feed(left)
        while holds:
            release()
            started.run()
        assert it.got == lines(count)


class Clock:
    """A clock that goes on only as frames are handled."""

    def __init__(self, plugin, seconds):
        self.looks, self._plugin, self._seconds = 0, plugin, seconds

    def __call__(self):
        self.looks += 1
        return self._seconds * len(self._plugin.got)


@pytest.mark.parametrize(("seconds", "most"), [(10.0, 2), (0.002, 2), (0.0002, 8), (1e-6, 10)])
def test_of_slow_frames_fewer_are_taken_before_others_have_their_turn(start, seconds, most):
    started, plugin, connection = start()
    plugin.clock, others = Clock(plugin, seconds), []
    worker = started.workers[0]
    plugin.doings[b"0"] = lambda _: worker.call_from_thread(lambda: others.append(len(plugin.got)))
    connection.feed(wire(lines(40)))
    assert others == [most]
    assert plugin.got == lines(40)


def test_the_clock_is_not_looked_at_for_a_frame_that_comes_alone(start):
    _, plugin, connection = start()
    plugin.clock = Clock(plugin, 10.0)
    for line in lines(3):
        connection.feed(wire([line]))
    assert plugin.got == lines(3)
    assert plugin.clock.looks == 0


def test_what_was_not_handled_is_free_without_the_collector_when_it_has_ended():
    got, framer = set(), LineFramer(1_000_000)
    receiver = Receiver(SimpleNamespace(), framer, got.add, got.add)
    receiver.feed(b"x" * 500_000)
    gone = weakref.ref(got)
    del got
    assert (framer.waiting, gone() is None) == (500_000, False)
    gc.disable()
    try:
        receiver.end()
        assert (framer.waiting, gone() is None) == (0, True)
    finally:
        gc.enable()
