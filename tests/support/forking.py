"""A protocol that forks a process for each line `0`, and answers with its id.

The process waits for a signal. A line with its id is answered with how it has ended. The first
worker that the host forks is sent SIGTERM at once, before any code of the host runs in it.
"""

from __future__ import annotations

import os
import signal
from itertools import count

from host import Connection, hookimpl

_forks = count()
_first = False


def _begin() -> None:
    global _first  # noqa: PLW0603 (it is the hook's only way to tell the next one)
    _first = next(_forks) == 0


def _born() -> None:
    if _first:
        os.kill(os.getpid(), signal.SIGTERM)


os.register_at_fork(before=_begin, after_in_child=_born)


@hookimpl
def on_readable(connection: Connection) -> None:
    line = connection.read()
    if not line:
        return
    if int(line):
        _, status = os.waitpid(int(line), 0)
        connection.write(b"%d\n" % os.waitstatus_to_exitcode(status))
        return
    pid = os.fork()
    if pid == 0:
        signal.pause()
        os._exit(0)
    connection.write(b"%d\n" % pid)
