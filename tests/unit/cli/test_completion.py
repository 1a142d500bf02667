"""What shells ask for is answered; what bash has broken is put together again."""

import pytest
from click.testing import CliRunner

from host.cli import short_forms
from host.cli.completion import SHELLS, answer, joined
from host.cli.main import SUMMARIES, main
from host.control.commands import COMMANDS


@pytest.mark.parametrize(
    ("words", "expected", "kept"),
    [
        ([""], [""], 0),
        (["run", "ech"], ["run", "ech"], 0),
        (["--plugin", "no", ":", "ro"], ["--plugin", "no:ro"], 3),
        (["--plugin", "no", ":"], ["--plugin", "no:"], 3),
        (["--set", "log.level", "=", "de"], ["--set", "log.level=de"], 10),
        (["--listen", "tcp", ":", "//h", ":", "0", "=", "e"], ["--listen", "tcp://h:0=e"], 10),
        (["--plugin", "=", "ech", ""], ["--plugin=ech", ""], 0),
        (["unix", ":@", "x"], ["unix:@x"], 6),
    ],
)
def test_words_that_bash_has_broken_are_put_together(words, expected, kept):
    assert joined(words) == (expected, kept)


@pytest.fixture
def completes(monkeypatch, capsys):
    """Return a function that completes a line, as bash asks; its answers are sorted."""

    def complete(line):
        words = line.split(" ")
        monkeypatch.setenv("COMP_WORDS", "\n".join(words))
        monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
        assert answer(main, "bash_complete") == 0
        return capsys.readouterr().out.split()

    return complete


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("prefork st", ["plain,status", "plain,stop"]),
        ("prefork --h", ["plain,--help"]),
        ("prefork --log-f", ["plain,--log-format"]),
        ("prefork --log-format ", ["plain,text", "plain,json"]),
        ("prefork --plugin ./x", ["file,./x"]),
        ("prefork --plugin no:", ["plain,no:round_robin"]),
        ("prefork check --set log.a", ["part,log.access="]),
        ("prefork check --set log.access=", ["plain,log.access=true", "plain,log.access=false"]),
        ("prefork check --set nothing=", []),
        ("prefork --listen uni", ["part,unix:/"]),
        ("prefork --listen unix:/x=ech", ["plain,unix:/x=echo"]),
        ("prefork --preset every", ["plain,everything"]),
        ("prefork --profile d", ["dir,d"]),
        ("prefork scheduler w", ["plain,weighted"]),
        ("prefork simulate --scheduler w", ["plain,weighted"]),
        ("prefork plugins doctor ech", ["plain,echo"]),
        ("prefork plugins or", ["plain,order"]),
        ("prefork plugins order on_d", ["plain,on_datagram", "plain,on_drain"]),
        ("prefork settings sch", ["plain,schema"]),
        ("prefork check x", ["file,x"]),
    ],
)
def test_what_can_be_typed(completes, line, expected):
    assert completes(line) == expected


def test_every_command_has_its_line_for_shells():
    assert set(main.list_commands(None)) == (
        SUMMARIES.keys() | COMMANDS.keys() | set(short_forms.names())
    )
    for name, summary in SUMMARIES.items():
        help = main.get_command(None, name).help
        assert summary == " ".join(help.partition("\n\n")[0].split())


@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_has_a_script(shell):
    found = CliRunner().invoke(main, ["completion", shell])
    assert f"_PREFORK_COMPLETE={shell}_complete" in found.output
    assert found.output.rstrip().splitlines()[-1].startswith(("complete ", "fi"))
