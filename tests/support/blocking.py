"""A scheduler that holds processes up for as long as a test wants.

`choose_worker`, in the supervisor, reads a named pipe to its end. `on_worker_start` waits for a
file to be unlocked.
"""

from __future__ import annotations

import fcntl
from pathlib import Path

from pydantic import BaseModel

from host import hookimpl


class Options(BaseModel):
    pipe: Path
    lock: Path


class Blocking:
    def __init__(self, options: Options) -> None:
        self._pipe, self._lock = options.pipe, options.lock

    @hookimpl
    def choose_worker(self) -> None:
        self._pipe.read_bytes()

    @hookimpl
    def on_worker_start(self) -> None:
        with self._lock.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH)
