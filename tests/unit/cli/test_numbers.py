from __future__ import annotations

import pytest
from click.testing import CliRunner

from host.cli.main import main
from host.errors import ExitCode


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "1e300", "1e999", "0", "-1"])
@pytest.mark.parametrize("command", [["status"], ["stop"], ["plugins", "doctor", "echo"]])
def test_a_time_that_nobody_can_wait_is_refused(command, text):
    found = CliRunner().invoke(main, [*command, f"--timeout={text}"])
    assert found.exit_code == ExitCode.USAGE, found.output
    assert "Invalid value for '--timeout'" in found.output


@pytest.mark.parametrize("flag", ["--load", "--work-ms"])
@pytest.mark.parametrize("text", ["nan", "inf"])
def test_a_number_is_finite(flag, text):
    found = CliRunner().invoke(main, ["simulate", flag, text])
    assert found.exit_code == ExitCode.USAGE, found.output
    assert f"'{text}' is no number to count with" in found.output
