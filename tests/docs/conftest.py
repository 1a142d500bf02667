import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from host.testing.machine import patience
from walkthrough import ROOT, Reader, Running, blocks, environment


@pytest.fixture(scope="session")
def commands() -> tuple[str, str]:
    """The two commands of the README: run the host, run all tests."""
    found = [
        block.text.strip()
        for block in blocks(ROOT / "README.md")
        if block.language == "sh" and "-m venv" in block.text
    ]
    assert len(found) == 2
    assert all("\n" not in command for command in found)
    return found[0], found[1]


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean checkout: what is or would be committed, and nothing else."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    folder = tmp_path_factory.mktemp("clean") / "prefork"
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).exists():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target, follow_symlinks=False)
    return folder


@pytest.fixture(scope="session")
def installed(checkout: Path, commands: tuple[str, str]) -> Path:
    """The checkout after the README's first command, which has run a host that echoed."""
    env = environment() | {"PREFORK_LISTEN": "tcp://127.0.0.1:0"}
    host = Running(commands[0], checkout, env)
    try:
        port = int(host.wait_for(r"listening on tcp://127\.0\.0\.1:(\d+), served by echo", 300)[1])
        host.wait_for(r"ready: \d+ workers serving")
        with socket.create_connection(("127.0.0.1", port), timeout=patience(10)) as client:
            client.sendall(b"hello")
            assert client.recv(100) == b"hello"
        host.stop()
    finally:
        host.kill()
    return checkout


@pytest.fixture
def reader(installed: Path) -> Reader:
    """Somebody who sits in that checkout."""
    return Reader(installed)
