"""The pages about lines and about testing hold what they say: files are saved, commands run."""

import json
import shutil
import subprocess
import sys

import pytest

from host.testing.machine import patience
from support.venvs import environment
from walkthrough import ROOT, blocks

pytestmark = pytest.mark.process


@pytest.fixture
def saved(tmp_path):
    """Save the files of a page; return its blocks."""

    def save(name):
        found = blocks(ROOT / "docs" / name)
        for block in found:
            if block.file is not None:
                (tmp_path / block.file).write_text(block.text, encoding="utf-8")
        return found

    return save


def sessions(found):
    """Return the commands that speak to a host, with what they print."""
    return [
        (command, output)
        for block in found
        for command, output in (block.commands() if block.language == "console" else [])
        if command.startswith("printf")
    ]


@pytest.mark.skipif(
    shutil.which("nc") is None, reason="nc is not installed (Debian: netcat-openbsd)"
)
def test_the_line_protocol(saved, host_server, tmp_path):
    plain, own = sessions(saved("line.md"))
    for (command, output), host in (
        (plain, host_server("line")),
        (own, host_server(flags=["--config", str(tmp_path / "greet.toml")])),
    ):
        done = subprocess.run(
            ["bash", "-c", command.replace("7000", str(host.port))],
            capture_output=True,
            check=True,
            timeout=patience(60),
        )
        assert done.stdout.decode().splitlines() == output


def test_the_framers(saved):
    (block,) = (block for block in saved("line.md") if "framer.feed" in block.text)
    done = subprocess.run(
        [sys.executable, "-c", block.text], capture_output=True, check=True, text=True
    )
    assert done.stdout == "b'hello'\n4 bytes wait for the rest of theirs\n"


@pytest.mark.slow
def test_the_tests_of_the_page_about_testing(saved, tmp_path):
    saved("testing.md")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=patience(110),
        check=False,
    )
    assert "10 passed" in done.stdout, done.stdout
    (page,) = (block.text for block in saved("testing.md") if block.language == "text")
    first, heading, whole, _, last = page.splitlines()
    shown = done.stdout.splitlines()
    assert [line for line in shown if line in (first, heading, whole, last)] == [
        first, heading, whole, last
    ]  # fmt: skip


def test_the_options_are_those_that_there_are(saved):
    schema = subprocess.run(
        [sys.executable, "-m", "host", "settings", "schema", "--plugin", "line"],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    saved("line.md")
    page = (ROOT / "docs" / "line.md").read_text(encoding="utf-8")
    table = page.partition("## Options")[2].partition("\n## ")[0]
    listed = [row.split("`")[1] for row in table.splitlines() if row.startswith("| `")]
    properties = json.loads(schema.stdout)
    assert listed == list(options_of(properties, "line"))


def options_of(schema, plugin):
    """Return the options of a plugin that a schema of all settings has."""
    section = schema["properties"]["options"]["properties"][plugin]
    while "$ref" in section:
        section = schema["$defs"][section["$ref"].rpartition("/")[2]]
    return section["properties"]
