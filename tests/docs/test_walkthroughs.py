"""README, home page and tutorial, followed word by word with real hosts."""

import configparser
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from host.testing import Harness
from walkthrough import ROOT, blocks, environment

pytestmark = pytest.mark.timeout(600)


def test_readme(reader):
    reader.follow(ROOT / "README.md")


def test_home_page(reader, commands):
    """Its first command is the README's without the host that this runs, and has run."""
    home = ROOT / "docs" / "index.md"
    (install,) = (block.text.strip() for block in blocks(home) if block.language == "sh")
    assert commands[0].startswith(f"{install} && ")
    reader.follow(home)


def test_tutorial(reader):
    reader.follow(ROOT / "docs" / "tutorial.md")


def test_datagrams(reader):
    reader.follow(ROOT / "docs" / "udp.md")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_shout.py"]
    done = subprocess.run(
        command, cwd=reader.cwd, env=environment(), capture_output=True, text=True, check=False
    )
    assert "2 passed" in done.stdout, done.stdout + done.stderr
    with Harness(str(reader.cwd / "quotes.py")) as harness:
        [cookie] = harness.datagram(b"please, a quote!")
        assert harness.datagram(b"no, at once", address=("192.0.2.1", 7)) != [cookie]
        [quote] = harness.datagram(cookie)
        assert quote.startswith(b"What a long quote!")


def test_what_readers_save_into_the_checkout_does_not_break_lint(installed):
    for page in ("README.md", "docs/index.md", "docs/tutorial.md"):
        for block in blocks(ROOT / page):
            if block.file and block.file != "pyproject.toml":
                (installed / block.file).write_text(block.text, encoding="utf-8")
    tox = configparser.ConfigParser(interpolation=None)
    tox.read(ROOT / "tox.ini", encoding="utf-8")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for command in tox["testenv:lint"]["commands"].strip().splitlines():
        done = subprocess.run(
            shlex.split(command),
            cwd=installed,
            env=environment() | {"PATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


@pytest.mark.parametrize("page", ["README.md", "docs/index.md", "docs/tutorial.md"])
def test_every_program_is_a_file_that_is_run(page):
    """No Python is only to look at: it would be right once and wrong for ever."""
    console = "".join(block.text for block in blocks(ROOT / page) if block.language == "console")
    for block in blocks(ROOT / page):
        if block.language == "python":
            assert block.file, f"{page}:{block.line}"
            assert block.file in console or block.file.startswith("test_")


def test_ci_runs_the_command_of_the_readme(commands):
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert commands[1] in [line.strip() for line in script.splitlines()]


def test_the_three_ways_to_set_are_the_same(installed):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text.partition("## Settings\n")[2].partition("\n## ")[0]
    file, variables, flags = re.findall(r"^```(?:toml|sh)\n(.*?)^```$", section, re.M | re.S)
    (installed / "host.toml").write_text(file, encoding="utf-8")
    start = ".venv/bin/python -m host"
    show = f"{start} settings"
    ways = [
        f"{show} --config host.toml",
        f"{variables}\n{show}",
        flags.replace(start, show),
    ]
    shown = [
        subprocess.run(
            ["bash", "-ec", way],
            cwd=installed,
            env=environment(),
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for way in ways
    ]
    values = [re.sub(r" *# .*", "", text) for text in shown]
    assert values[0] == values[1] == values[2]
    assert re.search(r"^workers += 4$", values[0], re.MULTILINE)
    assert [text.count("# default") for text in shown] == [shown[0].count("# default")] * 3
