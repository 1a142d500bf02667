"""Plugins that take away what the host lives on are named, and everything is put back."""

import builtins
import errno
import os
import resource
import select
import signal
import socket
import sys
import time

import pytest

from host.errors import Interrupted, PluginError
from host.plugin import interference
from host.plugin.interference import Keeping
from host.plugin.loading import load
from host.startup.essentials import do_essentials
from support.plugin_files import ECHO, load_text, loaded, names, refusal, write

pytestmark = pytest.mark.usefixtures("own_folder")

CORE = [
    f"{module.__name__}.{name}"
    for module, written in interference._CORE.items()
    for name in written.split()
]


def refused(text):
    """Return with what a plugin is refused that does this when it is imported."""
    with pytest.raises(PluginError) as caught:
        load_text(text)
    assert caught.value.plugin == "chat"
    return caught.value


@pytest.mark.parametrize(
    "taking",
    ["del select.epoll", "select.epoll = None", "del select.epoll\nraise ValueError('then this')"],
)
def test_who_takes_epoll_away_is_named_and_epoll_is_put_back(taking):
    before = select.epoll
    assert "select.epoll" in refused(f"import select\n{taking}\n").cause
    assert select.epoll is before


def test_a_constructor_is_looked_at_as_well():
    before = select.epoll
    error = refused("""
        class Chat:
            def __init__(self):
                import select
                del select.epoll

            @hookimpl
            def on_readable(self, connection): ...
    """)
    assert error.code == "takes-epoll"
    assert select.epoll is before


@pytest.mark.parametrize("name", [name for name in CORE if name != "select.epoll"])
def test_what_the_host_needs_is_not_replaced_even_by_what_may_work(name):
    module, _, attribute = name.rpartition(".")
    before = getattr(sys.modules[module], attribute)
    error = refused(f"import {module}\n{name} = lambda *_, **__: 1 / 0\n")
    assert (error.code, error.cause) == (
        "takes-functions",
        f"it replaces {name}, for the whole host, which cannot work without",
    )
    assert getattr(sys.modules[module], attribute) is before


@pytest.mark.parametrize("taking", ["os.fork = None", "del os.fork", "os.getloadavg = None"])
def test_nothing_is_taken_away(taking):
    before = os.fork, os.getloadavg
    assert "it takes away os." in refused(f"import os\n{taking}\n").cause
    assert before == (os.fork, os.getloadavg)


def test_what_only_others_use_may_be_wrapped():
    before = time.strftime
    try:
        registry = load_text(
            "import time\nold = time.strftime\ntime.strftime = lambda *args: old(*args)\n"
            "@hookimpl\ndef on_readable(connection): ...\n"
        )
        assert names(registry) == ["chat"]
    finally:
        time.strftime = before


@pytest.mark.parametrize(
    "name", ["builtins.len", "heapq.heappush", "json.dumps", "random.random", "struct.pack"]
)
def test_what_the_host_calls_of_the_library_is_not_taken_away_but_may_be_wrapped(name):
    module, _, attribute = name.rpartition(".")
    before = getattr(sys.modules[module], attribute)
    wrap = (
        f"import {module}\nbefore = {name}\n{name} = lambda *args, **more: before(*args, **more)\n"
    )
    try:
        assert names(load_text(f"{wrap}@hookimpl\ndef on_readable(connection): ...\n")) == ["chat"]
    finally:
        setattr(sys.modules[module], attribute, before)
    error = refused(f"import {module}\n{name} = None\n")
    assert error.cause == f"it takes away {name}, for the whole host, which cannot work without"
    assert getattr(sys.modules[module], attribute) is before


def test_the_hosts_descriptors_stay_open():
    kept, closed = (open(os.devnull, "rb") for _ in range(2))  # noqa: SIM115
    with kept, closed:
        write("chat.py", f"import os\nos.close({closed.fileno()})\n{ECHO}")
        with pytest.raises(PluginError) as caught:
            load(loaded("./chat.py"), Keeping((kept.fileno(), closed.fileno())))
        assert caught.value.code == "closes-descriptors"
        assert caught.value.cause.endswith(f"the host's descriptors {closed.fileno()}")
        os.fstat(closed.fileno())  # whoever had it may close it


def test_other_descriptors_may_be_closed():
    other = os.open(os.devnull, os.O_RDONLY)
    write("chat.py", f"import os\nos.close({other})\n{ECHO}")
    with open(os.devnull, "rb") as own:
        assert names(load(loaded("./chat.py"), Keeping((own.fileno(),)))) == ["chat"]


def broken_by(*plugins):
    """Return with which text plugins are refused that the host cannot work with."""
    with pytest.raises(PluginError) as caught:
        load(loaded(*plugins), Keeping((), do_essentials))
    return str(caught.value)


def test_what_breaks_the_host_in_another_way_is_told_once_and_of_no_other_plugin(monkeypatch):
    monkeypatch.setattr(os, "environ", os.environ)  # to have it back
    write("breaker.py", f"import os\nos.environ = None\n{ECHO}")
    write("other.py", ECHO)
    said = broken_by("./breaker.py", "./other.py")
    monkeypatch.undo()
    assert 'plugin "breaker"' in said
    assert "the host cannot work with what it has done: AttributeError: 'NoneType'" in said
    assert 'plugin "other"' not in said


def test_who_breaks_imports_is_named_and_they_work_again():
    before = builtins.__import__
    write(
        "breaker.py",
        "import builtins\ndef refuse(*_, **__): raise ImportError('no more')\n"
        f"{ECHO}\nbuiltins.__import__ = refuse",
    )
    assert "ImportError: no more, in breaker.py:2" in broken_by("./breaker.py")
    assert builtins.__import__ is before


