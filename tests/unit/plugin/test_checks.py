"""What pluggy passes over in silence is refused, in words that say where and what to change."""

from textwrap import dedent, indent

import pytest

from support.plugin_files import load_text, refusal_of

pytestmark = pytest.mark.usefixtures("own_folder")


def load_class(body):
    return load_text("class Chat:\n" + indent(dedent(body), "    "))


# Each: the body of a class from line 3 of the file on, the place shown, and what must be said.
TRAPS = {
    "misspelt hook": (
        "@hookimpl\ndef on_acept(self, connection): ...",
        "chat.py:4  on_acept(self, connection)",
        ['no hook is named "on_acept"; did you mean "on_accept"?', "hooks: on_host_start, "],
    ),
    "misspelt specname": (
        "@hookimpl(specname='on_acept')\ndef greet(self, connection): ...",
        "chat.py:4  greet(self, connection)",
        ['no hook is named "on_acept"; did you mean "on_accept"?'],
    ),
    "unmarked hook": (
        "def on_accept(self, connection): ...",
        "chat.py:3  on_accept(self, connection)",
        ["is not marked: @hookimpl is missing", "from host import hookimpl"],
    ),
    "unmarked and misspelt": (
        "@hookimpl\ndef on_accept(self): ...\ndef on_closed(self, connection): ...",
        "chat.py:5  on_closed(self, connection)",
        ['"on_closed" is not marked as a hook', 'did you mean "on_close"?', "_on_closed"],
    ),
    "marked for another project": (
        "import pluggy\n@pluggy.HookimplMarker('pytest')\ndef on_accept(self): ...",
        "chat.py:5  on_accept(self)",
        ['marked as a hook of the project "pytest", not of this host'],
    ),
    "wrong argument": (
        "@hookimpl\ndef on_close(self, connection, raeson): ...",
        "chat.py:4  on_close(self, connection, raeson)",
        [
            'there is no argument "raeson"; did you mean "reason"?',
            "on_close has these arguments: connection, reason; any may be left out.",
        ],
    ),
    "default value": (
        "@hookimpl\ndef on_close(self, connection, reason=None): ...",
        "chat.py:4  on_close(self, connection, reason=None)",
        ['the argument "reason" has a default value'],
    ),
    "star": (
        "@hookimpl\ndef on_close(self, *args): ...",
        "chat.py:4  on_close(self, *args)",
        ["it takes *args, but arguments are passed by the names it lists"],
    ),
    "double star": (
        "@hookimpl\ndef on_close(self, **kwargs): ...",
        "chat.py:4  on_close(self, **kwargs)",
        ["it takes **kwargs"],
    ),
    "keyword only": (
        "@hookimpl\ndef on_close(self, *, reason): ...",
        "chat.py:4  on_close(self, *, reason)",
        ['"reason" can be given by keyword only'],
    ),
    "coroutine": (
        "@hookimpl\nasync def on_readable(self, connection): ...",
        "chat.py:4  on_readable(self, connection)",
        ["it is async", "Write def"],
    ),
    "asynchronous generator": (
        "@hookimpl\nasync def on_readable(self, connection): yield",
        "chat.py:4  on_readable(self, connection)",
        ["it is async"],
    ),
    "generator": (
        "@hookimpl\ndef on_readable(self, connection): yield",
        "chat.py:4  on_readable(self, connection)",
        ["a call would only make a generator", "wrapper=True"],
    ),
    "wrapper that does not yield": (
        "@hookimpl(wrapper=True)\ndef on_readable(self, connection): ...",
        "chat.py:4  on_readable(self, connection)",
        ["wrapper=True but does not yield"],
    ),
    "old-style wrapper": (
        "@hookimpl(hookwrapper=True)\ndef on_readable(self, connection): yield",
        "chat.py:4  on_readable(self, connection)",
        ["hookwrapper=True", "Use wrapper=True"],
    ),
    "no self": (
        "@hookimpl\ndef on_readable(connection): ...",
        "chat.py:4  on_readable(connection)",
        ["its first parameter must be self"],
    ),
    "no parameter at all": (
        "@hookimpl\ndef on_readable(): ...",
        "chat.py:4  on_readable()",
        ["its first parameter must be self"],
    ),
    "property": (
        "@property\ndef on_readable(self): raise AssertionError",
        None,
        ['"on_readable" has the name of a hook but is not a function (it is: property)'],
    ),
    "drain without reading": (
        "@hookimpl\ndef on_drain(self, connection): ...",
        "chat.py:4  on_drain(self, connection)",
        ["it implements on_drain but not on_readable"],
    ),
    "TLS without reading": (
        "@hookimpl\ndef on_tls(self, connection): ...",
        "chat.py:4  on_tls(self, connection)",
        ["it implements on_tls but not on_readable"],
    ),
    "nothing": ("pass", None, ["it implements no hook", "Mark each function with @hookimpl"]),
}


