"""Each command of the table has a command line and its place in the manual."""

import string
from pathlib import Path

import pytest

from host.cli.operate import OPERATIONS
from host.control.commands import COMMANDS
from support.pages import table

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "control.md"
LINES = {operation.name: operation for operation in OPERATIONS}


def by_name(command):
    return command.name


@pytest.fixture(scope="module")
def listed():
    """The first table of the page: what people type."""
    return {row[0].strip("`").split()[0]: row for row in table(PAGE, "command")}


@pytest.fixture(scope="module")
def for_programs():
    """The table for programs: arguments and results."""
    return {row[0].strip("`"): row[1:] for row in table(PAGE, "request")}


def test_there_is_a_command_line_for_each_and_none_twice():
    assert sorted(each.name for each in OPERATIONS) == sorted([*COMMANDS, "top"])


@pytest.mark.parametrize("command", COMMANDS.values(), ids=by_name)
class TestEach:
    def test_has_a_command_line_with_its_arguments_and_help(self, command):
        line = LINES[command.name]
        names = {parameter.name for parameter in line.params}
        assert {argument.name for argument in command.arguments} <= names
        assert line.help == command.help

    def test_has_a_line_in_the_page_with_what_must_be_given(self, command, listed):
        needed = [each.name.upper() for each in command.arguments if each.required]
        assert listed[command.name][0] == f"`{' '.join([command.name, *needed])}`"

    def test_has_a_line_for_programs_with_its_arguments_and_result(self, command, for_programs):
        args, result = for_programs[command.name]
        assert args == ", ".join(f"`{each.name}`" for each in command.arguments)
        assert result == ", ".join(f"`{each}`" for each in command.result)

    def test_has_a_sentence_of_fields_of_its_result(self, command):
        fields = {field for _, field, _, _ in string.Formatter().parse(command.sentence) if field}
        assert fields <= set(command.result)


def test_the_page_names_no_command_that_there_is_not(listed, for_programs):
    assert set(listed) == {*COMMANDS, "top"}
    assert set(for_programs) == set(COMMANDS)
