"""Exit codes, as numbers and in words."""

from host.errors import ExitCode


def test_exit_codes_are_numbers_with_a_line_each():
    assert [int(code) for code in ExitCode] == list(range(len(ExitCode)))
    assert all(code.description for code in ExitCode)
