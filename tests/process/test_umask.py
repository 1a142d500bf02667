"""Plugins are imported with the umask of the settings that they are selected by."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from support.hosting import Host, Start

pytestmark = pytest.mark.process

PLUGIN = """
import os
from host import hookimpl

umask = os.umask(0)
os.umask(umask)
with open("umasks", "a+") as file:
    file.write(f"{umask:o}\\n")
    file.seek(0)
    if len(file.readlines()) == FAILS_AT:
        raise RuntimeError("it is imported too often")


@hookimpl
def on_readable(connection):
    connection.read()
"""


class Scene:
    """A host whose plugin notes the umask at each of its imports, in a folder of its own."""

    def __init__(self, start: Start, folder: Path) -> None:
        self._start, self._folder = start, folder

    def write(self, umask: str = "", fails_at: int = 0) -> None:
        """Write the settings and the plugin, and forget what was noted."""
        taken = f'process.umask = "{umask}"\n' if umask else ""
        (self._folder / "host.toml").write_text(f'plugins = ["./masked.py"]\n{taken}')
        (self._folder / "masked.py").write_text(PLUGIN.replace("FAILS_AT", str(fails_at)))
        (self._folder / "umasks").write_text("")

    def start(self) -> Host:
        """Start the host."""
        return self._start("--config", "host.toml", plugin=None, workers=1)

    @property
    def noted(self) -> list[str]:
        """The umask of each import."""
        return (self._folder / "umasks").read_text().split()


@pytest.fixture
def scene(start: Start, tmp_path: Path) -> Scene:
    return Scene(start, tmp_path)


def reload(host: Host, end: str = "generation_ready") -> None:
    mark = host.mark()
    host.signal(signal.SIGHUP)
    host.wait_for(end, since=mark)


def umask_of(pid: int) -> str:
    """Return the umask of a process (proc_pid_status(5))."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.split()[1].lstrip("0") for line in lines if line.startswith("Umask:"))


def test_plugins_are_imported_with_the_umask_of_the_new_settings(scene: Scene) -> None:
    scene.write("0027")
    host = scene.start()
    assert set(scene.noted) == {"27"}
    scene.write("0077")
    reload(host)
    assert (len(scene.noted), set(scene.noted)) == (3, {"77"})  # it is rehearsed twice
    scene.write()
    reload(host)
    as_started = os.umask(0o077)
    os.umask(as_started)
    assert set(scene.noted) == {f"{as_started:o}"}


def test_settings_that_cannot_be_had_leave_the_umask_as_it_was(scene: Scene) -> None:
    scene.write("0027")
    host = scene.start()
    scene.write("0077", fails_at=3)  # after the exec and both rehearsals
    reload(host, "generation_failed")
    assert scene.noted == ["77"] * 3
    assert umask_of(host.pid) == "27"
