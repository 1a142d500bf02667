"""Direct binding behaves as pluggy's own call does; failures are isolated and named."""

import types

import pluggy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from host import hookspecs
from host.plugin.binding import HOOKS, Holder, Implementation, Manager, blame, bound, direct
from host.plugin.isolation import schedulers, tell

BODIES = {
    "on_accept": [(), ("connection",)],
    "on_close": [
        (),
        ("connection",),
        ("reason",),
        ("connection", "reason"),
        ("reason", "connection"),
    ],
    "choose_worker": [(), ("workers",), ("listener", "workers"), ("workers", "listener")],
}


def _implementation(plugin, hook, function, arguments, **settings):
    return Implementation(plugin, hook, function, arguments, HOOKS[hook], hook, **settings)


class Log(list):
    """What happened, in order."""

    def report(self, plugin, hook, error, args):
        self.append(("failed", plugin, hook, str(error), args))


def make(log, name, hook, arguments, answer=None, fails=False, wrapper=False):
    """Make a function as an author would write it; it logs each call."""
    lines = [f"def {hook}({', '.join(arguments)}):"]
    lines.append(f"    log.append(({name!r}, {', '.join(arguments)}{',' if arguments else ''}))")
    if wrapper:
        lines.append("    outcome = yield")
        lines.append(f"    log.append(({name!r}, 'after', outcome))")
    if fails:
        lines.append(f"    raise error('{name} failed')")
    lines.append("    return outcome" if wrapper else "    return answer")
    names = {"log": log, "answer": answer, "error": fails or None}
    exec("\n".join(lines), names)
    return names[hook]


MEMBERS = st.lists(
    st.tuples(
        st.integers(0, 3),  # which of the argument lists
        st.sampled_from(["", "tryfirst", "trylast"]),
        st.sampled_from([None, None, 0, 1, 2]),  # the answer
        st.booleans(),  # wrapper
        st.sampled_from([None, None, ValueError, SystemExit]),
    ),
    max_size=6,
)


def build(members, hook, fail=False, wrap=True):
    """Return implementations in pluggy's order and a log for each way of calling, host's first.

    The plugins are written once with plain pluggy and once as the host finds them.
    """
    host_log, pluggy_log = Log(), Log()
    manager = pluggy.PluginManager(hookspecs.NAMESPACE)
    manager.add_hookspecs(hookspecs)
    ours, theirs = [], {}
    for number, (body, order, answer, wrapper, error) in enumerate(members):
        name, arguments = f"p{number}", BODIES[hook][body % len(BODIES[hook])]
        settings = {
            "wrapper": wrapper and wrap,
            "tryfirst": order == "tryfirst",
            "trylast": order == "trylast",
        }
        fails = error if fail else False
        rest = (name, hook, arguments, answer, fails, settings["wrapper"])
        ours.append(_implementation(name, hook, make(host_log, *rest), arguments, **settings))
        plugin = types.ModuleType(name)
        setattr(plugin, hook, hookspecs.hookimpl(**settings)(make(pluggy_log, *rest)))
        theirs[name] = plugin
    for name in reversed(theirs):
        manager.register(theirs[name], name=name)
    own = Manager()
    for each in reversed(ours):
        own.register(Holder([each]), name=each.plugin)
    by_name = {each.plugin: each for each in ours}
    call = getattr(manager.hook, hook)
    registered = getattr(own.hook, hook).get_hookimpls()
    ordered = [by_name[each.plugin_name] for each in reversed(registered)]
    return ordered, call, host_log, pluggy_log


@given(MEMBERS, st.sampled_from(["on_accept", "on_close"]))
def test_telling_is_what_pluggy_does(members, hook):
    ordered, call, host_log, pluggy_log = build(members, hook)
    values = dict(zip(HOOKS[hook], ("first", "second"), strict=False))
    assert tell(hook, ordered, host_log.report)(*values.values()) is True
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


@given(MEMBERS.filter(len))
def test_direct_calls_return_what_pluggy_returns(members):
    ordered, call, host_log, pluggy_log = build(members, "on_close", wrap=False)
    results = [direct(each)("connection", "reason") for each in ordered]
    expected = call(connection="connection", reason="reason")
    assert [result for result in results if result is not None] == expected
    assert host_log == pluggy_log


@given(MEMBERS, st.sampled_from(["on_accept", "on_close"]))
def test_each_failure_is_named_and_keeps_nobody_else_from_being_called(members, hook):
    ordered, _, log, _ = build(members, hook, fail=True)
    args = ("first", "second")[: len(HOOKS[hook])]
    fine = tell(hook, ordered, log.report)(*args)
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


def implementation(plugin, function, **settings):
    hook = settings.pop("hook", function.__name__)
    code = function.__code__
    arguments = code.co_varnames[: code.co_argcount]
    return _implementation(plugin, hook, function, arguments, **settings)


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


def test_telling_nobody_succeeds():
    assert tell("on_accept", [], Log().report)("connection") is True


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
    told = tell("on_accept", [wrapper, implementation("echo", on_accept)], log.report)
    assert told("outer") is True
    assert log == [
        ("failed", "echo", "on_accept", "inner failed", ("inner",)),
        ("inner went well", False),
    ]


def no_yield(connection):
    if connection is None:
        yield


def two_yields(connection):
    yield
    yield


def fails_first(connection):
    raise LookupError("before")
    yield


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
    told = tell("on_accept", [wrapper, implementation("echo", on_accept)], log.report)
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
