"""The table of commands, and what is said of requests that are none."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.control.commands import (
    COMMANDS,
    CommandError,
    shown,
)
from host.control.requests import parse, parse_request, read_request
from host.control.wire import MAX_REQUEST_BYTES

QUIET = {"certificates", "status", "generations", "applied", "connections", "recent", "why"}

ALL_CONNECTIONS = {
    "limit": 1000,
    "sort": None,
    "reverse": False,
    "listener": None,
    "peer": None,
    "worker": None,
}

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=80),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)


def test_those_that_only_look_are_told_from_those_that_change_something():
    assert {name for name, command in COMMANDS.items() if not command.changes} == QUIET


def test_each_has_one_sentence_of_help_that_fits_a_line():
    for command in COMMANDS.values():
        assert command.help.endswith(".")
        assert len(command.help) <= 66
        assert all(argument.help.endswith(".") for argument in command.arguments)


@pytest.mark.parametrize(
    ("command", "args", "complete"),
    [
        ("status", {}, {"ready": False}),
        ("status", {"ready": True}, {"ready": True}),
        ("generations", {}, {}),
        ("reload", {}, {"certificates": False}),
        ("stop", {}, {"quick": False}),
        ("stop", {"quick": True}, {"quick": True}),
        ("scale", {"workers": 1024}, {"workers": 1024}),
        ("drain", {"slot": 0}, {"slot": 0}),
        ("hold", {"slot": 1023}, {"slot": 1023}),
        ("resume", {"slot": 7}, {"slot": 7}),
        ("connections", {}, ALL_CONNECTIONS),
        ("connections", {"limit": 100_000}, ALL_CONNECTIONS | {"limit": 100_000}),
        *(
            ("connections", {"sort": order}, ALL_CONNECTIONS | {"sort": order})
            for order in ("age", "idle", "in", "out", "unsent", "peer", "listener", "worker")
        ),
        ("connections", {"worker": 0}, ALL_CONNECTIONS | {"worker": 0}),
        ("connections", {"peer": "10.0.0.0/8"}, ALL_CONNECTIONS | {"peer": "10.0.0.0/8"}),
        ("recent", {}, {"slot": None}),
        ("recent", {"slot": 3}, {"slot": 3}),
        ("close", {"id": "1234-17"}, {"id": "1234-17"}),
        ("why", {"id": "1-0"}, {"id": "1-0"}),
        ("scheduler", {"name": "./my file.py"}, {"name": "./my file.py"}),
    ],
)
def test_valid_ones(command, args, complete):
    found, checked = parse(command, args)
    assert (found.name, checked) == (command, complete)


@pytest.mark.parametrize(
    ("command", "args", "message"),
    [
        ("statsu", {}, 'unknown command "statsu", did you mean "status"?'),
        ("zzz", {}, f'unknown command "zzz"; there is: {", ".join(COMMANDS)}'),
        (7, {}, "unknown command 7; there is: status, "),
        (None, {}, "unknown command null; there is: status, "),
        (["status"], {}, "unknown command a list; there is: status, "),
        ("generations", {"all": 1}, 'unknown argument of generations "all"; there is: none'),
        ("scale", {"worker": 4}, 'unknown argument of scale "worker", did you mean "workers"?'),
        ("scale", {}, 'scale needs "workers": a whole number from 1 to 1024'),
        (
            "scale",
            {"workers": 0},
            '"workers" of scale must be a whole number from 1 to 1024, not 0',
        ),
        ("scale", {"workers": 1025}, "from 1 to 1024, not 1025"),
        ("scale", {"workers": 4.0}, "from 1 to 1024, not 4.0"),
        ("scale", {"workers": True}, "from 1 to 1024, not true"),
        ("scale", {"workers": "4"}, 'from 1 to 1024, not "4"'),
        ("scale", {"workers": 10**100}, "from 1 to 1024, not 1000"),
        ("drain", {"slot": -1}, '"slot" of drain must be a whole number from 0 to 1023, not -1'),
        ("stop", {"quick": 1}, '"quick" of stop must be true or false, not 1'),
        ("connections", {"limit": 0}, "from 1 to 100000, not 0"),
        (
            "connections",
            {"sort": "name"},
            '"sort" of connections must be one of age, idle, in, out, unsent, peer, listener, '
            'worker, not "name"',
        ),
        ("connections", {"sort": None}, "must be one of age, idle"),
        ("connections", {"peer": ""}, 'must be text such as "10.0.0.0/8", not ""'),
        ("connections", {"worker": None}, "must be a whole number from 0 to 1023, not null"),
        ("connections", {"reverse": 1}, "must be true or false, not 1"),
        ("close", {"id": "17"}, '"id" of close must be text such as "1234-17", not "17"'),
        ("close", {"id": "1-2\n"}, "must be text such as"),
        ("close", {"id": "\u0661-\u0662"}, "must be text such as"),
        ("why", {"id": None}, '"id" of why must be text such as "1234-17", not null'),
        ("scheduler", {"name": ""}, '"name" of scheduler must be text such as'),
        ("scheduler", {"name": "x" * 501}, f'not "{"x" * 56}...'),
        ("status", None, '"args" of status must be an object, not null'),
        ("status", [], '"args" of status must be an object, not a list'),
    ],
)
def test_what_is_wrong_is_named(command, args, message):
    with pytest.raises(CommandError, match=re.escape(message)):
        parse(command, args)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"command": "status"}, 'expected "v": 1, the only version there is, not null'),
        ({"v": 2, "command": "status"}, "not 2"),
        ({"v": True, "command": "status"}, "not true"),
        ({"v": 1.0, "command": "status"}, "not 1.0"),
        ({"v": 1}, 'a request needs a "command": status, '),
        ({"v": 1, "comand": "status"}, 'unknown key "comand", did you mean "command"?'),
    ],
)
def test_what_is_wrong_with_a_request_is_named(request_, message):
    with pytest.raises(CommandError, match=re.escape(message)):
        parse_request(request_)


@pytest.mark.parametrize(
    "line",
    [
        *(b"", b" ", b"status", b"[]", b"1", b"null", b'"status"', b"{", b"{}{}", b"\xff\xfe{}"),
        b"[" * MAX_REQUEST_BYTES,
        b'{"v":' + b"9" * 5000 + b"}",
        *(b'{"id": 1e999}', b'{"id": -1e999}', b'{"id": NaN}', b'{"id": Infinity}'),
    ],
)
def test_a_line_that_is_no_object_is_told_what_was_expected(line):
    with pytest.raises(CommandError, match=r'expected a JSON object .*"command": "status"'):
        read_request(line)


@given(JSON, st.sampled_from([*COMMANDS, "x"]), st.dictionaries(st.text(max_size=8), JSON) | JSON)
def test_a_request_is_valid_or_a_command_error_of_one_short_line(version, command, args):
    line = json.dumps({"v": version, "command": command, "args": args}).encode()
    said = ""
    try:
        parse_request(read_request(line))
    except CommandError as error:
        said = str(error)
    assert len(said) < 300
    assert said.isprintable()


@given(JSON)
def test_a_value_in_a_message_is_short(value):
    assert len(shown(value)) <= 60
