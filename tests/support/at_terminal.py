"""A terminal with a command in it, as a person would see it."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time

from host.testing.machine import patience

DEADLINE_SECONDS = 10.0
_LAUNCHER = """
import os, signal, sys
signal.signal(signal.SIGHUP, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])
"""
"""A terminal that is closed tells its commands, though nohup(1) may have tests ignore that."""


class Terminal:
    """A command of the host in a terminal of its own.

    Args:
        args: the command's arguments.
        width, height: the size of the terminal, in characters.

    Attributes:
        said: all that the command has written.
    """

    def __init__(self, *args: str, width: int = 80, height: int = 24) -> None:
        self._ours, theirs = pty.openpty()
        self.said = b""
        self._set_size(width, height)
        self.process = subprocess.Popen(
            [sys.executable, "-c", _LAUNCHER, sys.executable, "-m", "host", *args],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            # As of a shell that exports the size: it stays as it is when the size changes.
            env=os.environ | {"TERM": "xterm-256color", "COLUMNS": str(width)},
        )
        os.close(theirs)

    def wait_for(self, text: bytes, seconds: float = DEADLINE_SECONDS, *, times: int = 1) -> None:
        """Wait until the command has written a text so many times."""
        deadline = time.monotonic() + patience(seconds)
        while self.said.count(text) < times:
            left = deadline - time.monotonic()
            assert left > 0, self.said
            if select.select([self._ours], [], [], left)[0]:
                try:
                    self.said += os.read(self._ours, 65_536)
                except OSError:  # EIO: the command has ended
                    assert self.said.count(text) >= times, self.said

    def type(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self._ours, keys)

    def resize(self, width: int, height: int) -> None:
        """Give it another size, and tell the command, as the kernel tells who is in front."""
        self._set_size(width, height)
        self.process.send_signal(signal.SIGWINCH)

    def _set_size(self, width: int, height: int) -> None:
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("4H", height, width, 0, 0))

    def close(self) -> None:
        """End the command."""
        self.process.kill()
        self.process.wait()
        os.close(self._ours)
