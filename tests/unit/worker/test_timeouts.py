"""Connections whose time is up are closed: never early, and not much later than promised."""

from hypothesis import given
from hypothesis import strategies as st

from host.interfaces import CloseReason
from host.worker.context import OpenConnections
from host.worker.timeouts import Timeouts
from support.fakes import FakeLoop


class Connection:
    """A connection that notes when it was ended, and why."""

    def __init__(self, scene, last_active):
        self._scene, self.last_active, self.ended = scene, last_active, None

    def finish(self, reason):
        self._end(reason)

    def cut(self, reason):
        self._end(reason)

    def _end(self, reason):
        if self.ended is None:
            self.ended = (reason, self._scene.loop.now)
            self._scene.open.discard(self)
            self._scene.stalled.pop(self, None)


class Scene:
    def __init__(self, idle=10.0, write=20.0):
        self.loop, connections = FakeLoop(now=100.0), OpenConnections()
        self.open, self.stalled = connections.open, connections.stalled
        self.timeouts = Timeouts(self.loop, connections, idle_timeout=idle, write_timeout=write)

    def connect(self):
        connection = Connection(self, self.loop.now)
        self.open.add(connection)
        return connection

    def pass_time(self, to):
        """Let time pass, with the end of a turn after each call."""
        while self.loop.due and self.loop.due[0] <= to:
            self.loop.advance(self.loop.due[0])
            self.timeouts.arm()
            while self.loop.calls:
                self.loop.run_calls()
                self.timeouts.arm()
        self.loop.advance(to)
        self.timeouts.arm()


def test_without_connections_nothing_is_due():
    scene = Scene()
    scene.timeouts.arm()
    assert scene.loop.due == []


def test_an_idle_connection_is_closed():
    scene = Scene()
    connection = scene.connect()
    scene.timeouts.arm()
    scene.pass_time(109.9)
    assert connection.ended is None
    scene.pass_time(110.0)
    assert connection.ended == (CloseReason.IDLE, 110.0)
    assert scene.loop.due == []


def test_an_active_connection_stays():
    scene = Scene()
    connection = scene.connect()
    scene.timeouts.arm()
    scene.loop.now = connection.last_active = 105.0
    scene.pass_time(114.9)
    assert connection.ended is None
    scene.pass_time(115.0)
    assert connection.ended == (CloseReason.IDLE, 115.0)


def test_without_an_idle_timeout_nobody_is_closed_for_being_idle():
    scene = Scene(idle=0.0)
    scene.connect()
    scene.timeouts.arm()
    assert scene.loop.due == []


def test_a_peer_that_takes_nothing_is_cut_off():
    scene = Scene(idle=0.0)
    connection = scene.connect()
    scene.stalled[connection] = 100.0
    scene.timeouts.arm()
    scene.pass_time(119.9)
    assert connection.ended is None
    scene.pass_time(120.0)
    assert connection.ended == (CloseReason.WRITE_TIMEOUT, 120.0)


def test_a_peer_that_takes_something_has_its_time_anew():
    scene = Scene(idle=0.0)
    connection = scene.connect()
    scene.stalled[connection] = 100.0
    scene.timeouts.arm()
    scene.stalled[connection] = 115.0
    scene.pass_time(134.9)
    assert connection.ended is None
    scene.pass_time(136.0)
    assert connection.ended == (CloseReason.WRITE_TIMEOUT, 135.0)


def test_the_earlier_of_two_deadlines_counts():
    scene = Scene(idle=30.0, write=5.0)
    connection = scene.connect()
    scene.timeouts.arm()
    scene.stalled[connection] = 100.0
    scene.timeouts.arm()
    assert scene.loop.due == [105.0]


def test_one_timer_serves_all():
    scene = Scene()
    for _ in range(100):
        scene.connect()
        scene.timeouts.arm()
        scene.loop.now += 0.01
    assert scene.loop.due == [110.0]


@given(
    st.lists(st.tuples(st.floats(0, 3), st.sampled_from(["open", "byte", "stall", "take"]))),
    st.sampled_from([0.0, 1.0, 6.0]),
    st.sampled_from([1.0, 6.0]),
)
def test_deadlines_are_met_within_a_twentieth(steps, idle, write):
    scene = Scene(idle, write)
    connections = []
    for wait, act in steps:
        scene.pass_time(scene.loop.now + wait)
        if act == "open":
            connections.append(scene.connect())
        elif connections and connections[-1].ended is None:
            if act == "byte":
                connections[-1].last_active = scene.loop.now
            elif act == "stall":
                scene.stalled[connections[-1]] = scene.loop.now
            else:
                scene.stalled.pop(connections[-1], None)
        scene.timeouts.arm()
        for each in list(scene.open):
            assert not idle or scene.loop.now - each.last_active <= idle * 1.05 + 1e-6
        for since in scene.stalled.values():
            assert scene.loop.now - since <= write * 1.05 + 1e-6
    stalled = dict(scene.stalled)
    scene.pass_time(scene.loop.now + 2 * (idle + write))
    for each in connections:
        if each.ended is not None:
            reason, when = each.ended
            assert reason is not CloseReason.IDLE or when - each.last_active >= idle
        assert each.ended is not None or not idle
    assert not scene.stalled
    assert all(each.ended is not None for each in stalled)


def test_of_many_that_are_late_a_few_are_closed_in_each_turn():
    scene = Scene()
    late = [scene.connect() for _ in range(100)]
    scene.timeouts.arm()
    scene.loop.advance(111)
    turns = []
    while scene.loop.calls:
        turns.append(sum(each.ended is not None for each in late))
        scene.loop.run_calls()
        scene.timeouts.arm()
    assert turns == [16, 32, 48, 64, 80, 96]
    assert all(each.ended is not None for each in late)
    assert scene.loop.due == []


def test_many_that_are_not_late_are_looked_at_over_several_turns():
    scene = Scene()
    for _ in range(5000):
        scene.connect().last_active = 105.0
    scene.open.pop().last_active = 100.0
    scene.connect()
    scene.timeouts.arm()
    scene.pass_time(111)
    assert scene.loop.due == [115.0]
