"""The table of events and the code agree: each event is told somewhere, with exactly its fields."""

import ast
import re
import string
from pathlib import Path

import pytest

import host
from host.telemetry import events
from host.telemetry.emitter import Record
from host.telemetry.events import EVENTS, Event, Level
from host.telemetry.logs import json_line, message, text_line
from host.telemetry.tracing import TRACE_FIELDS
from host.text import Count

FOLDER = Path(host.__file__).parent


def more_fields(node, dictionaries):
    """Return the fields that a call is given as `**node`."""
    if isinstance(node, ast.Call):
        assert node.func.id == "trace_fields"
        return set(TRACE_FIELDS)
    return dictionaries[node.id]


def emits():
    """Find each call of emit(): file and line, the event's constant, and the fields given."""
    for path in sorted(FOLDER.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        dictionaries = {
            target.id: {key.value for key in node.value.keys}
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict)
            for target in node.targets
            if isinstance(target, ast.Name)
            and all(isinstance(key, ast.Constant) for key in node.value.keys)
        }
        for node in ast.walk(tree):
            call = getattr(node.func, "attr", "") if isinstance(node, ast.Call) else ""
            if call not in ("emit", "emit_at"):
                continue
            event = node.args[1 if call == "emit_at" else 0]
            name = event.attr if isinstance(event, ast.Attribute) else event.id
            fields = set()
            for keyword in node.keywords:
                fields |= {keyword.arg} if keyword.arg else more_fields(keyword.value, dictionaries)
            yield f"{path.name}:{node.lineno}", name, fields


EMITS = list(emits())


@pytest.mark.parametrize(("where", "name", "fields"), EMITS, ids=[each[0] for each in EMITS])
def test_an_event_is_told_with_exactly_its_fields(where, name, fields):
    assert fields == getattr(events, name).fields


def test_each_event_is_told_somewhere():
    told = {getattr(events, name) for _, name, _ in EMITS}
    # LogWriter makes its own record: it is a listener, and has nobody to tell.
    assert set(EVENTS) - told == {events.LINES_DROPPED}


def test_events_are_named_as_their_constants():
    names = {name: value.name for name, value in vars(events).items() if isinstance(value, Event)}
    assert [name.lower() for name in names] == list(names.values())
    assert list(EVENTS) == [getattr(events, name) for name in names]


class Anything:
    """A value that any format specification suits."""

    def __format__(self, specification):
        return "7"


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.name)
class TestEvent:
    def test_the_sentence_can_be_filled_in(self, event):
        record = Record(event, 0.0, dict.fromkeys(event.fields, Anything()))
        assert "{" not in text_line(record)
        assert event.name in json_line(record, "prefork")

    def test_the_sentence_uses_numbers_as_numbers(self, event):
        for _, name, specification, _ in string.Formatter().parse(event.sentence):
            if specification:
                counts = specification[-2:].isalpha()
                assert format(Count(1) if counts else 1.5, specification), name

    def test_one_is_told_in_the_singular(self, event):
        said = message(Record(event, 0.0, dict.fromkeys(event.fields, 1)))
        units, verbs = {"ms", "s"}, {"chooses", "does", "hangs", "has", "is", "stops"}
        assert set(re.findall(r"\b1 ([a-z]*s)\b", said)) <= units | verbs

    def test_the_fields_do_not_hide_what_each_json_line_has(self, event):
        assert not event.fields & {"time", "level", "host", "event", "message"}

    def test_extra_fields_are_not_in_the_sentence(self, event):
        shown = {name for _, name, _, _ in string.Formatter().parse(event.sentence) if name}
        assert not shown & set(event.extra)


def test_levels_are_those_of_the_logging_module():
    assert [level.value for level in Level] == [10, 20, 30, 40]
