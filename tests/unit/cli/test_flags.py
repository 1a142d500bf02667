"""What is given twice on the command line is refused: nobody knows which was meant."""

import pytest
from click.testing import CliRunner

from host.cli.main import main


@pytest.mark.parametrize(
    ("flag", "value", "key"),
    [
        ("--ops", "tcp://127.0.0.1:1", "ops.listen"),
        ("--listen", "tcp://127.0.0.1:1", "listen"),
        ("--plugin", "echo", "plugins"),
        ("--workers", "2", "workers"),
        ("--no-respawn", None, "respawn"),
    ],
)
def test_a_flag_and_a_set_of_the_same_key_are_refused(flag, value, key):
    given = [flag] if value is None else [flag, value]
    found = CliRunner().invoke(main, ["check", *given, "--set", f"{key}=1"])
    assert found.exit_code == 2
    assert f"{flag} and --set {key}=1 both set {key}: leave one of them out" in found.output


def test_the_last_of_two_sets_of_a_key_holds():
    twice = ["--set", "workers=many", "--set", "workers=2"]
    found = CliRunner().invoke(main, ["check", "--plugin", "echo", *twice])
    assert found.exit_code == 0, found.output
