"""Who hears which hook, in which order, and who is named when one fails."""

import functools

import pytest

from host.errors import PluginError
from host.hookspecs import ROWS, Audience, on_worker_start, on_worker_stop
from host.plugin.circuit_breaker import CircuitBreaker
from host.plugin.loading import load
from host.settings import Loaded, Settings
from host.telemetry.emitter import Telemetry
from support.plugin_files import loaded, write

HEADER = "from host import hookimpl\n"
PROTOCOL = """
class Protocol:
    @hookimpl
    def on_accept(self, connection): connection.append("{name} accept")
    @hookimpl
    def on_readable(self, connection): connection.append("{name} readable")
    @hookimpl
    def on_close(self, connection, reason): connection.append("{name} " + reason)
    @hookimpl
    def on_drain(self, connection): connection.append("{name} drain")
    @hookimpl
    def on_tls(self, connection): connection.append("{name} tls")
    @hookimpl
    def on_worker_start(self, worker): worker.append("{name} start")
"""
WATCHER = """
@hookimpl{order}
def on_accept(connection): connection.append("{name} accept")
@hookimpl
def on_close(reason, connection): connection.append("{name} " + reason)
@hookimpl
def on_worker_start(worker): worker.append("{name} start")
"""
WRAPPER = """
class Wrapper:
    @hookimpl(wrapper=True)
    def {hook}(self, connection):
        connection.append("before")
        result = yield
        connection.append("after")
        return result
"""


@pytest.fixture
def registry(own_folder):
    """Return a function that loads files, given as name and text, in that order."""

    def make(**files):
        for name, text in files.items():
            write(f"{name}.py", HEADER + text.replace("{name}", name))
        return load(loaded(*(f"./{name}.py" for name in files)))

    return make


def told(call, *args):
    log = []
    assert call(log, *args) is not False
    return log


def no_plugins(*report):
    raise AssertionError(report)


def watcher(order=""):
    return WATCHER.replace("{order}", order)


def test_a_listeners_plugin_hears_first_and_other_protocols_nothing(registry):
    bound = registry(
        first=watcher(),
        other=PROTOCOL,
        chat=PROTOCOL,
        eager=watcher("(tryfirst=True)"),
        late=watcher("(trylast=True)"),
        last=watcher(),
    ).bind("chat", no_plugins)
    order = ["chat", "eager", "first", "last", "late"]
    assert told(bound.on_accept) == [f"{name} accept" for name in order]
    order = ["chat", "first", "eager", "late", "last"]
    assert told(bound.on_close, "gone") == [f"{name} gone" for name in order]
    assert told(bound.on_readable) == ["chat readable"]
    assert told(bound.on_drain, 1.5) == ["chat drain"]
    assert told(bound.on_tls) == ["chat tls"]


def test_everyone_hears_what_belongs_to_no_listener(registry):
    bound = registry(first=watcher(), chat=PROTOCOL, last=watcher()).host_hooks(no_plugins)
    starts = told(functools.partial(bound.tell, on_worker_start))
    assert starts == ["first start", "chat start", "last start"]
    assert told(functools.partial(bound.tell, on_worker_stop)) == []


def test_on_readable_is_the_plugins_own_method(registry):
    loaded = registry(chat=PROTOCOL, first=watcher())
    assert loaded.bind("chat", no_plugins).on_readable == loaded.plugins[0].object.on_readable


@pytest.mark.parametrize("hook", ["on_accept", "on_readable", "on_drain", "on_tls"])
def test_wrappers_of_plugins_that_are_no_protocol_run_around(registry, hook):
    bound = registry(chat=PROTOCOL, wrap=WRAPPER.replace("{hook}", hook), other=PROTOCOL).bind(
        "chat", no_plugins
    )
    args = (1.5,) if hook == "on_drain" else ()
    said = told(getattr(bound, hook), *args)
    assert said == ["before", f"chat {hook.removeprefix('on_')}", "after"]


def test_a_failure_is_reported_and_the_others_still_hear(registry):
    fails = "\n@hookimpl\ndef on_accept(): raise SystemExit('no more')"
    reports = []
    bound = registry(fails=fails, chat=PROTOCOL, last=watcher()).bind(
        "chat", lambda *report: reports.append(report)
    )
    log = []
    assert bound.on_accept(log) is False
    assert log == ["chat accept", "last accept"]
    [(plugin, hook, error, args)] = reports
    assert (plugin, hook, str(error), args) == ("fails", "on_accept", "no more", (log,))


