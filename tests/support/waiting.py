"""A protocol that waits for ever at its start, where and in which process files say.

The folder that the variable WAITING names may have a file `import` or `on_host_start` with a
process id, 0 for whoever comes, and `once` if it goes on after it was interrupted, or `ever` if it
waits on. When it waits, there is a file `waiting`.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

from host import Connection, hookimpl

FOLDER = Path(os.environ["WAITING"])
SECONDS = 60.0


def wait(where: str) -> None:
    path = FOLDER / where
    if not path.exists():
        return
    pid, *how = path.read_text().split()
    if int(pid) not in (0, os.getpid()):
        return
    (FOLDER / "waiting").touch()
    while True:
        with suppress(*[BaseException] * len(how)):
            time.sleep(SECONDS)
        if how != ["ever"]:
            return


wait("import")


@hookimpl
def on_host_start() -> None:
    wait("on_host_start")


@hookimpl
def on_readable(connection: Connection) -> None:
    worker = connection.worker
    line = connection.read()
    if line:
        connection.write(b"%d %d 1 %s" % (worker.slot, worker.pid, line))
