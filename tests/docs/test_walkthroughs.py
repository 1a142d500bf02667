"""README and tutorial, followed word by word with real hosts."""

import re
import subprocess

import pytest

from walkthrough import ROOT, blocks, environment

pytestmark = pytest.mark.timeout(600)


def test_readme(reader):
    reader.follow(ROOT / "README.md")


def test_tutorial(reader):
    reader.follow(ROOT / "docs" / "tutorial.md")


@pytest.mark.parametrize("page", ["README.md", "docs/tutorial.md"])
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
    show = ".venv/bin/python -m host settings"
    ways = [
        f"{show} --config host.toml",
        f"{variables}\n{show}",
        flags.replace("python -m host", show),
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
