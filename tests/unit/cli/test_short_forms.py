"""Commands that other distributions bring."""

import click
import pytest
from click.testing import CliRunner

from host.cli import short_forms
from host.cli.main import main
from host.errors import PluginError


@click.command()
@click.option("--plugin", "plugins", multiple=True)
@click.option("--workers")
@click.option("--loud/--quiet", default=None)
def run(plugins, workers, loud):
    """Stand in for the command that is shortened."""
    click.echo(f"{plugins} {workers} {loud}")


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Have a distribution with such a command on the path."""

    def install(value: str) -> None:
        folder = tmp_path / "short-1.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: short\nVersion: 1\n")
        (folder / "entry_points.txt").write_text(f"[host.commands]\nshort = {value}\n")
        monkeypatch.syspath_prepend(str(tmp_path))

    return install


@click.command("short", help="Be short.")
@click.argument("word")
def short(word):
    """Say the flags."""
    return ["--plugin", word, "--workers", "2", "--loud"]


def invoke(*words):
    command = short_forms.find("short", run)
    return CliRunner().invoke(command, words)


def test_what_the_command_returns_is_said_to_run(installed):
    installed(f"{__name__}:short")
    assert invoke("echo").output == "('echo',) 2 True\n"


def test_flags_of_run_come_after_it(installed):
    installed(f"{__name__}:short")
    found = invoke("echo", "--plugin", "more", "--workers", "7", "--quiet")
    assert found.output == "('echo', 'more') 7 False\n"


def test_it_is_listed_and_helps(installed):
    installed(f"{__name__}:short")
    assert "short" in short_forms.names()
    assert "Be short." in invoke("--help").output
    assert "--workers" in invoke("--help").output


@pytest.mark.parametrize("value", ["nix:command", f"{__name__}:nix", f"{__name__}:invoke"])
def test_one_that_cannot_be_used_says_why(installed, value):
    installed(value)
    with pytest.raises(PluginError) as refused:
        short_forms.find("short", run)
    assert refused.value.plugin == "short"
    assert value in str(refused.value)


def test_what_nobody_brings_is_not_there():
    assert short_forms.find("nix", run) is None
    assert CliRunner().invoke(main, ["nix"]).exit_code == 2


def test_the_nearest_name_is_told_of_these_too():
    assert 'did you mean "asgi"?' in CliRunner().invoke(main, ["asg"]).output
