"""Malformed metadata of another distribution never ends a command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from host.testing.machine import patience

pytestmark = pytest.mark.process

METADATA = b"Metadata-Version: 2.1\nName: sample-dist\nVersion: 1.0\n"


@pytest.mark.parametrize(
    ("folder", "metadata", "entry_points"),
    [
        ("sample-1.0.dist-info", METADATA, b"[host.plugins]\nx = what is this!\n"),
        ("sample-1.0.dist-info", METADATA, b"[console_scripts]\njust a line\n"),
        ("sample-1.0.dist-info", METADATA, b"[host.plugins]\nx = m\xfcll:Y\n"),
        ("sample-1.0.dist-info", b"Name: m\xfcll\n", b"[host.plugins]\nx = os:Y\n"),
        (".dist-info", METADATA, b"[host.plugins]\nx = os:Y\n"),
    ],
    ids=["value", "no equals sign", "not UTF-8", "metadata not UTF-8", "folder without a name"],
)
def test_commands_work_beside_it(
    tmp_path: Path, folder: str, metadata: bytes, entry_points: bytes
) -> None:
    info = tmp_path / folder
    info.mkdir()
    (info / "METADATA").write_bytes(metadata)
    (info / "entry_points.txt").write_bytes(entry_points)
    for command, expected in ((["plugins"], "round_robin"), (["check", "--plugin", "echo"], "ok")):
        done = subprocess.run(
            [sys.executable, "-m", "host", *command],
            env={**os.environ, "PYTHONPATH": str(tmp_path)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=patience(60),
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert expected in done.stdout
