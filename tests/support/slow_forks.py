"""Makes each fork take long, as that of a large process does, and sends back what arrives."""

from __future__ import annotations

import os
import time

from pydantic import BaseModel

from host import Connection, Host, hookimpl


class Options(BaseModel):
    seconds: float = 0.06


class SlowForks:
    def __init__(self, options: Options) -> None:
        self._seconds = options.seconds

    @hookimpl
    def on_host_start(self, host: Host) -> None:
        os.register_at_fork(before=lambda: time.sleep(self._seconds))

    @hookimpl
    def on_readable(self, connection: Connection) -> None:
        connection.write(connection.read())
