"""Who keeps failing is left out for a while, and nobody else; who may not be, never is."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.errors import SlowCallError
from host.plugin.binding import HOOKS, Implementation
from host.plugin.circuit_breaker import CircuitBreaker
from host.plugin.isolation import isolated, schedulers
from host.settings import Settings
from host.telemetry.events import PLUGIN_CALLED_AGAIN, PLUGIN_LEFT_OUT
from support.fakes import Told

LIMITS = {"max_failures": 3, "window_seconds": 10, "slow_call_ms": 100, "open_seconds": 30}
SLOW = 0.125
"""Seconds that are too long; like all times here a sum of powers of two, so exact."""


class Scene:
    """A breaker with its clock, and plugins that raise or dawdle as the test says."""

    def __init__(self, exempt=("proto",), **limits):
        self.now, self.told, self.changes = 1000.0, Told(), 0
        policy = Settings(breaker={**LIMITS, **limits}).breaker
        self.breaker = CircuitBreaker(policy, exempt, self.told.telemetry, clock=lambda: self.now)
        self.breaker.on_change = self._change
        self.heard, self.reports = [], []
        self.raising, self.taking, self.answers = set(), {}, {}

    def _change(self):
        self.changes += 1

    def report(self, plugin, hook, error, args):
        self.reports.append((plugin, hook, type(error), args))

    def call(self, plugin):
        self.heard.append(plugin)
        self.now += self.taking.get(plugin, 0)
        if plugin in self.raising:
            raise ValueError(f"{plugin} failed")
        return self.answers.get(plugin)

    def plugin(self, name, hook="on_accept", wrapper=False):
        def function(*_):
            return self.call(name)

        def around(*_):
            self.call(f"{name} before")
            result = yield
            self.call(f"{name} after")
            return result

        arguments = HOOKS[hook]
        called = around if wrapper else function
        return Implementation(name, hook, called, arguments, arguments, hook, wrapper=wrapper)

    def tell(self, *plugins):
        return isolated(plugins[0].hook, plugins, self.report, self.breaker)

    def schedulers(self, *names, wrapper=None):
        plugins = [self.plugin(name, "choose_worker") for name in names]
        if wrapper:
            plugins.insert(0, self.plugin(wrapper, "choose_worker", wrapper=True))
        return schedulers(plugins, self.report, self.breaker)

    def told_of(self, call, *args):
        """Call, and return who has heard it."""
        self.heard.clear()
        call(*args)
        return list(self.heard)

    def open(self, told, name="bad"):
        """Let a plugin fail until it is left out."""
        self.raising.add(name)
        for _ in range(LIMITS["max_failures"]):
            assert name in self.told_of(told, "connection")
        self.raising.discard(name)
        assert name not in self.told_of(told, "connection")

    @property
    def states(self):
        return {each["plugin"]: each["state"] for each in self.breaker.state()}


class TestThreshold:
    def test_is_exact_and_the_others_still_hear(self):
        scene = Scene()
        told = scene.tell(scene.plugin("proto"), scene.plugin("bad"), scene.plugin("good"))
        scene.raising.add("bad")
        for _ in range(3):
            assert scene.breaker.state() == []
            assert told("connection") is False
        assert scene.told_of(told, "connection") == ["proto", "good"]
        assert scene.reports == [("bad", "on_accept", ValueError, ("connection",))] * 3

    def test_to_be_left_out_is_not_to_fail(self):
        scene = Scene()
        told = scene.tell(scene.plugin("bad"))
        scene.open(told)
        assert told("connection") is True

    def test_failures_count_for_the_window_and_no_longer(self):
        scene = Scene()
        told = scene.tell(scene.plugin("bad"))
        scene.raising.add("bad")
        for step in (0, 5, 5, 5, 5):  # the first of any three is as old as the window is long
            scene.now += step
            told("connection")
        assert scene.breaker.state() == []
        scene.now += 4.75
        told("connection")
        assert scene.states == {"bad": "open"}

    def test_failures_need_not_be_one_after_the_other(self):
        scene = Scene()
        told = scene.tell(scene.plugin("bad"))
        for _ in range(3):
            assert scene.breaker.state() == []
            told("connection")
            scene.raising.add("bad")
            told("connection")
            scene.raising.clear()
        assert scene.states == {"bad": "open"}

    def test_all_hooks_of_a_plugin_count_together(self):
        scene = Scene()
        accept = scene.tell(scene.plugin("bad"))
        close = scene.tell(scene.plugin("bad", "on_close"), scene.plugin("good", "on_close"))
        scene.raising.add("bad")
        accept("connection")
        close("connection", "gone")
        accept("connection")
        assert scene.told_of(accept, "connection") == []
        assert scene.told_of(close, "connection", "gone") == ["good"]

    def test_one_plugins_failures_are_not_anothers(self):
        scene = Scene()
        told = scene.tell(scene.plugin("one"), scene.plugin("two"))
        scene.raising |= {"one", "two"}
        told("connection")
        told("connection")
        scene.raising.remove("two")
        told("connection")
        assert scene.told_of(told, "connection") == ["two"]

    def test_sys_exit_is_a_failure_too(self):
        scene = Scene(max_failures=1)

        def leave(*_):
            raise SystemExit

        guarded = scene.breaker.guard("bad", "on_accept", leave, scene.report)
        with pytest.raises(SystemExit):
            guarded("connection")
        assert guarded("connection") is None


class TestSlowCalls:
    def test_are_reported_and_counted_but_do_not_fail_the_call(self):
        scene = Scene()
        told = scene.tell(scene.plugin("bad"), scene.plugin("good"))
        scene.taking["bad"] = SLOW
        for _ in range(3):
            assert told("connection") is True
        assert scene.reports == [("bad", "on_accept", SlowCallError, ("connection",))] * 3
        assert scene.told_of(told, "connection") == ["good"]

    def test_a_call_just_as_long_as_allowed_is_none(self):
        scene = Scene(max_failures=1, slow_call_ms=125)
        told = scene.tell(scene.plugin("bad"))
        scene.taking["bad"] = SLOW
        told("connection")
        assert (scene.reports, scene.breaker.state()) == ([], [])

    def test_one_that_raises_counts_once(self):
        scene = Scene()
        told = scene.tell(scene.plugin("bad"))
        scene.taking["bad"] = SLOW
        scene.raising.add("bad")
        told("connection")
        told("connection")
        assert scene.breaker.state() == []
        assert [kind for _, _, kind, _ in scene.reports] == [ValueError, ValueError]

    def test_the_error_says_how_long_it_took(self):
        error = SlowCallError(0.1321, 0.1)
        assert "took 132 ms" in str(error)
        assert "above 100 ms (breaker.slow_call_ms)" in str(error)


class TestHalfOpen:
    def test_nobody_is_called_before_the_time_is_up(self):
        scene = Scene()
        told = scene.tell(scene.plugin("bad"))
        scene.open(told)
        scene.now += 29.5
        assert scene.told_of(told, "connection") == []
        scene.now += 0.5
        assert scene.told_of(told, "connection") == ["bad"]

    def test_a_success_closes_it_and_old_failures_are_forgotten(self):
        scene = Scene()
        told = scene.tell(scene.plugin("bad"))
        scene.open(told)
        scene.now += 30
        told("connection")
        assert scene.breaker.state() == []
        scene.open(told)  # which takes as many failures as the first time

    @pytest.mark.parametrize("how", ["raising", "slow"])
    def test_one_failure_opens_it_again(self, how):
        scene = Scene()
        told = scene.tell(scene.plugin("bad"))
        scene.open(told)
        scene.now += 30
        if how == "slow":
            scene.taking["bad"] = SLOW
        else:
            scene.raising.add("bad")
        assert scene.told_of(told, "connection") == ["bad"]
        assert scene.told_of(told, "connection") == []
        [state] = scene.breaker.state()
        assert (state["state"], state["failures"], state["seconds_left"]) == ("open", 4, 30.0)

    def test_one_call_at_a_time_is_let_through(self):
        scene = Scene()
        seen = []

        def on_accept(connection):
            seen.append(connection)
            if connection == "outer":
                told("inner")
                assert scene.states == {"bad": "half-open"}

        arguments = HOOKS["on_accept"]
        plugin = Implementation("bad", "on_accept", on_accept, arguments, arguments, "on_accept")
        told = scene.tell(plugin)
        scene.open(scene.tell(scene.plugin("bad")))
        scene.now += 30
        told("outer")
        assert seen == ["outer"]
        assert scene.breaker.state() == []

    def test_a_success_of_another_hook_does_not_close_it(self):
        scene = Scene()
        accept, close = scene.tell(scene.plugin("bad")), scene.tell(scene.plugin("bad", "on_close"))
        scene.open(accept)
        scene.now += 30
        for _ in range(2):
            assert scene.told_of(close, "connection", "gone") == ["bad"]
            assert scene.states == {"bad": "half-open"}
        scene.raising.add("bad")
        assert scene.told_of(accept, "connection") == ["bad"]
        assert scene.told_of(accept, "connection") == []

    def test_a_call_that_began_before_it_opened_does_not_close_it(self):
        scene = Scene()
        circuit = scene.breaker.circuit("bad")
        began = circuit.begin_call()
        for _ in range(3):
            circuit.begin_call()
            circuit.record_failure("on_accept")
        assert circuit.end_call("on_accept", began) is None
        circuit.record_failure("on_accept")  # nor does it keep it open for longer
        [state] = scene.breaker.state()
        assert (state["state"], state["failures"]) == ("open", 3)
        scene.now += 30
        trial = circuit.begin_call()
        circuit.end_call("on_accept", began, paused=30)
        assert scene.states == {"bad": "half-open"}
        circuit.end_call("on_accept", trial)
        assert scene.states == {}

    def test_a_trial_that_never_ends_does_not_keep_a_plugin_out_for_ever(self):
        scene = Scene(max_failures=1)
        circuit = scene.breaker.circuit("bad")
        circuit.record_failure("on_accept")
        scene.now += 30
        assert circuit.begin_call() == scene.now
        scene.now += 29.5
        assert circuit.begin_call() is None
        scene.now += 0.5
        assert circuit.begin_call() == scene.now


class TestExempt:
    def test_a_protocol_is_called_however_often_it_fails(self):
        scene = Scene()
        told = scene.tell(scene.plugin("proto"), scene.plugin("good"))
        scene.raising.add("proto")
        scene.taking["proto"] = SLOW
        for _ in range(9):
            assert told("connection") is False
        assert scene.told_of(told, "connection") == ["proto", "good"]
        assert {kind for _, _, kind, _ in scene.reports} == {ValueError}
        assert (scene.breaker.state(), scene.changes, scene.told) == ([], 0, [])

    def test_its_functions_are_bound_as_they_are(self):
        scene = Scene()
        plugin = scene.plugin("proto", "choose_worker")
        [(_, ask)] = schedulers([plugin], scene.report, scene.breaker)
        assert ask is plugin.function


class TestWrappers:
    def told(self, scene):
        return scene.tell(
            scene.plugin("wrap", wrapper=True), scene.plugin("proto"), scene.plugin("good")
        )

    @pytest.mark.parametrize("part", ["before", "after"])
    def test_one_that_keeps_failing_is_passed_over(self, part):
        scene = Scene()
        told = self.told(scene)
        scene.raising.add(f"wrap {part}")
        for _ in range(3):
            assert told("connection") is False
        assert scene.reports == [("wrap", "on_accept", ValueError, ("connection",))] * 3
        assert scene.told_of(told, "connection") == ["proto", "good"]
        assert told("connection") is True
        scene.now += 30
        scene.raising.clear()
        assert scene.told_of(told, "connection") == ["wrap before", "proto", "good", "wrap after"]
        assert scene.breaker.state() == []

    def test_its_own_time_counts_and_not_that_of_those_inside(self):
        scene = Scene()
        told = self.told(scene)
        scene.taking["proto"] = SLOW
        told("connection")
        assert scene.reports == []
        scene.taking = {"wrap before": SLOW / 2, "wrap after": SLOW / 2}
        for _ in range(3):
            assert told("connection") is True
        assert scene.reports == [("wrap", "on_accept", SlowCallError, ("connection",))] * 3
        assert scene.states == {"wrap": "open"}

    def test_those_inside_are_guarded_as_well(self):
        scene = Scene()
        told = self.told(scene)
        scene.raising |= {"good", "proto"}
        for _ in range(3):
            told("connection")
        assert scene.told_of(told, "connection") == ["wrap before", "proto", "wrap after"]
        scene.raising.clear()
        scene.taking["good"] = SLOW
        scene.now += 30
        scene.reports.clear()
        assert told("connection") is True
        assert scene.reports == [("good", "on_accept", SlowCallError, ("connection",))]

    @pytest.mark.parametrize("yields", [0, 2])
    def test_one_that_breaks_the_rules_is_failing(self, yields):
        scene = Scene()

        def around(connection):
            for _ in range(yields):
                yield

        arguments = HOOKS["on_accept"]
        wrapper = Implementation(
            "wrap", "on_accept", around, arguments, arguments, "on_accept", wrapper=True
        )
        told = scene.tell(wrapper, scene.plugin("proto"))
        for _ in range(3):
            assert told("connection") is False
        assert told("connection") is True
        assert scene.reports == [("wrap", "on_accept", RuntimeError, ("connection",))] * 3

    def test_one_of_a_protocol_is_called_however_often_it_fails(self):
        scene = Scene(exempt=("wrap",))
        told = self.told(scene)
        scene.raising.add("wrap before")
        for _ in range(9):
            assert told("connection") is False
        assert "wrap before" in scene.told_of(told, "connection")


class TestSchedulers:
    def test_what_one_raises_is_counted_and_passed_on(self):
        scene = Scene()
        (_, bad), (_, good) = scene.schedulers("bad", "good")
        scene.answers = {"bad": "w0", "good": "w1"}
        scene.raising.add("bad")
        for _ in range(3):
            with pytest.raises(ValueError, match="bad failed"):
                bad("listener", ("w0", "w1"))
        scene.raising.clear()
        assert bad("listener", ("w0", "w1")) is None
        assert good("listener", ("w0", "w1")) == "w1"
        assert scene.reports == []  # whoever asks reports what is raised
        scene.now += 30
        assert bad("listener", ("w0", "w1")) == "w0"
        assert scene.breaker.state() == []

    def test_a_slow_answer_is_counted_and_used(self):
        scene = Scene()
        [(_, ask)] = scene.schedulers("bad")
        scene.answers["bad"] = "w0"
        scene.taking["bad"] = SLOW
        assert [ask("listener", ("w0",)) for _ in range(4)] == ["w0", "w0", "w0", None]
        args = ("listener", ("w0",))
        assert scene.reports == [("bad", "choose_worker", SlowCallError, args)] * 3

    def test_wrapped_ones_are_guarded_one_by_one(self):
        scene = Scene()
        [(_, ask)] = scene.schedulers("bad", "good", wrapper="wrap")
        scene.answers = {"bad": "nobody", "good": "w1"}
        for _ in range(3):
            assert ask("listener", ("w0", "w1")) == "w1"
        assert [plugin for plugin, _, _, _ in scene.reports] == ["bad"] * 3
        expected = ["wrap before", "good", "wrap after"]
        assert scene.told_of(ask, "listener", ("w0", "w1")) == expected


class TestWhatIsSeen:
    def test_state_tells_of_circuits_that_are_not_closed(self):
        scene = Scene()
        told = scene.tell(scene.plugin("bad"), scene.plugin("good"))
        scene.open(told)
        scene.now += 12.5
        known = {"plugin": "bad", "failures": 3, "hook": "on_accept"}
        assert scene.breaker.state() == [{**known, "state": "open", "seconds_left": 17.5}]
        scene.now += 20
        assert scene.breaker.state() == [{**known, "state": "half-open", "seconds_left": 0.0}]

    def test_events_tell_when_a_plugin_is_left_out_and_called_again(self):
        scene = Scene()
        told = scene.tell(scene.plugin("bad"))
        scene.open(told)
        scene.now += 30
        scene.raising.add("bad")
        told("connection")
        scene.now += 30
        scene.raising.clear()
        told("connection")
        assert scene.told.names == ["plugin_left_out", "plugin_left_out", "plugin_called_again"]
        common = {"plugin": "bad", "hook": "on_accept", "seconds": 30}
        assert scene.told.of(PLUGIN_LEFT_OUT) == [common | {"count": 3}, common | {"count": 4}]
        assert scene.told.of(PLUGIN_CALLED_AGAIN) == [{"plugin": "bad"}]

    def test_each_change_is_told_after_it_was_made(self):
        scene = Scene()
        seen = []
        scene.breaker.on_change = lambda: seen.append(scene.states)
        told = scene.tell(scene.plugin("bad"))
        scene.open(told)
        told("connection")
        assert seen == [{"bad": "open"}]
        scene.now += 30
        told("connection")
        assert seen == [{"bad": "open"}, {}]

    def test_a_plugin_has_one_circuit_for_all_listeners(self):
        scene = Scene()
        one, two = scene.tell(scene.plugin("bad")), scene.tell(scene.plugin("bad"))
        scene.open(one)
        assert scene.told_of(two, "connection") == []


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["on_accept", "on_close"]),
        st.sampled_from(["fine", "raises", "slow"]),
        st.sampled_from([0, 0.25, 4, 30]),
    ),
    max_size=40,
)


@given(STEPS)
def test_the_rules_hold_whatever_happens(steps):
    """Open only after enough failures; open, nobody is called; half-open, one failure is enough."""
    scene = Scene()
    calls = {hook: scene.tell(scene.plugin("bad", hook)) for hook in ("on_accept", "on_close")}
    model = SimpleNamespace(failures=[], until=None, hook=None)
    for hook, how, pause in steps:
        scene.now += pause
        scene.raising = {"bad"} if how == "raises" else set()
        scene.taking = {"bad": SLOW} if how == "slow" else {}
        heard = scene.told_of(calls[hook], *("connection", "gone")[: len(HOOKS[hook])])
        assert heard == ([] if model.until is not None and scene.now < model.until else ["bad"])
        if not heard:
            continue
        if how != "fine":
            model.failures = [each for each in model.failures if scene.now - each < 10]
            model.failures.append(scene.now)
            if model.until is not None or len(model.failures) == LIMITS["max_failures"]:
                model.until, model.hook, model.failures = scene.now + 30, hook, []
        elif model.until is not None and hook == model.hook:
            model.until = None
        assert bool(scene.breaker.state()) is (model.until is not None)
