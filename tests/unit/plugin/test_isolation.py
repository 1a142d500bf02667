"""Who is told and asked is what pluggy has; each failure is named and hinders nobody else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.plugin.binding import HOOKS
from host.plugin.isolation import isolated, schedulers
from support.implementations import (
    MEMBERS,
    Log,
    build,
    fails_first,
    implementation,
    no_yield,
    two_yields,
)


@given(MEMBERS, st.sampled_from(["on_accept", "on_close"]))
def test_telling_is_what_pluggy_does(members, hook):
    ordered, call, host_log, pluggy_log = build(members, hook)
    values = dict(zip(HOOKS[hook], ("first", "second"), strict=False))
    assert isolated(hook, ordered, host_log.report)(*values.values()) is True
    call(**values)
    assert host_log == pluggy_log


@given(MEMBERS)
def test_asking_is_what_pluggy_does(members):
    ordered, call, host_log, pluggy_log = build(members, "choose_worker")
    workers = (0, 1, 2)
    answers = (
        answer
        for _, ask in schedulers(ordered, host_log.report)
        if (answer := ask("listener", workers)) is not None
    )
    assert next(answers, None) == call(listener="listener", workers=workers)
    assert host_log == pluggy_log


@given(MEMBERS, st.sampled_from(["on_accept", "on_close"]))
def test_each_failure_is_named_and_keeps_nobody_else_from_being_called(members, hook):
    ordered, _, log, _ = build(members, hook, fail=True)
    args = ("first", "second")[: len(HOOKS[hook])]
    fine = isolated(hook, ordered, log.report)(*args)
    failing = {f"p{number}" for number, member in enumerate(members) if member[4]}
    assert fine is not bool(failing)
    assert {entry[0] for entry in log} - {"failed"} == {each.plugin for each in ordered}
    reports = [entry for entry in log if entry[0] == "failed"]
    assert sorted(reports) == sorted(("failed", p, hook, f"{p} failed", args) for p in failing)


@given(MEMBERS)
def test_a_failing_scheduler_does_not_keep_the_next_from_being_asked(members):
    ordered, _, log, _ = build(members, "choose_worker", fail=True)
    if not any(each.wrapper for each in ordered):
        return
    [(name, ask)] = schedulers(ordered, log.report)
    expected = [members[int(e.plugin[1:])] for e in ordered if not e.wrapper]
    answers = [m[2] for m in expected if m[2] is not None and not m[4]]
    assert ask("listener", (0, 1, 2)) == (answers[0] if answers else None)
    assert name == ordered[0].plugin


def test_telling_nobody_succeeds():
    assert isolated("on_accept", [], Log().report)("connection") is True


def test_a_hook_may_be_told_within_itself():
    log = Log()

    def on_accept(connection):
        if connection == "outer":
            log.append(("inner went well", told("inner")))
        else:
            raise ValueError("inner failed")

    def around(connection):
        yield

    wrapper = implementation("trace", around, hook="on_accept", wrapper=True)
    told = isolated("on_accept", [wrapper, implementation("echo", on_accept)], log.report)
    assert told("outer") is True
    assert log == [
        ("failed", "echo", "on_accept", "inner failed", ("inner",)),
        ("inner went well", False),
    ]


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (no_yield, "the wrapper did not yield"),
        (two_yields, "the wrapper yielded twice"),
        (fails_first, "before"),
    ],
)
def test_a_wrapper_that_breaks_the_rules_is_named_and_the_rest_goes_on(function, said):
    log = Log()

    def on_accept(connection):
        log.append("heard")

    wrapper = implementation("trace", function, hook="on_accept", wrapper=True)
    told = isolated("on_accept", [wrapper, implementation("echo", on_accept)], log.report)
    assert told("connection") is False
    assert sorted(log, key=str) == [
        ("failed", "trace", "on_accept", said, ("connection",)),
        "heard",
    ]


def test_an_answer_that_is_no_candidate_is_laid_at_its_authors_door():
    log = Log()

    def choose_worker(listener, workers):
        return "nobody"

    def around(workers):
        return (yield)

    wrapper = implementation("trace", around, hook="choose_worker", wrapper=True)
    [(_, ask)] = schedulers([wrapper, implementation("odd", choose_worker)], log.report)
    assert ask("listener", ("w0",)) is None
    [(_, plugin, hook, said, _)] = log
    assert (plugin, hook) == ("odd", "choose_worker")
    assert said == "the answer is none of the candidates: 'nobody'"
