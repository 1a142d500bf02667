"""Calls that are not measured are the plugin's own; in some turns, all of them are measured."""

from types import SimpleNamespace

import pytest

from host.ipc.scoreboard import Scoreboard
from host.ipc.series import OwnSeries
from host.metrics.hooks import HOOK_SECONDS, lay_out
from host.plugin.binding import Implementation
from host.plugin.failures import Failures
from host.settings import Settings
from host.telemetry.emitter import Telemetry
from host.worker.measuring import Measuring

PAIRS = [("echo", "on_readable"), ("echo", "on_datagram"), ("log", "on_accept")]


def called(_subject):
    """Stand for a plugin's function."""


def implementation(plugin, hook):
    return Implementation(plugin, hook, called, ("connection",), ("connection",), hook)


@pytest.fixture
def own():
    own = OwnSeries()
    calls = {hook: (implementation(plugin, hook),) for plugin, hook in PAIRS}
    lay_out(own, SimpleNamespace(calls=calls, plugins=(), owners={}), [])
    own.share()
    yield own
    own.close()


@pytest.fixture
def row():
    board = Scoreboard(1)
    yield board.use(4, 0)
    board.close()


def measuring(own, row, sample, timed=None, listen=("tcp://127.0.0.1:1",)):
    settings = Settings(ops={"listen": listen}, metrics={"sample": sample})
    registry = SimpleNamespace(owners={})
    given = SimpleNamespace(series=own, row=row)
    return Measuring(given, settings, registry, Failures(Telemetry()), timed)


def counts(own):
    places = own.places(HOOK_SECONDS.name)
    size = len(HOOK_SECONDS.bounds) + 1
    return {
        hook: sum(own.board.cells[own.board.base(5) + place :][:size])
        for (_, hook), place in places.items()
    }


def serve(measured, turns):
    """Call both hooks that serve once in each of so many turns; return in how many as they are."""

    def bind(plugin, timed):
        return SimpleNamespace(
            on_readable=timed(implementation(plugin, "on_readable")),
            on_datagram=timed(implementation(plugin, "on_datagram")),
        )

    listener = SimpleNamespace(plugin="echo")
    stream = SimpleNamespace(listener=listener, on_readable=called)
    datagram = SimpleNamespace(listener=listener, on_datagram=called)
    end = measured.end_of_turn(lambda: None, bind, [stream], [datagram])
    plain = 0
    for _ in range(turns):
        plain += (stream.on_readable is called) + (datagram.on_datagram is called)
        stream.on_readable(None)
        datagram.on_datagram(None)
        end()
    return plain


def test_in_most_turns_the_hooks_that_serve_are_the_plugins_own(own, row):
    assert serve(measuring(own, row, 10), 1000) == 2000 - 2 * counts(own)["on_readable"]
    assert 60 < counts(own)["on_readable"] < 140  # 100 on average, with a deviation of 7
    assert counts(own)["on_readable"] == counts(own)["on_datagram"]


def test_nothing_is_put_around_the_hooks_that_serve(own, row):
    timed = measuring(own, row, 10).timed
    assert timed(implementation("echo", "on_readable")) is called
    assert timed(implementation("echo", "on_datagram")) is called
    assert timed(implementation("log", "on_accept")) is not called


def test_all_calls_are_measured_with_1(own, row):
    measured = measuring(own, row, 1)
    for plugin, hook in PAIRS:
        measured.timed(implementation(plugin, hook))(None)
    assert counts(own) == {"on_readable": 1, "on_datagram": 1, "on_accept": 1}


def test_a_profile_measures_the_same_calls_besides(own, row):
    seen = []

    def timed(each):
        def profiled(subject):
            seen.append(each.hook)
            return each.function(subject)

        return profiled

    measured = measuring(own, row, 1, timed)
    for plugin, hook in PAIRS:
        measured.timed(implementation(plugin, hook))(None)
    assert seen == [hook for _, hook in PAIRS]
    assert all(counts(own).values())


def test_a_host_that_is_not_shown_measures_nothing(own, row):
    measured = measuring(own, row, 1, listen=())
    assert measured.timed is None
    end = object()
    assert measured.end_of_turn(end, None, [], []) is end


def test_plugins_count_in_the_row_of_the_worker(own, row):
    measuring(own, row, 1, listen=())
    own.words[own.base] += 1
    assert own.board.cells[own.board.base(row.number + 1)] == 1


def test_what_begins_tls_in_a_turn_is_measured_like_all_others(own, row):
    measured = measuring(own, row, 10)
    streams = [SimpleNamespace(listener=SimpleNamespace(plugin="echo"), on_readable=called)]

    def bind(plugin, timed):
        return SimpleNamespace(on_readable=timed(implementation(plugin, "on_readable")))

    end = measured.end_of_turn(lambda: None, bind, streams, [])
    while streams[0].on_readable is called:
        end()
    streams.append(SimpleNamespace(**vars(streams[0])))  # as `Upgrades.with_tls` is a copy
    seen = set()
    for _ in range(200):  # the next turn may be measured as well: gaps are 1 to 19
        end()
        assert streams[1].on_readable is streams[0].on_readable
        seen.add(streams[0].on_readable is called)
    assert seen == {True, False}


def test_the_share_of_turns_that_are_measured_is_what_was_asked_for(own, row):
    serve(measuring(own, row, 2), 20_000)
    # Gaps are 1 to 3, so the standard deviation of the number is 58.
    assert 9_700 < counts(own)["on_readable"] < 10_300
