"""A failed hook is told once in full, with its consequence, and not without end."""

from types import SimpleNamespace

import pytest

from host.errors import PluginError
from host.hookspecs import TABLE
from host.plugin.failures import BURST, PER_SECONDS, Failures
from host.telemetry.events import HOOK_FAILED
from host.text import MAX_ERROR_CHARS, MAX_TRACEBACK_CHARS
from support.fakes import Told


class Scene:
    def __init__(self):
        self.told, self.now = Told(), 1000.0
        self.failures = Failures(self.told.telemetry, clock=lambda: self.now)

    def fail(self, hook="on_readable", plugin="chat", error=None, args=()):
        try:
            raise error or ValueError("bad")
        except BaseException as raised:
            self.failures(plugin, hook, raised, args)

    @property
    def events(self):
        return self.told.of(HOOK_FAILED)


def test_a_failure_is_told_with_its_stack_and_connection():
    scene = Scene()
    scene.fail(args=(SimpleNamespace(id="4711-1", peer="127.0.0.1:50211"),))
    [event] = scene.events
    assert event["error"] == "ValueError: bad"
    assert "in fail\n" in event["traceback"]
    assert event["traceback"].endswith("ValueError: bad\n")
    assert (event["connection"], event["peer"]) == ("4711-1", "127.0.0.1:50211")
    assert (event["plugin"], event["hook"]) == ("chat", "on_readable")


def test_a_failure_without_a_connection_has_none():
    scene = Scene()
    scene.fail("on_child_exit", args=(SimpleNamespace(slot=1),))
    [event] = scene.events
    assert (event["connection"], event["peer"]) == (None, None)


@pytest.mark.parametrize(
    ("hook", "consequence"),
    [
        *((row.name, row.consequence) for row in TABLE if row.consequence is not None),
        ("on_worker_stop", "the others still hear it"),
        ("on_line", "the others still hear it"),
    ],
)
def test_the_consequence_is_told(hook, consequence):
    scene = Scene()
    scene.fail(hook)
    assert [event["consequence"] for event in scene.events] == [consequence]


def test_an_error_of_several_lines_is_told_in_one():
    scene = Scene()
    scene.fail(error=ValueError("one\ntwo"))
    assert scene.events[0]["error"] == "ValueError: one; two"


def test_a_huge_error_is_shortened():
    scene = Scene()
    scene.fail(error=ValueError("a" * 10_000_000 + "the end"))
    [event] = scene.events
    assert len(event["error"]) < MAX_ERROR_CHARS + 100
    assert "characters left out" in event["error"]
    assert event["error"].endswith("the end")
    assert len(event["traceback"]) < MAX_TRACEBACK_CHARS + 100


def test_an_error_that_cannot_be_written_is_told_all_the_same():
    class OddError(Exception):
        def __str__(self):
            raise RuntimeError("not even this works")

    scene = Scene()
    scene.fail(error=OddError())
    assert "OddError" in scene.events[0]["error"]


def test_what_is_left_out_is_not_even_formatted():
    formatted = []

    class CountedError(Exception):
        def __str__(self):
            formatted.append(self)
            return "counted"

    scene = Scene()
    for _ in range(BURST):
        scene.fail()
    scene.fail(error=CountedError())
    assert formatted == []


@pytest.mark.parametrize("hook", ["on_host_start", "on_worker_start"])
def test_what_stops_a_process_is_left_to_it_to_tell(hook):
    scene = Scene()
    scene.fail(hook)
    assert scene.events == []
    assert (scene.failures.last.plugin, scene.failures.last.hook) == ("chat", hook)
    assert scene.failures.last.error == "ValueError: bad"


def test_of_many_failures_only_the_first_are_told_and_the_rest_counted():
    scene = Scene()
    for _ in range(BURST + 7):
        scene.fail()
    assert len(scene.events) == BURST
    scene.now += PER_SECONDS
    scene.fail()
    assert scene.events[-1]["consequence"] == (
        "the connection is closed (7 more like this not logged)"
    )
    scene.fail()
    assert scene.events[-1]["consequence"] == "the connection is closed"


def test_each_plugin_and_hook_has_a_count_of_its_own():
    scene = Scene()
    for _ in range(BURST):
        scene.fail()
    scene.fail("on_close")
    scene.fail(plugin="other")
    assert len(scene.events) == BURST + 2


def test_failures_now_and_then_are_all_told():
    scene = Scene()
    for _ in range(3 * BURST):
        scene.fail()
        scene.now += PER_SECONDS
    assert len(scene.events) == 3 * BURST
    assert all("more" not in event["consequence"] for event in scene.events)


def test_what_a_plugin_refuses_at_its_start_is_told_in_its_own_words():
    scene = Scene()
    scene.fail("on_worker_start", error=PluginError("chat", "there is no room", hint="Make some."))
    assert scene.failures.last == ("chat", "on_worker_start", "there is no room. Make some.", "")
    scene.fail("on_readable", error=PluginError("chat", "there is no room"))
    assert "in fail" in scene.failures.last.traceback
