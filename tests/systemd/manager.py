"""A real systemd: that of a user, in a mount namespace and a control group of its own."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from host.testing.machine import patience

_BEGIN = """
echo $$ > {group}/cgroup.procs
mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/system
exec /lib/systemd/systemd --user --unit=basic.target
"""
"""systemd and systemctl look for that folder to know whether they are wanted (sd_booted(3))."""


class Systemd:
    """A running systemd; `close` ends it and all of its services.

    Args:
        folder: an empty folder for its units and its sockets.
    """

    def __init__(self, folder: Path) -> None:
        named = Path("/sys/fs/cgroup/systemd")  # of control groups of version 1
        top = named if named.is_dir() else Path("/sys/fs/cgroup")
        self._group = top / f"prefork-test-{os.getpid()}"
        self._group.mkdir()
        runtime = folder / "run"
        runtime.mkdir(mode=0o700)
        self._units = folder / "config/systemd/user"
        self._units.mkdir(parents=True)
        self._environment = os.environ | {
            "XDG_RUNTIME_DIR": str(runtime),
            "XDG_CONFIG_HOME": str(folder / "config"),
        }
        begin = _BEGIN.format(group=self._group)
        program = ["unshare", "--mount", "--propagation", "private", "sh", "-ec", begin]
        self._process = subprocess.Popen(program, env=self._environment)
        private = runtime / "systemd/private"
        deadline = time.monotonic() + patience(20)
        while not private.exists():
            assert self._process.poll() is None, "systemd has ended"
            assert time.monotonic() < deadline, "systemd does not start"
            os.sched_yield()

    def write(self, name: str, lines: Iterable[str]) -> None:
        """Write a unit."""
        (self._units / name).write_text("\n".join(lines))

    def control(self, *arguments: str, fails: bool = False) -> str:
        """Call systemctl, which must succeed or must fail; return what it says."""
        enter = ["nsenter", "--mount", "--target", str(self._process.pid)]
        done = subprocess.run(
            [*enter, "systemctl", "--user", "--no-pager", *arguments],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=patience(60),
            check=False,
        )
        assert (done.returncode != 0) == fails, (arguments, done.stdout, done.stderr)
        return done.stdout

    def show(self, key: str) -> str:
        """Return a property of the service."""
        return self.control("show", "service.service", "--value", "--property", key).strip()

    def close(self) -> None:
        """End it."""
        with suppress(subprocess.TimeoutExpired, AssertionError):
            self.control("exit")
            self._process.wait(patience(30))
        self._process.kill()
        self._process.wait()
        for folder, _, _ in os.walk(self._group, topdown=False):
            os.rmdir(folder)
