"""Which calls of hooks are measured, how long each has taken, and whose failures are counted."""

import pytest

from host.ipc.series import OwnSeries
from host.metrics.hooks import HOOK_FAILURES, HOOK_SECONDS, HookFailures, HookTimes, SlowCalls
from host.plugin import binding
from host.plugin.binding import Implementation


class Clock:
    def __init__(self):
        self.now = 0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def own():
    own = OwnSeries()
    own.add(HOOK_SECONDS._replace(series=(("echo", "on_close"), ("echo", "on_readable"))))
    own.add(
        HOOK_FAILURES._replace(
            series=(
                ("", "echo", "on_readable"),
                ("tcp://x:1", "echo", "on_readable"),
                ("", "echo", "callback"),
                ("tcp://x:1", "echo", "callback"),
            )
        )
    )
    return own


def implementation(function, hook="on_readable", **more):
    return Implementation("echo", hook, function, ("connection",), ("connection",), hook, **more)


def observed(own, hook="on_readable"):
    first = own.places(HOOK_SECONDS.name)["echo", hook]
    words = own.words[first : first + HOOK_SECONDS.words]
    return {number: count for number, count in enumerate(words[:-1]) if count}, words[-1]


@pytest.mark.parametrize(
    ("nanoseconds", "bucket"),
    [(0, 0), (1, 0), (1000, 0), (1001, 1), (2000, 1), (2001, 2), (4000, 2), (10**10, 24)],
)
def test_a_call_is_in_the_bucket_whose_bound_it_does_not_exceed(own, clock, nanoseconds, bucket):
    def works(_connection):
        clock.now += nanoseconds
        return 7

    assert HookTimes(own, 1, clock).timed(implementation(works))(None) == 7
    assert observed(own) == ({bucket: 1}, nanoseconds / 1e9)
    if bucket < len(HOOK_SECONDS.bounds):
        assert nanoseconds / 1e9 <= HOOK_SECONDS.bounds[bucket] * 1.0000001


def test_a_call_that_fails_is_measured_too(own, clock):
    def fails(_connection):
        clock.now += 3000
        raise KeyError

    with pytest.raises(KeyError):
        HookTimes(own, 1, clock).timed(implementation(fails))(None)
    assert observed(own) == ({2: 1}, 3e-6)


def test_of_a_wrapper_its_two_parts_are_measured(own, clock):
    def around(connection):
        clock.now += 1500
        yield
        clock.now += 5000

    def works(connection):
        clock.now += 10**9

    times = HookTimes(own, 1, clock)
    wrapper = implementation(around, wrapper=True)
    inner = implementation(works)
    call = binding.bound([wrapper._replace(function=times.timed(wrapper)), inner])
    call("connection")
    assert observed(own) == ({1: 1, 3: 1}, pytest.approx(6.5e-6))


def test_one_of_so_many_calls_is_measured_on_average(own):
    sampled = HookTimes(own, 10).sampled(implementation(lambda _connection: None))
    for _ in range(10_000):
        sampled(None)
    counts, _ = observed(own)
    # Gaps are 1 to 19, so the standard deviation of the number is about 17.
    assert 850 < sum(counts.values()) < 1150


def test_all_calls_are_measured_with_1(own):
    sampled = HookTimes(own, 1).sampled(implementation(lambda _connection: None))
    for _ in range(100):
        sampled(None)
    assert sum(observed(own)[0].values()) == 100


def test_a_hook_that_is_not_laid_out_is_left_as_it_is(own):
    def choose(_connection):
        raise AssertionError

    times = HookTimes(own, 1)
    assert times.sampled(implementation(choose, "choose_worker")) is choose


class Subject:
    class listener:
        address = "tcp://x:1"


@pytest.mark.parametrize(
    ("plugin", "hook", "args", "labels"),
    [
        ("echo", "on_readable", (Subject(),), ("tcp://x:1", "echo", "on_readable")),
        ("echo", "on_readable", (object(),), ("", "echo", "on_readable")),
        ("echo", "task Task-7", (Subject(),), ("tcp://x:1", "echo", "callback")),
        ("echo", "on_line", (), ("", "echo", "callback")),
        ("my.package", "call of tick", (), ("", "echo", "callback")),
        ("my.package.ticking", "call of tick", (), ("", "echo", "callback")),
    ],
)
def test_failures_are_counted_by_listener_plugin_and_hook(own, plugin, hook, args, labels):
    HookFailures(own, {"my.package": "echo"})(plugin, hook, KeyError(), args)
    places = own.places(HOOK_FAILURES.name)
    assert {each for each, place in places.items() if own.words[place]} == {labels}


def test_a_failure_of_nobody_known_is_not_counted(own):
    HookFailures(own, {})("other", "on_readable", KeyError(), (Subject(),))
    assert not any(own.words)


@pytest.mark.parametrize("noted_by_others", [False, True])
def test_a_measured_call_that_took_too_long_is_noted_once(own, clock, noted_by_others):
    took, noted = [100_000_000, 100_000_001, 5], []

    def works(_connection):
        clock.now += took.pop(0)

    slow = SlowCalls(0.1, lambda *call: noted.append(call), lambda _each: noted_by_others)
    timed = HookTimes(own, 1, clock, slow).timed(implementation(works))
    for _ in range(3):
        timed(None)
    assert noted == ([] if noted_by_others else [("echo", "on_readable")])