def test_a_limit_of_the_machine_is_nothing_that_a_plugin_has_broken():
    def fail():
        raise OSError(errno.EMFILE, "too many open files")

    write("chat.py", ECHO)
    assert names(load(loaded("./chat.py"), Keeping((), fail))) == ["chat"]


def test_imports_may_be_wrapped():
    before = builtins.__import__
    try:
        load_text(
            "import builtins\nold = builtins.__import__\n"
            "builtins.__import__ = lambda *args, **more: old(*args, **more)\n"
            "@hookimpl\ndef on_readable(connection): ...\n"
        )
        assert builtins.__import__ is not before
    finally:
        builtins.__import__ = before


def test_a_plugin_that_brings_many_of_its_own_is_told_in_few_words():
    taking = "\n".join(f"{name} = None" for name in CORE if name.startswith("os."))
    cause = refused(f"import os\n{taking}\n").cause
    assert cause.count("os.") == 5
    assert "more, for the whole host" in cause


@pytest.fixture(name="no_timers")
def have_no_timers():
    """Without the timer that ends a test which takes too long."""
    before = {number: signal.setitimer(number, 0) for number in (0, 1, 2)}
    yield
    for number, timer in before.items():
        signal.setitimer(number, *timer)


@pytest.mark.usefixtures("no_timers")
@pytest.mark.parametrize("timer", ["ITIMER_REAL", "ITIMER_VIRTUAL", "ITIMER_PROF"])
def test_a_timer_that_is_left_is_named_and_stopped(timer):
    error = refused(f"import signal\nsignal.setitimer(signal.{timer}, 3_600)\n")
    assert error.code == "leaves-timer"
    assert timer in error.cause
    assert signal.getitimer(getattr(signal, timer)) == (0, 0)


@pytest.mark.usefixtures("no_timers")
@pytest.mark.parametrize("timer", ["5_000", "500", "3_600, 1"])
def test_a_timer_of_whoever_started_the_host_is_not_replaced(timer):
    signal.setitimer(signal.ITIMER_PROF, 3_600)
    error = refused(f"import signal\nsignal.setitimer(signal.ITIMER_PROF, {timer})\n")
    assert error.code == "leaves-timer"
    seconds, again = signal.getitimer(signal.ITIMER_PROF)
    assert 3_500 < seconds < 3_601  # the kernel adds a tick
    assert again == 0


@pytest.mark.usefixtures("no_timers")
def test_an_alarm_that_went_off_in_time_is_nobodys_affair():
    code = "import signal\nsignal.alarm(3_600)\nsignal.alarm(0)\n"
    assert names(load_text(f"{code}@hookimpl\ndef on_readable(connection): ...\n")) == ["chat"]


@pytest.mark.usefixtures("no_timers")
def test_a_timer_of_whoever_started_the_host_goes_on():
    signal.setitimer(signal.ITIMER_VIRTUAL, 3_600)
    load_text("@hookimpl\ndef on_readable(connection): ...\n")
    assert signal.getitimer(signal.ITIMER_VIRTUAL)[0] > 3_500


@pytest.mark.usefixtures("no_timers")
def test_a_timer_of_whoever_started_the_host_may_go_off_again_and_again():
    handler = signal.signal(signal.SIGALRM, lambda *_: None)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.5, 3_600)
        load_text("""
            import signal, time
            end = time.time() + 10
            while signal.getitimer(signal.ITIMER_REAL)[0] < 1 and time.time() < end:
                pass
            @hookimpl
            def on_readable(connection): ...
        """)
        seconds, again = signal.getitimer(signal.ITIMER_REAL)
        assert (seconds > 3_500, again) == (True, 3_600)
        error = refused("import signal\nsignal.setitimer(signal.ITIMER_REAL, 9_000, 3_600)\n")
        assert error.code == "leaves-timer"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)


@pytest.mark.usefixtures("no_timers")
def test_the_clock_of_a_test_that_loads_plugins_is_not_looked_at(monkeypatch):
    signal.setitimer(signal.ITIMER_PROF, 3_600)
    looks = []
    monkeypatch.setattr(time, "monotonic", lambda: looks.append(1) or -1e6 * len(looks))
    assert names(load_text("@hookimpl\ndef on_readable(connection): ...\n")) == ["chat"]
    assert not looks


def test_a_lower_recursion_limit_is_named_and_put_back():
    before = sys.getrecursionlimit()
    error = refused(f"import sys\nsys.setrecursionlimit({before - 1})\n")
    assert str(before - 1) in error.cause
    assert sys.getrecursionlimit() == before


def test_limited_cpu_time_is_named_and_put_back():
    soft, hard = resource.getrlimit(resource.RLIMIT_CPU)
    code = f"import resource\nresource.setrlimit(resource.RLIMIT_CPU, (7_200, {hard}))\n"
    assert "7200 s (RLIMIT_CPU)" in refused(code).cause
    assert resource.getrlimit(resource.RLIMIT_CPU) == (soft, hard)


def test_a_stop_of_the_host_comes_first_and_all_is_put_back():
    before = os.fork
    with pytest.raises(Interrupted):
        load_text("""
            import os
            from host.errors import Interrupted
            os.fork = None
            raise Interrupted("SIGTERM")
        """)
    assert os.fork is before


@pytest.mark.usefixtures("no_timers")
def test_the_others_are_looked_at_too():
    write("taker.py", f"import socket\nsocket.socket = None\n{ECHO}")
    write("timer.py", f"import signal\nsignal.alarm(3_600)\n{ECHO}")
    before = socket.socket
    said = refusal("./taker.py", "./timer.py")
    assert 'plugin "taker"' in said
    assert 'plugin "timer"' in said
    assert "it takes away socket.socket," in said
    assert socket.socket is before