@pytest.mark.parametrize("trap", TRAPS)
def test_trap_is_refused(trap):
    body, place, expected = TRAPS[trap]
    said = refusal_of("class Chat:\n" + indent(body, "    "))
    assert said.splitlines()[0] == 'plugin "chat" (file ./chat.py) cannot be used'
    if place:
        assert f"  {place}\n" in said
    for text in expected:
        assert text in said


def test_every_fault_of_a_plugin_is_said_once_under_one_heading():
    said = refusal_of(
        """
        @hookimpl
        def on_acept(connection): ...
        def on_close(connection): ...
        """
    )
    assert said.count("cannot be used") == 1
    assert "chat.py:4  on_acept(connection)" in said
    assert "chat.py:5  on_close(connection)" in said


@pytest.mark.parametrize(
    "body",
    [
        "@hookimpl\ndef on_accept(self): ...\ndef on_data(self): ...\ndef _on_closed(self): ...",
        "@hookimpl\ndef on_accept(self): ...\n@hookimpl(optionalhook=True)\ndef on_moon(self): ...",
        "@hookimpl\ndef on_accept(self): ...\non_close = None",
        "@hookimpl(specname='on_accept')\ndef greet(self, connection): ...",
        "@staticmethod\n@hookimpl\ndef on_accept(connection): ...",
        "@hookimpl\n@staticmethod\ndef on_accept(connection): ...",
        "@classmethod\n@hookimpl\ndef on_accept(cls, connection): ...",
        "@hookimpl\n@classmethod\ndef on_accept(cls, connection): ...",
        "@hookimpl\ndef on_accept(self, connection, /): ...",
        "@hookimpl(wrapper=True)\ndef on_accept(self): return (yield)",
        "@hookimpl\ndef on_accept(self): ...\n@property\ndef broken(self): raise AssertionError",
        "@hookimpl\ndef on_accept(self): ...\n__hash__ = None\ndef __eq__(self, other): 1/0",
    ],
)
def test_what_is_in_order_is_accepted(body):
    registry = load_class(body)
    assert registry.plugins[0].hooks == ("on_accept",)
    [implementation] = registry.calls["on_accept"]
    assert implementation.arguments in ((), ("connection",))


def test_a_decorator_that_keeps_the_signature_is_accepted():
    registry = load_text(
        """
        import functools

        def counted(function):
            @functools.wraps(function)
            def inner(*args):
                return function(*args)
            return inner

        class Chat:
            @hookimpl
            @counted
            def on_accept(self, connection):
                connection.append(self)
        """
    )
    connection = []
    registry.calls["on_accept"][0].function(connection)
    assert connection == [registry.plugins[0].object]


def test_a_subclass_that_forgets_the_mark_is_refused():
    said = refusal_of(
        """
        import types
        base = types.new_class("Base", exec_body=lambda names: names.update(
            on_accept=hookimpl(lambda self, connection: None)))

        class Chat(base):
            def on_accept(self, connection): ...
            @hookimpl
            def on_readable(self, connection): ...
        """
    )
    assert "@hookimpl is missing" in said


class TestWhichClass:
    def test_several_are_listed(self):
        one = "class {}:\n    @hookimpl\n    def on_accept(self, connection): ...\n"
        said = refusal_of(one.format("Chat") + one.format("Talk"))
        assert "2 classes with hooks: Chat, Talk" in said
        assert "Name one: ./chat.py:Chat" in said

    def test_hooks_at_module_level_and_in_a_class(self):
        said = refusal_of(
            """
            class Chat:
                @hookimpl
                def on_readable(self, connection): ...

            @hookimpl
            def on_accept(connection): ...
            """
        )
        assert "both at module level and in a class: Chat" in said

    def test_forgotten_marks_show_which_class_was_meant(self):
        said = refusal_of("class Chat:\n    def on_readable(self, connection): ...\n")
        assert "@hookimpl is missing" in said
