"""Where a worker was is told from its stacks and its mark, each filling in for the other."""

import functools
import subprocess
import sys

import pytest

from host.hookspecs import (
    on_accept,
    on_close,
    on_datagram,
    on_drain,
    on_readable,
    on_worker_start,
)
from host.interfaces import Listener
from host.ipc.current_call import CALLBACK, TASK, CurrentCall, kind_of
from host.ipc.doing import NOTHING, Doing
from host.plugin.binding import HOOKS, Implementation
from host.supervisor.workers.last_call import LastCall

LISTENERS = [Listener(0, "tcp://127.0.0.1:7000", "echo"), Listener(1, "unix:/x", "chat")]


def made(file, *names):
    """Make functions as if they stood in this file, each in its first line."""
    space = {}
    for name in names:
        exec(compile(f"def {name}(): pass", file, "exec"), space)
    return [space[name] for name in names]


def implementation(plugin, hook, function, **more):
    return Implementation(plugin, hook, function, (), HOOKS[hook], hook, **more)


def whereabouts(*implementations):
    calls = {}
    for each in implementations:
        calls.setdefault(each.hook, []).append(each)
    return LastCall(calls)


def plugin(name, *hooks, file=None, **more):
    """The implementations of a plugin in a file of its own."""
    functions = made(file or f"/plugins/{name}.py", *hooks)
    return [
        implementation(name, hook, function, **more)
        for hook, function in zip(hooks, functions, strict=True)
    ]


def stacks(*frames):
    """A dump, innermost first, of these frames and the host's own."""
    lines = [f'  File "{file}", line {(*line, 1)[0]} in {name}' for file, name, *line in frames]
    outer = [
        '  File "/host/connection.py", line 9 in on_event',
        '  File "/host/loop.py", line 5 in run',
    ]
    return "\n".join(["Current thread 0x7f (most recent call first):", *lines, *outer])


HOST = whereabouts(
    *plugin("echo", "on_readable", "on_accept"),
    *plugin("chat", "on_readable", "on_close"),
    *plugin("census", "on_accept", "on_worker_start"),
)


def describe(pack_call=None, text="", host=HOST, pid=4711, doing=NOTHING):
    return host.describe(pid, pack_call, text, LISTENERS, "192.0.2.1:7", doing)


def test_nothing_is_known_of_a_worker_that_left_no_trace():
    assert describe() == "outside any hook"
    assert describe(text=stacks()) == "outside any hook"
    assert describe(text=stacks(("/plugins/other.py", "on_readable"))) == "outside any hook"


def test_stacks_alone_name_the_plugin_and_hook():
    text = stacks(("/lib/json.py", "loads"), ("/plugins/chat.py", "on_close"))
    assert describe(text=text) == "in hook on_close of plugin chat"


def test_whoever_the_host_has_called_is_named_and_not_whom_that_called():
    text = stacks(("/plugins/echo.py", "on_readable"), ("/plugins/chat.py", "on_close"))
    assert describe(text=text) == "in hook on_close of plugin chat"


@pytest.mark.parametrize(("listener", "plugin"), [(0, "echo"), (1, "chat")])
def test_a_mark_alone_names_the_plugin_of_the_listener(listener, plugin):
    pack_call = CurrentCall(kind_of(on_readable), 12, listener)
    assert describe(pack_call) == f"in hook on_readable of plugin {plugin}, connection 4711-12"


@pytest.mark.parametrize("text", ["", stacks(("/plugins/echo.py", "on_datagram"))])
def test_a_datagram_is_named_by_its_sender(text):
    host = whereabouts(*plugin("echo", "on_datagram"), *plugin("chat", "on_datagram"))
    pack_call = CurrentCall(kind_of(on_datagram), 12, 0)
    expected = "in hook on_datagram of plugin echo, datagram from 192.0.2.1:7"
    assert describe(pack_call, text, host=host) == expected


