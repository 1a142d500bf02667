"""The conformance check of conversations that can be held once only, and its signature."""

import inspect
import re

import pytest

from host.testing import Conversation, check_protocol
from host.testing.checks import CHECKS, Subject
from host.testing.conformance import problem_of
from walkthrough import ROOT

NAMES = Conversation([(b"anna\n", b"yours\n"), (b"ben\n", b"yours\n")], once=True)
STOP = Conversation([(b"hello\n", b"HELLO\n"), (b"stop\n", b"stopping\n")], once=True)


@pytest.mark.parametrize(
    ("plugin", "conversation"), [("Names", NAMES), ("Stops", STOP)], ids=["names", "stop"]
)
def test_a_conversation_that_can_be_held_once(plugin, conversation):
    check_protocol(f"support.once:{plugin}", conversation)


def test_without_being_told_so_it_is_held_many_times():
    with pytest.raises(AssertionError, match=r"several at once: .*got b'yours\\nyours\\ntaken\\n"):
        check_protocol("support.once:Names", NAMES.exchanges)


def test_what_is_wrong_with_it_is_found_all_the_same():
    with pytest.raises(AssertionError) as raised:
        check_protocol("support.once:Hasty", NAMES)
    failed = re.findall(r"^  ([^:]+): ", str(raised.value), re.MULTILINE)
    assert failed[:3] == ["byte by byte", "several at once", "split anywhere"]


def test_a_conversation_has_its_greeting_itself():
    with pytest.raises(TypeError, match="has its greeting, farewell and unfinished itself"):
        check_protocol("echo", NAMES, greeting=b"hello\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"exchanges": []}, "at least one request"),
        ({"exchanges": [(b"", b"x")]}, "no empty ones"),
        ({"exchanges": [(b"x", b"x")], "unfinished": b""}, "at least one byte"),
    ],
)
def test_what_is_no_conversation_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Conversation(**arguments)


@pytest.mark.parametrize("public", [check_protocol, Conversation])
def test_the_page_has_the_signature(public):
    page = " ".join((ROOT / "docs" / "testing.md").read_text(encoding="utf-8").split())
    given = re.search(rf"`{public.__name__}\(([^`]+)\)`", page)[1].split(", ")
    there = [
        each.name if each.default is each.empty else f"{each.name}={each.default!r}"
        for each in inspect.signature(public).parameters.values()
    ]
    assert [each.replace(chr(34), chr(39)) for each in given if each != "*"] == there


def test_a_handler_that_waits_does_not_hang_the_check():
    subject = Subject(
        ("support.chaotic:Waits",), Conversation([(b"one\n", b"ONE\n")]), {}, most_seconds=0.1
    )
    found = problem_of(CHECKS["byte by byte"], subject)
    assert found.startswith(
        "no end after 0.1 s of CPU time: a handler must not wait; raised by on_"
    )
