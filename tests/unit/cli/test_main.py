"""What is typed wrong is told with what was probably meant."""

import pytest
from click.testing import CliRunner

from host.cli.main import main
from host.errors import ExitCode


@pytest.mark.parametrize(
    ("typed", "meant"), [("statsu", "status"), ("chekc", "check"), ("new-plugn", "new-plugin")]
)
def test_a_misspelt_command_is_told_with_the_nearest(typed, meant):
    found = CliRunner().invoke(main, [typed])
    assert found.exit_code == ExitCode.USAGE
    assert f'there is no command "{typed}"; did you mean "{meant}"?' in found.output


@pytest.mark.parametrize("flag", ["--port", "--host", "--bind"])
def test_a_part_of_an_address_is_answered_with_the_flag_for_a_whole_one(flag):
    found = CliRunner().invoke(main, ["run", "--plugin", "echo", flag, "8000"])
    assert found.exit_code == ExitCode.USAGE
    assert f"No such option {flag}: an address is set with --listen tcp://" in found.output
    assert "preset" not in found.output
