"""At the end of a turn orders are carried out, connections followed up, and cells written."""

from types import SimpleNamespace

import pytest

from host.ipc.protocol import Ask, Drain
from host.ipc.scoreboard import CURRENT_CALL, STARVED, TURN_LASTED, TURN_STARTED
from host.worker.context import OpenConnections
from host.worker.turns import TurnHandler
from support.fakes import FakeLoop, blank_cells, rows_of


class Connection:
    """A connection that notes when it is followed up, and then does what a hook would do."""

    def __init__(self, scene, then=lambda: None):
        self._scene, self._then = scene, then

    def follow_up(self):
        self._scene.story.append(self)
        self._then()


class Scene:
    """A turn handler whose neighbours write into `story` what they are asked to do."""

    def __init__(self, has_idle_timeout=False):
        self.story, self.connections, self.loop = [], OpenConnections(), FakeLoop(now=2.0)
        self.loop.stop = lambda: self.story.append("stop")
        self.cells = blank_cells(2, 1)
        _, self.row = rows_of(self.cells, 2, 1)
        self.bus = SimpleNamespace(waiting=[], flush=lambda: self.story.append("flush"))
        self.handler = TurnHandler(
            connections=self.connections,
            loop=self.loop,
            row=self.row,
            acceptor=SimpleNamespace(accept=lambda *order: self.story.append(order)),
            timeouts=SimpleNamespace(
                has_idle_timeout=has_idle_timeout, arm=lambda: self.story.append("arm")
            ),
            bus=self.bus,
            wake=lambda: self.story.append("wake"),
            execute=self.story.append,
        )

    def end(self):
        """End a turn; return what happened in it."""
        self.story.clear()
        self.handler.end()
        return list(self.story)


def test_a_quiet_turn_does_nothing():
    assert Scene().end() == []


def test_orders_are_carried_out_at_the_end_of_the_turn_in_their_order_and_once():
    scene, ask = Scene(), Ask(1, "connections", {"limit": 1}, 7.5)
    scene.handler.add_orders([(0, 2), ask])
    scene.handler.add_orders([(1, 1)])
    assert scene.story == []
    assert scene.end() == [(0, 2), ask, (1, 1)]
    assert scene.end() == []


def test_an_order_that_comes_while_others_are_carried_out_waits_for_the_next_turn():
    scene = Scene()
    scene.handler.execute = lambda _: scene.handler.add_orders([(0, 1)])
    scene.handler.add_orders([Drain(1.0)])
    assert scene.end() == []
    assert scene.end() == [(0, 1)]


def test_without_a_supervisor_the_worker_drains_at_once():
    scene = Scene()
    scene.handler.add_orders(None)
    assert scene.end() == [Drain(2.0)]


@pytest.mark.parametrize("starved", [True, False])
def test_after_orders_the_supervisor_is_woken_if_connections_wait(starved):
    scene = Scene()
    scene.cells[STARVED] = starved
    assert scene.end() == []
    scene.handler.add_orders([(0, 1)])
    assert scene.end() == [(0, 1)] + ["wake"] * starved


def test_what_was_touched_is_followed_up_with_all_that_is_touched_meanwhile():
    scene = Scene()
    later = Connection(scene)
    first = Connection(scene, then=lambda: scene.connections.touched.append(later))
    scene.connections.touched.append(first)
    assert scene.end() == [first, later]
    assert scene.connections.touched == []


def test_accepting_comes_first_then_settling_then_the_bus():
    scene = Scene()
    connection = Connection(scene, then=lambda: scene.bus.waiting.append("a message"))
    scene.connections.touched.append(connection)
    scene.handler.add_orders([(0, 1)])
    assert scene.end() == [(0, 1), connection, "flush"]


def test_the_loop_stops_when_it_is_to_and_the_last_connection_has_ended():
    scene = Scene()
    scene.connections.open.add("a connection")
    scene.handler.stop_when_empty = True
    assert scene.end() == []
    scene.connections.open.clear()
    assert scene.end() == ["stop"]


@pytest.mark.parametrize(("stalled", "idle"), [(False, False), (True, False), (False, True)])
def test_timeouts_are_armed_if_there_can_be_any(stalled, idle):
    scene = Scene(has_idle_timeout=idle)
    if stalled:
        scene.connections.stalled["a connection"] = 1.0
    assert scene.end() == ["arm"] * (stalled or idle)


def test_the_scoreboard_shows_the_turn_while_it_is_under_way_and_its_length_after_it():
    scene = Scene()
    scene.row.put(CURRENT_CALL, 77)
    scene.handler.begin()
    assert scene.row.get(TURN_STARTED) == 2_000_000_000
    scene.handler.end()
    assert scene.row.get(TURN_STARTED) == 0
    assert scene.row.get(TURN_LASTED) > 0
    assert scene.row.get(CURRENT_CALL) == 0