FAILS = """
@hookimpl
def {hook}(): raise ValueError("{hook} failed")
"""
GUARDED = ["on_accept", "on_close", "on_child_exit"]


@pytest.fixture
def failures_of_two_calls(registry):
    """Return a function that says what is reported of a plugin that fails in each of two calls.

    The breaker opens at the first failure.
    """

    def count(hook, text, args=("connection",)):
        loaded, reports = registry(bad=text, chat=PROTOCOL), []
        policy = Settings(breaker={"max_failures": 1}).breaker
        breaker = CircuitBreaker(policy, loaded.protocols, Telemetry())

        def report(plugin, hook, error, args):
            reports.append((plugin, hook, str(error)))

        if ROWS[hook].audience is Audience.EVERY:
            call = loaded.host_hooks(report, breaker=breaker).bound[ROWS[hook].specification]
        else:
            call = getattr(loaded.bind("chat", report, breaker=breaker), hook)
        for _ in range(2):
            call([], *args[1:])
        return reports

    return count


@pytest.mark.parametrize("hook", GUARDED)
def test_what_may_be_called_often_is_guarded(failures_of_two_calls, hook):
    args = ("connection", "gone")[: 2 if hook == "on_close" else 1]
    assert failures_of_two_calls(hook, FAILS.replace("{hook}", hook), args) == [
        ("bad", hook, f"{hook} failed")
    ]


@pytest.mark.parametrize("hook", ["on_host_start", "on_worker_start", "on_worker_stop"])
def test_what_is_called_once_is_not_guarded(failures_of_two_calls, hook):
    assert len(failures_of_two_calls(hook, FAILS.replace("{hook}", hook))) == 2


def test_a_wrapper_of_what_belongs_to_the_protocol_is_not_guarded(failures_of_two_calls):
    fails = "@hookimpl(wrapper=True)\ndef on_drain():\n    yield\n    raise ValueError"
    assert len(failures_of_two_calls("on_drain", fails, ("connection", 1.5))) == 2


def test_a_protocol_is_never_left_out(registry):
    loaded = registry(chat=PROTOCOL, fails=PROTOCOL.replace("append", "missing"))
    breaker = CircuitBreaker(
        Settings(breaker={"max_failures": 1}).breaker, loaded.protocols, Telemetry()
    )
    reports = []
    bound = loaded.bind("fails", lambda *report: reports.append(report[:2]), breaker=breaker)
    assert [bound.on_accept([]) for _ in range(3)] == [False] * 3
    assert reports == [("fails", "on_accept")] * 3
    assert bound.on_readable == loaded.plugins[1].object.on_readable


def test_a_scheduler_is_guarded(registry):
    fails = "@hookimpl\ndef choose_worker(): raise ValueError('no idea')"
    policy = Settings(breaker={"max_failures": 1}).breaker
    breaker = CircuitBreaker(policy, (), Telemetry())
    [(name, ask)] = registry(bad=fails).host_hooks(no_plugins, breaker=breaker).schedulers
    with pytest.raises(ValueError, match="no idea"):
        ask("listener", ["w0"])
    assert (name, ask("listener", ["w0"])) == ("bad", None)


def test_blame_tells_a_wrapper_from_what_it_wraps(registry):
    wrap = WRAPPER.replace("{hook}", "on_readable").replace('append("after")', "missing()")
    bound = registry(chat=PROTOCOL, wrap=wrap).bind("chat", no_plugins)
    with pytest.raises(AttributeError) as caught:
        bound.on_readable([])
    assert bound.blame(caught.value) == "wrap"
    with pytest.raises(AttributeError) as caught:
        registry(chat=PROTOCOL).bind("chat", no_plugins).on_readable(None)
    assert bound.blame(caught.value) == "chat"


def test_schedulers_are_asked_in_order(registry):
    chooses = "@hookimpl{order}\ndef choose_worker(workers): return workers[0] and '{name}'"
    schedulers = (
        registry(
            late=chooses.replace("{order}", "(trylast=True)"),
            first=chooses.replace("{order}", ""),
            eager=chooses.replace("{order}", "(tryfirst=True)"),
        )
        .host_hooks(no_plugins)
        .schedulers
    )
    assert [name for name, _ in schedulers] == ["eager", "first", "late"]
    assert [ask(None, [1]) for _, ask in schedulers] == ["eager", "first", "late"]