def test_a_mark_alone_names_all_plugins_that_implement_the_hook():
    pack_call = CurrentCall(kind_of(on_accept), 3, 1)
    assert describe(pack_call) == "in hook on_accept of plugin echo or census, connection 4711-3"
    assert describe(CurrentCall(kind_of(on_close), 3, 1)).startswith(
        "in hook on_close of plugin chat,"
    )


def test_wrappers_and_second_implementations_are_no_further_suspects():
    host = whereabouts(
        *plugin("around", "on_accept", wrapper=True),
        *plugin("echo", "on_accept"),
        *plugin("echo", "on_accept", file="/plugins/more.py"),
    )
    assert describe(CurrentCall(kind_of(on_accept), 1, 0), host=host).startswith(
        "in hook on_accept of plugin echo,"
    )


def test_stacks_tell_which_of_several_plugins_it_was():
    pack_call = CurrentCall(kind_of(on_accept), 3, 1)
    text = stacks(("/plugins/census.py", "on_accept"))
    assert describe(pack_call, text) == "in hook on_accept of plugin census, connection 4711-3"


def test_stacks_of_another_hook_are_older_than_the_mark():
    """What was printed may be from when it hung before; the mark is from now."""
    text = stacks(("/plugins/census.py", "on_worker_start"))
    pack_call = CurrentCall(kind_of(on_readable), 3, 1)
    assert describe(pack_call, text) == "in hook on_readable of plugin chat, connection 4711-3"


def test_a_hook_without_a_connection_is_told_without_one():
    assert (
        describe(CurrentCall(kind_of(on_worker_start), 0, 0))
        == "in hook on_worker_start of plugin census"
    )


def test_a_callback_is_named_by_the_stacks_if_they_know_more():
    pack_call = CurrentCall(CALLBACK, 0, 0)
    assert describe(pack_call) == "in a callback"
    assert describe(pack_call, stacks(("/plugins/echo.py", "tick"))) == "in a callback"
    text = stacks(("/plugins/census.py", "on_worker_start"))
    assert describe(pack_call, text) == "in hook on_worker_start of plugin census"


def test_a_mark_that_cannot_be_is_no_error():
    pack_call = CurrentCall(kind_of(on_readable), 5, 65_535)
    text = describe(pack_call)
    assert text == "in hook on_readable of plugin echo or chat, connection 4711-5"
    assert (
        describe(CurrentCall(kind_of(on_drain), 5, 0))
        == "in hook on_drain of plugin ?, connection 4711-5"
    )


def test_functions_without_code_are_left_out():
    host = whereabouts(implementation("odd", "on_accept", functools.partial(print)))
    assert describe(text=stacks(("x.py", "print")), host=host) == "outside any hook"
    assert "plugin odd" in describe(CurrentCall(kind_of(on_accept), 1, 0), host=host)


def test_methods_are_found_by_their_function():
    class Plugin:
        def on_close(self):
            pass

    host = whereabouts(implementation("odd", "on_close", Plugin().on_close))
    text = stacks((__file__, "on_close", Plugin.on_close.__code__.co_firstlineno + 1))
    assert describe(text=text, host=host) == "in hook on_close of plugin odd"


def real_stacks(folder, source):
    """Run a plugin's code in a process of its own, which dumps its stacks; return them."""
    file = folder / "plugin.py"
    file.write_text("import faulthandler, sys\n" + source, "utf-8")
    command = [sys.executable, str(file)]
    return str(file), subprocess.run(command, capture_output=True, check=True).stderr.decode()


def host_of(file, source, **hooks):
    """Know the plugins of this file: the hooks' implementations by what evaluates to them."""
    space = {"__name__": "plugin"}
    exec(compile("import faulthandler\n" + source, file, "exec"), space)
    return whereabouts(
        *(
            implementation(name, hook, eval(function, space))
            for name, (hook, function) in hooks.items()
        )
    )


