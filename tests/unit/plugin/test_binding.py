"""Functions bound directly do what pluggy's own call does; who failed is found."""

import pytest
from hypothesis import given

from host.plugin.binding import blame, bound, direct
from support.implementations import (
    MEMBERS,
    build,
    fails_first,
    implementation,
    no_yield,
    two_yields,
)


@given(MEMBERS.filter(len))
def test_direct_calls_return_what_pluggy_returns(members):
    ordered, call, host_log, pluggy_log = build(members, "on_close", wrap=False)
    results = [direct(each)("connection", "reason") for each in ordered]
    expected = call(connection="connection", reason="reason")
    assert [result for result in results if result is not None] == expected
    assert host_log == pluggy_log


def test_a_single_function_with_all_arguments_is_bound_as_it_is():
    def on_readable(connection):
        pass

    assert bound([implementation("echo", on_readable)]) is on_readable


def test_on_readable_goes_through_wrappers():
    seen = []

    def on_readable(connection):
        seen.append(connection)

    def around(connection):
        seen.append("before")
        yield
        seen.append("after")

    wrapper = implementation("trace", around, hook="on_readable", wrapper=True)
    bound([wrapper, implementation("echo", on_readable)])("connection")
    assert seen == ["before", "connection", "after"]


def passes_on(connection):
    yield


def replaces(connection):
    try:
        yield
    except ValueError:
        raise RuntimeError("replaced") from None


def reads_badly(connection):
    raise ValueError("bad")


@pytest.mark.parametrize(
    ("function", "culprit"),
    [
        (passes_on, "echo"),
        (replaces, "trace"),
        (no_yield, "trace"),
        (two_yields, "echo"),
        (fails_first, "trace"),
    ],
)
def test_blame_finds_whose_function_raised(function, culprit):
    both = [
        implementation("trace", function, hook="on_readable", wrapper=True),
        implementation("echo", reads_badly, hook="on_readable"),
    ]
    with pytest.raises((ValueError, RuntimeError, LookupError)) as caught:
        bound(both)("connection")
    assert blame(caught.value, both, "default") == culprit


def test_blame_falls_back():
    assert blame(ValueError("never raised"), [], "echo") == "echo"


def test_blame_asks_for_the_text_of_an_error_that_has_none():
    class Mute(Exception):
        def __str__(self):
            raise RuntimeError

    both = [implementation("echo", reads_badly, hook="on_readable")]
    assert blame(Mute(), both, "default") == "default"
