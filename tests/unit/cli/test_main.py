"""What is typed wrong is told with what was probably meant."""

import re

import pytest
from click.testing import CliRunner

from host.cli.advice import ADVICE
from host.cli.main import main
from host.errors import ExitCode
from host.settings import Settings
from host.settings.fields import leaves


@pytest.mark.parametrize(
    ("typed", "meant"), [("statsu", "status"), ("chekc", "check"), ("new-plugn", "new-plugin")]
)
def test_a_misspelt_command_is_told_with_the_nearest(typed, meant):
    found = CliRunner().invoke(main, [typed])
    assert found.exit_code == ExitCode.USAGE
    assert f'there is no command "{typed}"; did you mean "{meant}"?' in found.output


@pytest.mark.parametrize(
    ("typed", "advice"),
    [
        ("--port", ": an address is set with --listen tcp://127.0.0.1:8000"),
        ("--host", ": an address is set with --listen tcp://127.0.0.1:8000"),
        ("--bind", ": an address is set with --listen tcp://127.0.0.1:8000"),
        ("-b", ": an address is set with --listen tcp://127.0.0.1:8000"),
        ("--uds", ": a Unix socket is listened on with --listen unix:/path"),
        ("-w", ": worker processes are asked for with --workers N"),
        ("--threads", ": a worker has one thread, and there are --workers N"),
        ("--reload", ": `reload` and SIGHUP take on new code, and lose no connection"),
        ("--log-file", ": the log goes to a file with --set log.file=FILE"),
        ("-D", ": the host stays in the foreground; a service manager does that"),
        ("-u", ": the host becomes another user with --user NAME"),
        ("--certfile", ": certificates are in tables [tls.NAME] of the settings file"),
        ("--ssl-keyfile", ": certificates are in tables [tls.NAME] of the settings file"),
        ("--proxy-protocol", ": proxy and proxy_from are keys of an address in the settings file"),
        ("--idle-timeout-seconds", ": a setting is given with --set limits.idle_timeout_seconds="),
        ("--limits.max_events", ": a setting is given with --set limits.max_events=VALUE"),
        ("--lisen", '; did you mean "--listen"?'),
        ("--zzz", ""),
    ],
)
@pytest.mark.parametrize("before", [["run"], ["check"], ["--plugin", "echo"]])
def test_an_option_that_there_is_not_is_answered_with_what_there_is(typed, advice, before):
    found = CliRunner().invoke(main, [*before, typed, "8000"])
    assert found.exit_code == ExitCode.USAGE
    assert f"Error: No such option {typed}{advice}" in found.output


def test_a_command_that_takes_no_settings_is_not_answered_with_settings():
    found = CliRunner().invoke(main, ["status", "--names", "x"])
    assert 'No such option --names; did you mean "--name"?' in found.output
    found = CliRunner().invoke(main, ["status", "--port", "1"])
    assert "--listen" not in found.output


@pytest.mark.parametrize("flag", re.findall(r"--\w[\w-]*", " ".join(ADVICE)))
def test_the_options_that_are_advised_are_there(flag):
    assert flag in {opt for param in main.commands["run"].params for opt in param.opts}


@pytest.mark.parametrize("key", re.findall(r"--set ([\w.]+)=", " ".join(ADVICE)))
def test_the_settings_that_are_advised_are_there(key):
    assert key in {".".join(path) for path, _ in leaves(Settings)}


@pytest.mark.parametrize(
    ("word", "cure"),
    [
        ("app:main", "a plugin is selected with --plugin app:main"),
        ("host.toml", "a settings file is given with --config host.toml"),
    ],
)
def test_what_is_given_in_the_place_of_a_command_is_told_its_flag(word, cure):
    found = CliRunner().invoke(main, [word])
    assert f'no command "{word}": {cure}' in found.output