TWO = """
class One:
    def on_accept(self):
        faulthandler.dump_traceback()
class Two:
    def on_accept(self):
        pass
if __name__ == "__main__":
    One().on_accept()
"""
DECORATED = """
def logged(function):
    def wrapper():
        return function()
    return wrapper
@logged
def on_accept():
    faulthandler.dump_traceback()
@logged
def on_close():
    pass
if __name__ == "__main__":
    on_accept()
"""
PLAIN = "def on_accept(): faulthandler.dump_traceback()\nif __name__ == '__main__': on_accept()\n"


def test_the_plugin_is_found_in_real_stacks(tmp_path):
    file, text = real_stacks(tmp_path, PLAIN)
    host = host_of(file, PLAIN, one=("on_accept", "on_accept"))
    assert describe(text=text, host=host) == "in hook on_accept of plugin one"


def test_two_plugins_of_one_file_are_told_apart(tmp_path):
    file, text = real_stacks(tmp_path, TWO)
    plugins = {"one": ("on_accept", "One().on_accept"), "two": ("on_accept", "Two().on_accept")}
    host = host_of(file, TWO, **plugins)
    pack_call = CurrentCall(kind_of(on_accept), 1, 0)
    assert describe(pack_call, text, host) == "in hook on_accept of plugin one, connection 4711-1"


def test_decorated_hooks_are_told_apart(tmp_path):
    source = DECORATED.replace("    def wrapper", "    @functools.wraps(function)\n    def wrapper")
    source = "import functools\n" + source
    file, text = real_stacks(tmp_path, source)
    both = {"one": ("on_accept", "on_accept"), "two": ("on_close", "on_close")}
    host = host_of(file, source, **both)
    assert describe(text=text, host=host) == "in hook on_accept of plugin one"


def test_a_plugin_in_a_folder_with_a_name_that_is_not_ascii_is_found(tmp_path):
    folder = tmp_path / "café"
    folder.mkdir()
    file, text = real_stacks(folder, PLAIN)
    host = host_of(file, PLAIN, one=("on_accept", "on_accept"))
    assert describe(text=text, host=host) == "in hook on_accept of plugin one"


@pytest.mark.parametrize("said", [" of plugin asgi, connection 9-1, GET /", ""])
def test_a_task_is_whose_the_worker_says_it_is(said):
    printed = stacks(("/app.py", "page")) + (f"\nAt work:{said}\n" if said else "")
    call = CurrentCall(TASK, 0, 0)
    assert whereabouts().describe(9, call, printed, LISTENERS) == f"in a task of asyncio{said}"


SERVING = Doing(5, "GET /page")


def test_what_is_done_for_the_connection_is_told_with_it():
    call = CurrentCall(kind_of(on_readable), 5, 0)
    expected = "in hook on_readable of plugin echo, connection 4711-5"
    assert describe(call, doing=SERVING) == f"{expected}, GET /page"
    assert describe(call, doing=Doing(6, "GET /page")) == expected
    assert describe(call, doing=Doing(5, "")) == expected


def test_a_task_that_cannot_say_for_whom_it_runs_is_told_by_its_mark():
    expected = "in a task of asyncio of plugin chat, connection 4711-5"
    assert describe(CurrentCall(TASK, 5, 1)) == expected
    assert describe(CurrentCall(TASK, 5, 1), doing=SERVING) == f"{expected}, GET /page"
    said = "At work: of plugin chat, task Task-7"
    expected = "in a task of asyncio of plugin chat, task Task-7"
    assert describe(CurrentCall(TASK, 5, 1), said, doing=SERVING) == expected
    assert describe(CurrentCall(TASK, 5, 9)) == "in a task of asyncio"


@pytest.mark.parametrize(
    ("call", "place"),
    [(None, "outside any hook"), (CurrentCall(TASK, 0, 0), "in a task of asyncio")],
)
def test_where_nobody_knows_better_it_is_told_what_was_begun_last(call, place):
    expected = f"{place}; begun last: connection 4711-5, GET /page"
    assert describe(call, doing=SERVING) == expected
    assert describe(call, doing=Doing(5, "")) == place
