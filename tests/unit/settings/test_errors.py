"""The report of all problems, and what it does not show."""

import pytest

from host.settings import Problem, SettingsError
from host.settings.errors import MASK, is_secret_name, mask_passwords, show


def test_error_reads_as_a_table():
    error = SettingsError(
        [
            Problem("max_rooms", '"many"', "expected integer", "from A (environment)"),
            Problem("histroy", "50", 'unknown key, did you mean "history"?', "from host.toml:17"),
            Problem("name", "", "missing", ""),
            Problem("histroy", "50", 'unknown key, did you mean "history"?', "from host.toml:17"),
        ],
        'settings of plugin "chat"',
    )
    assert str(error).splitlines() == [
        'settings of plugin "chat" are invalid (3 problems)',
        '  max_rooms = "many"  expected integer                      from A (environment)',
        '  histroy   = 50      unknown key, did you mean "history"?  from host.toml:17',
        "  name                missing",
    ]
    assert str(SettingsError(error.problems[2:])).startswith("settings are invalid (1 problem)\n")


@pytest.mark.parametrize("name", ["password", "db_Password", "client_secret", "api_key", "KEY"])
def test_names_of_secrets(name):
    assert is_secret_name(name)


@pytest.mark.parametrize("name", ["keyboard", "monkey", "history", "keystone"])
def test_names_of_no_secrets(name):
    assert not is_secret_name(name)


def test_values_are_shown_as_in_a_file():
    assert show([True, "é", 1.5, {"a": "hunter2"}, {}]) == '[true, "é", 1.5, {...}, {}]'
    assert show("x" * 100) == '"' + "x" * 56 + "..."


def test_a_long_value_is_shown_in_a_time_that_goes_by_its_length():
    assert show("x" * 1_000_000) == f'"{"x" * 56}...'
    text = f"{'x' * 500_000}={'y' * 500_000}"
    assert mask_passwords(f"{text}&password=z&token = 'a b'c=d") == (
        f"{text}&password={MASK}&token = {MASK}c=d"
    )
