"""A protocol that answers what is sent with the variables and descriptors that programs get."""

from __future__ import annotations

import os
import subprocess
import sys

from host import Connection, hookimpl

_CHILD = "import os; print(sorted(os.environ), sorted(os.listdir('/proc/self/fd')))"


class Variables:
    @hookimpl
    def on_readable(self, connection: Connection) -> None:
        connection.read()
        program = [sys.executable, "-I", "-S", "-c", _CHILD]
        said = subprocess.check_output(program, stdin=subprocess.DEVNULL, close_fds=False).decode()
        connection.write(f"{sorted(os.environ)} {said}".encode())