def test_wrapped_schedulers_are_one(registry):
    wrap = (
        "@hookimpl(wrapper=True)\ndef choose_worker(workers):\n    yield\n    return workers[1]\n"
    )
    fails = "@hookimpl\ndef choose_worker(listener): raise ValueError(listener)"
    takes = "@hookimpl\ndef choose_worker(workers): return workers[0]"
    reports = []
    [(name, ask)] = (
        registry(wrap=wrap, fails=fails, takes=takes)
        .host_hooks(lambda *report: reports.append(report[:2]))
        .schedulers
    )
    assert (name, ask("listener", ["a", "b"])) == ("wrap", "b")
    assert reports == [("fails", "choose_worker")]


def test_protocol_says_why_not(registry):
    loaded = registry(chat=PROTOCOL, watch=watcher())
    assert loaded.protocols == ("chat",)
    assert loaded.protocol("chat") is loaded.protocol("./chat.py") is loaded.plugins[0]
    with pytest.raises(PluginError, match="it cannot serve a listener"):
        loaded.protocol("watch")
    with pytest.raises(PluginError, match='not selected; did you mean "chat"'):
        loaded.bind("chart", no_plugins)
    with pytest.raises(PluginError, match="Select it: --plugin zebra"):
        loaded.protocol("zebra")


BRINGS = """
from host import hookspec

class Specs:
    @hookspec(firstresult=True)
    def on_word(self, connection, word): ...

class Protocol:
    hookspecs = Specs
    @hookimpl
    def on_readable(self, connection): connection.read()
"""
LOUD = "@hookimpl\ndef on_word(word): return word.upper() if word != 'no' else None\n"
FULL = "@hookimpl\ndef on_word(word, connection): return connection + word\n"
AROUND = "@hookimpl(wrapper=True)\ndef on_word(word):\n    return (yield)\n"


def test_a_hook_is_bound_to_the_arguments_that_its_implementations_take(registry):
    loaded = registry(brings=BRINGS, loud=LOUD, still=LOUD.replace("upper", "lower"), full=FULL)
    assert loaded.hook("on_word", ["loud"])("c", "a") == "A"
    assert loaded.hook("on_word", ["loud"], ["word"]) is loaded.plugins[1].object.on_word
    call = loaded.hook("on_word", ["loud", "still"], ["word"])
    assert (call("a"), call("no")) == ("A", None)
    assert loaded.hook("on_word", ["loud", "full"], ["word"]) is None
    assert loaded.hook("on_word", ["full"], ["word", "connection"])("w", "c") == "cw"


def test_a_wrapped_hook_is_called_with_all_arguments_only(registry):
    loaded = registry(brings=BRINGS, loud=LOUD, around=AROUND)
    assert loaded.hook("on_word", ["loud"], ["word"]) is None
    assert loaded.hook("on_word", ["loud"])("c", "a") == "A"


def test_two_loads_share_nothing(registry):
    first, second = registry(chat=PROTOCOL), registry(chat=PROTOCOL)
    assert first.manager is not second.manager
    assert first.plugins[0].object is not second.plugins[0].object
    assert first.manager.list_name_plugin()[0][0] == "chat"


def test_one_function_for_two_hooks_and_two_plugins(registry):
    shared = "@hookimpl\ndef on_accept(connection): connection.append(1)\non_readable = on_accept"
    loaded = registry(one=shared, two=shared)
    assert loaded.protocols == ("one", "two")
    assert told(loaded.bind("two", no_plugins).on_accept) == [1]


def test_modules_are_those_of_one_plugin_alone(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    code = HEADER + "class Plugin:\n    @hookimpl\n    def on_host_start(self, host): pass\n"
    for name in ("alone_here/deep/main", "shared_here/one", "shared_here/two", "single_here"):
        path = tmp_path / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code)
    (tmp_path / "double_here.py").write_text(code + code.replace("Plugin", "Other"))
    selected = ["alone_here.deep.main", "shared_here.one", "shared_here.two", "single_here"]
    texts = [f"{each}:Plugin" for each in [*selected, "double_here"]] + ["double_here:Other"]
    registry = load(Loaded(Settings(plugins=tuple(texts))))
    places = {place: owner for place, owner in registry.owners.items() if "_here" in place}
    names = {plugin.selected: plugin.name for plugin in registry.plugins}
    assert places == {
        "alone_here.deep.main": names["alone_here.deep.main:Plugin"],
        "alone_here.deep": names["alone_here.deep.main:Plugin"],
        "shared_here.one": names["shared_here.one:Plugin"],
        "shared_here.two": names["shared_here.two:Plugin"],
        "single_here": names["single_here:Plugin"],
    }
