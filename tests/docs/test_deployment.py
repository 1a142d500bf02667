"""The files of the page on deployment are right as far as that can be told without running them."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from host.testing.machine import patience
from support.asking import fresh_name
from walkthrough import ROOT, blocks

FILES = {block.file: block.text for block in blocks(ROOT / "docs/deployment.md") if block.file}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with all the files."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def run(folder: Path, *command: str) -> str:
    """Run a command that must find nothing wrong; return what it has said."""
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=patience(60), check=False
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    return said


def tool(name: str) -> str:
    """Return the path of a tool that is installed beside the interpreter."""
    found = shutil.which(name, path=str(Path(sys.executable).parent))
    assert found, f"{name} is not installed: it is in the dependency group docs"
    return found


def test_the_host_takes_the_settings(folder):
    run(folder, sys.executable, "-m", "host", "check", "--config", "host.toml")


def test_docker_takes_the_image(folder):
    assert run(folder, tool("hadolint"), "Dockerfile") == ""


def test_docker_takes_the_composition(folder):
    run(folder, tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", "compose.yaml")


def test_the_container_has_as_long_as_a_stop_may_take():
    lifecycle = tomllib.loads(FILES["host.toml"])["lifecycle"]
    longest = lifecycle["shutdown_delay_seconds"] + lifecycle["drain_timeout_seconds"]
    assert int(re.findall(r"stop_grace_period: (\d+)s", FILES["compose.yaml"])[0]) > longest


def test_the_commands_of_the_image_work(folder, host_server):
    probe, entry = [
        re.findall(r'"([^"]*)"', line)[1:]
        for line in FILES["Dockerfile"].splitlines()
        if line.startswith(("HEALTHCHECK", "ENTRYPOINT"))
    ]
    assert entry[:4] == ["-m", "host", "--config", "host.toml"]
    name = fresh_name()  # another run of the tests may be under way
    host = host_server(flags=["--config", str(folder / "host.toml"), "--name", name])
    run(folder, sys.executable, *[word.replace("service", name) for word in probe])
    assert host.stop() == 0
