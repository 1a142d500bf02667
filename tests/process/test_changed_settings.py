"""What a reload would change is told beforehand; what cannot take effect is refused by name."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from host.control.server import ControlServer
from support.asking import fresh_name, query
from support.hosting import Host, Start, environment

pytestmark = pytest.mark.process

LISTEN = 'listen = ["tcp://127.0.0.1:0"]'
SETTINGS = """
name = "{name}"
plugins = ["echo"]
{listen}
limits.max_events = {events}
"""


@pytest.fixture
def name() -> str:
    return fresh_name()


@pytest.fixture
def write(tmp_path: Path, name: str) -> Callable[..., None]:
    """Write the settings file."""

    def write(more: str = "", events: int = 1000, called: str = name, first: str = LISTEN) -> None:
        text = SETTINGS.format(name=called, events=events, listen=first)
        (tmp_path / "host.toml").write_text(text + more)

    write()
    return write


@pytest.fixture
def sited(start: Start, write: Callable[..., None]) -> Host:
    """A host that runs with this file."""
    return start("--config", "host.toml", plugin=None, listen=(), workers=2)


@pytest.fixture
def told(tmp_path: Path) -> Callable[..., list[str]]:
    """Check the file against a host; return the lines that are printed."""

    def check(*flags: str) -> list[str]:
        done = subprocess.run(
            [sys.executable, "-m", "host", "check", "--config", "host.toml", *flags],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=environment(),
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    return check


def test_what_a_reload_would_change_is_listed(
    sited: Host, write: Callable[..., None], told: Callable[..., list[str]], name: str
) -> None:
    lines = told("--against-running")
    assert lines[:2] == ["ok", f'a reload of host "{name}" would change no setting']
    write("lifecycle.hang_seconds = 9\nworkers = 7\n", events=500)
    lines = told("--against-running", name)
    assert lines[:2] == ["ok", f'a reload of host "{name}" would change:']
    assert [line.split() for line in lines[2:4]] == [
        ["limits.max_events", "1000", "->", "500", "#", "host.toml:5"],
        ["lifecycle.hang_seconds", "4.0", "->", "9.0", "#", "host.toml:6"],
    ]
    assert "only a restart would change" in lines[4]
    assert lines[5].split() == ["workers", "2", "->", "7", "#", "--workers", "(flag)"]
    mark = sited.mark()
    sited.signal(signal.SIGHUP)
    sited.wait_for("generation_ready", since=mark)
    applied = {each["key"]: each for each in query(name, "applied")["settings"]}
    assert applied["limits.max_events"]["value"] == "500"
    assert applied["workers"] == {"key": "workers", "value": "2", "origin": "--workers (flag)"}
    assert told("--against-running")[1] == f'a reload of host "{name}" would change no setting'


def test_a_name_that_another_process_has_is_refused_and_a_free_one_is_taken(
    sited: Host, write: Callable[..., None], name: str
) -> None:
    other, free = fresh_name(), fresh_name()
    write(called=other)
    with ControlServer.bind(other):
        sited.signal(signal.SIGHUP)
        failed = sited.wait_for("reload_failed")
        assert f'cannot be called "{other}" (name)' in failed["reason"]
        assert query(name, "status")["last_reload"]["reason"] == failed["reason"]
    write(called=free)
    sited.signal(signal.SIGHUP)
    sited.wait_for("generation_ready")
    assert query(free, "status")["name"] == free
    with pytest.raises(ConnectionRefusedError):
        query(name, "status")


def test_shards_of_a_listener_that_stays_are_refused(
    sited: Host, write: Callable[..., None], told: Callable[..., list[str]], name: str
) -> None:
    listeners = '[[listen]]\naddress = "udp://127.0.0.1:0"\nshards = {}\n'

    def listen(shards: int) -> None:
        write(listeners.format(shards), first="")

    listen(2)
    sited.signal(signal.SIGHUP)
    sited.wait_for("generation_ready")
    listen(3)
    assert "would be refused" in told("--against-running")[1]
    sited.signal(signal.SIGHUP)
    failed = sited.wait_for("reload_failed")
    assert failed["reason"].startswith("shards of udp://127.0.0.1:0 change from 2 to 3")
    applied = {each["key"]: each["value"] for each in query(name, "applied")["settings"]}
    assert applied["listen[0].shards"] == "2"
