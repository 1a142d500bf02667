"""A host that measures its workers: files, the table at the end, and nothing when it is off."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from support.hosting import Host, Load, Refuse, Start

pytestmark = [pytest.mark.process, pytest.mark.warm]

TELLS = """
from host import hookimpl


class Tells:
    @hookimpl
    def on_readable(self, connection):
        connection.read()
        own = connection._context.on_readable == self.on_readable
        polls = getattr(connection._context.loop._poll, "__name__", "?")
        connection.write(f"{int(own)} {polls}\\n".encode())
"""
"""Tells whether the function that is called is its own, and who waits."""


def stopped(host: Host) -> str:
    """Stop a host; return the table that it has printed."""
    assert host.stop() == 0
    table = "\n".join(host.other_output)
    host.other_output.clear()
    return table


def records(folder: Path) -> list[dict[str, Any]]:
    assert {path.suffix for path in folder.iterdir()} <= {".json"}
    found = [json.loads(path.read_text()) for path in folder.iterdir()]
    for path, record in zip(folder.iterdir(), found, strict=True):
        assert path.name == f"worker-{record['slot']}-{record['pid']}.json"
    return sorted(found, key=lambda record: int(record["slot"]))


def test_files_and_a_table(start: Start, load: Load, tmp_path: Path) -> None:
    host = start("--profile", "new/folder", plugin="echo")
    pids = {event["slot"]: event["pid"] for event in host.events("worker_ready")}
    for turn in range(3):
        assert load.burst(host.address, 20, group=str(turn))["failures"] == {}
    assert sorted(path.suffix for path in (tmp_path / "new/folder").iterdir()) == [".part"] * 2
    for turn in range(3):
        load.close(group=str(turn))
    table = stopped(host)
    found = records(tmp_path / "new/folder")
    assert {record["slot"]: record["pid"] for record in found} == pids
    assert sum(record["accepted"] for record in found) == 60
    calls = 0
    for record in found:
        [hook] = record["hooks"]
        assert (hook["plugin"], hook["hook"]) == ("echo", "on_readable")
        assert 0 < hook["seconds"] < record["busy"] < record["seconds"]
        assert sum(record["turns"]) <= record["waits"]
        calls += hook["calls"]
    assert calls >= 60
    assert table.startswith(f"profile of 2 workers, in {tmp_path}/new/folder\n\nPLUGIN")
    lines = [line.split() for line in table.splitlines()]
    assert ["echo", "on_readable", str(calls)] in [line[:3] for line in lines]
    assert {str(pid) for pid in pids.values()} <= {line[1] for line in lines if len(line) == 14}


def test_who_was_killed_is_missing(start: Start, load: Load, tmp_path: Path) -> None:
    host = start("--profile", "folder", plugin="echo")
    killed = host.events("worker_ready", slot=0)[0]["pid"]
    os.kill(killed, signal.SIGKILL)
    host.wait_for("worker_ready", slot=0, count=2)
    table = stopped(host)
    assert "profile of 2 workers" in table
    assert "missing, since they have died: 1\n" in table
    assert killed not in [record["pid"] for record in records(tmp_path / "folder")]


def test_a_reload_goes_on_with_the_same_table(start: Start, tmp_path: Path) -> None:
    host = start("--profile", "folder", plugin="echo", workers=1)
    os.kill(host.pid, signal.SIGHUP)
    host.wait_for("generation_ready")
    host.wait_for("worker_exited")
    table = stopped(host)
    assert "profile of 2 workers" in table
    assert [record["generation"] for record in records(tmp_path / "folder")] in ([0, 1], [1, 0])


def test_hooks_that_plugins_bring_are_measured(start: Start, tmp_path: Path) -> None:
    (tmp_path / "shouts.py").write_text(
        "from host import hookimpl\n"
        "class Shouts:\n"
        "    @hookimpl\n"
        "    def on_line(self, connection, line):\n"
        "        connection.write(line.upper() + b'\\n')\n"
        "        return True\n"
    )
    flags = ("--profile", "folder", "--plugin", "./shouts.py")
    host = start(*flags, plugin="line", workers=1, settings={"options.line.commands": '["shouts"]'})
    with host.connect() as client:
        client.sendall(b"hello\n")
        assert client.recv(100) == b"HELLO\n"
    stopped(host)
    [record] = records(tmp_path / "folder")
    taken = {(each["plugin"], each["hook"]): each["calls"] for each in record["hooks"]}
    assert taken["shouts", "on_line"] == 1
    assert taken["line", "on_readable"] >= 1


@pytest.mark.parametrize(
    ("flags", "answer"), [((), b"1 poll\n"), (("--profile", "f"), b"0 waited\n")]
)
def test_only_what_is_measured_is_wrapped(
    start: Start, tmp_path: Path, flags: tuple[str, ...], answer: bytes
) -> None:
    (tmp_path / "tells.py").write_text(TELLS)
    host = start(*flags, plugin="./tells.py", workers=1)
    with host.connect() as client:
        client.sendall(b"?\n")
        assert client.recv(100) == answer
    assert bool(stopped(host)) is bool(flags)


@pytest.mark.parametrize("directory", ["file", "file/below", "/proc/none"])
def test_a_directory_that_cannot_be_written_to(
    refuse: Refuse, tmp_path: Path, directory: str
) -> None:
    (tmp_path / "file").touch()
    listen = f"unix:{tmp_path}/x.sock"
    refusal = refuse("--plugin", "echo", "--listen", listen, "--profile", directory)
    assert refusal.code == 3
    assert f'profile.directory = "{directory}"  cannot be written to: ' in refusal.message
    assert "from --profile (flag)" in refusal.message
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_directory_that_is_gone_at_the_end(start: Start, tmp_path: Path) -> None:
    host = start("--profile", "folder", plugin="echo", workers=1)
    for path in (tmp_path / "folder").iterdir():
        path.unlink()
    (tmp_path / "folder").rmdir()
    table = stopped(host)
    assert table == f"profile of 0 workers, in {tmp_path}/folder"
    assert len(host.events("profile_lost")) == 1
