"""The units are right as systemd itself sees it, and the commands of their page work."""

import re
import shlex
import shutil
import socket
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from host.testing.machine import patience
from support.asking import fresh_name
from walkthrough import ROOT, Running, blocks, environment

UNITS = ROOT / "contrib/systemd"
SERVICES = [UNITS / "service.service", UNITS / "252/service.service"]
PAGE = ROOT / "docs/systemd.md"
EXPOSURE = 1.4

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd is not installed"
)


def said(*command: str) -> str:
    """Run a command that must find nothing wrong; return what it has said."""
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=patience(60), check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def version() -> int:
    """Return the version of the systemd of this machine."""
    return int(said("systemd-analyze", "--version").split()[1])


def unit(path: Path) -> dict[str, list[str]]:
    """Return the values of each key of a unit, in order."""
    found: dict[str, list[str]] = {}
    for line in path.read_text().splitlines():
        if re.match(r"\w+=", line):
            key, _, text = line.partition("=")
            found.setdefault(key, []).append(text)
    return found


def as_here(command: str) -> list[str]:
    """Return a command of a unit with this interpreter and without its folders."""
    words = shlex.split(command)
    assert Path(words[0]).name == "python"
    return [sys.executable, *(word.replace("/etc/service/", "") for word in words[1:])]


@needs_systemd
@pytest.mark.parametrize("service", SERVICES, ids=str)
def test_systemd_takes_the_units(service, tmp_path):
    text = service.read_text().replace("/opt/service/.venv/bin/python", sys.executable)
    (tmp_path / "service.service").write_text(text.replace("#LoadCredential", "LoadCredential"))
    shutil.copy(UNITS / "service.socket", tmp_path)
    shutil.copytree(UNITS / "service.service.d", tmp_path / "service.service.d")
    paths = [str(tmp_path / name) for name in ("service.service", "service.socket")]
    lines = said("systemd-analyze", "verify", *paths).splitlines()
    if "Type=notify-reload" in text and version() < 253:
        assert len(lines) == 1
        assert lines.pop().endswith("Failed to parse service type, ignoring: notify-reload")
    assert lines == []


@needs_systemd
@pytest.mark.parametrize("service", SERVICES, ids=str)
def test_the_exposure_is_what_the_page_says(service):
    shown = said("systemd-analyze", "security", "--offline=true", "--no-pager", str(service))
    [found] = re.findall(r"exposure level for service.service: ([\d.]+) OK", shown)
    assert float(found) <= EXPOSURE
    assert f'exposure of this unit {EXPOSURE}, "OK"' in PAGE.read_text()


def test_the_unit_for_an_older_systemd_is_the_same_but_for_the_reload():
    newer, older = map(unit, SERVICES)
    assert (newer.pop("Type"), older.pop("Type")) == (["notify-reload"], ["notify"])
    assert older.pop("ExecReload") != []
    assert newer == older


def test_the_unit_waits_as_long_as_a_stop_may_take():
    [settings] = [
        block.text for block in blocks(ROOT / "docs/deployment.md") if block.file == "host.toml"
    ]
    lifecycle = tomllib.loads(settings)["lifecycle"]
    longest = lifecycle["shutdown_delay_seconds"] + lifecycle["drain_timeout_seconds"]
    for service in SERVICES:
        assert int(unit(service)["TimeoutStopSec"][0]) > longest


def test_each_line_that_is_explained_is_in_the_unit():
    keys = set(unit(SERVICES[0])) | set(unit(SERVICES[1]))
    table = PAGE.read_text().partition("| line | why |")[2].partition("\n\n")[0]
    named = re.findall(r"^\| `(\w+)", table, re.MULTILINE)
    assert len(named) > 10
    assert set(named) - keys == {"AF_NETLINK", "LoadCredential"}


def test_the_reload_of_the_unit_finds_the_host_of_the_page():
    [settings] = [tomllib.loads(block.text) for block in blocks(PAGE) if block.file == "host.toml"]
    [reload] = unit(SERVICES[1])["ExecReload"]
    assert reload.endswith(f" reload --name {settings['name']}")


def test_the_commands_of_the_unit_work(host_server, tmp_path):
    service = unit(SERVICES[1])
    [start], [reload] = map(as_here, service["ExecStart"]), map(as_here, service["ExecReload"])
    assert start[1:] == ["-m", "host", "--config", "host.toml"]
    name = fresh_name()  # another run of the tests may be under way
    host = host_server("echo", flags=["--name", name])
    said(*[word.replace("service", name) for word in reload])
    assert host.stop() == 0


@pytest.mark.skipif(
    shutil.which("systemd-socket-activate") is None, reason="systemd is not installed"
)
def test_the_command_without_a_unit_works(tmp_path):
    page = blocks(PAGE)
    [(command, _)] = [
        each for block in page if block.language == "console" for each in block.commands()
    ]
    for block in page:
        if block.file:
            (tmp_path / block.file).write_text(block.text)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = command.replace("7000", str(port)).replace(" python ", f" {sys.executable} ")
    running = Running(f"{command} --name {fresh_name()}", tmp_path, environment())
    try:
        running.wait_for("Listening on")
        with socket.create_connection(("127.0.0.1", port), timeout=patience(20)) as client:
            client.sendall(b"hello")
            assert client.recv(100) == b"hello"
        running.stop()
    finally:
        running.kill()
