"""Becomes an ordinary user that may have no more processes, and sends back what arrives.

RLIMIT_NPROC counts the processes of a user (getrlimit(2)), and root is exempt. One is fewer than
there are, so each fork fails.
"""

from __future__ import annotations

import os
import resource

from pydantic import BaseModel

from host import ChildExit, Connection, Host, hookimpl

NOBODY = 65_534


class Options(BaseModel):
    at: str = "start"


class Crowded:
    def __init__(self, options: Options) -> None:
        self._at = options.at

    def _crowd(self, when: str) -> None:
        if when == self._at:
            if os.geteuid() == 0:
                os.setuid(NOBODY)
            hard = resource.getrlimit(resource.RLIMIT_NPROC)[1]
            resource.setrlimit(resource.RLIMIT_NPROC, (1, hard))

    @hookimpl
    def on_host_start(self, host: Host) -> None:
        self._crowd("start")

    @hookimpl
    def on_child_exit(self, child: ChildExit) -> None:
        self._crowd("death")

    @hookimpl
    def on_readable(self, connection: Connection) -> None:
        connection.write(connection.read())
