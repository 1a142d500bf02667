"""A scheduler that holds the supervisor up: `choose_worker` reads a named pipe to its end.

So a test decides how long the supervisor is away, and what has happened when it is back.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel

from host import hookimpl


class Options(BaseModel):
    pipe: Path


class Blocking:
    def __init__(self, options: Options) -> None:
        self._pipe = options.pipe

    @hookimpl
    def choose_worker(self) -> None:
        self._pipe.read_bytes()
