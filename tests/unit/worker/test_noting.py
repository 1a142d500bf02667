"""Each call that was measured and was slow is written down once."""

from types import SimpleNamespace

import pytest

from host.plugin.binding import Implementation
from host.plugin.circuit_breaker import CircuitBreaker
from host.profiling.recorder import ANYONE, CALLBACKS, Recorder
from host.settings import Breaker
from host.worker.noting import slow_calls


@pytest.fixture
def breaker():
    return CircuitBreaker(Breaker(), ["echo"], telemetry=None)


def implementation(plugin, hook):
    return Implementation(plugin, hook, print, ("connection",), ("connection",), hook)


@pytest.mark.parametrize(
    ("plugin", "hook", "by_breaker"),
    [
        ("echo", "on_readable", False),
        ("echo", "on_accept", False),  # a protocol has no circuit
        ("observer", "on_accept", True),
        ("observer", "on_worker_start", False),
        ("observer", "on_line", False),
    ],
)
def test_what_the_breaker_notes_nobody_else_does(breaker, plugin, hook, by_breaker):
    slow = slow_calls(Breaker(slow_call_ms=250), None, breaker, None)
    assert slow.seconds == 0.25
    assert slow.are_noted(implementation(plugin, hook)) == by_breaker


def test_a_profile_notes_all_and_does_not_know_whose_a_callback_is(breaker, tmp_path):
    noted = []
    recent = SimpleNamespace(note_slow=lambda *call: noted.append(call))
    recorder = Recorder(tmp_path, "run")
    slow = slow_calls(Breaker(), recent, breaker, recorder)
    assert slow.are_noted(implementation("echo", "on_readable"))
    assert recorder.slow_seconds == 0.1
    recorder.on_slow(ANYONE, CALLBACKS)
    recorder.on_slow("echo", "on_readable")
    assert noted == [("", CALLBACKS), ("echo", "on_readable")]
