"""No protocol: each worker holds as many descriptors as its options say, without any use."""

from __future__ import annotations

import os

from pydantic import BaseModel

from host import hookimpl


class Options(BaseModel):
    descriptors: int


class Leaking:
    def __init__(self, options: Options) -> None:
        self._count = options.descriptors
        self._held: list[int] = []

    @hookimpl
    def on_worker_start(self) -> None:
        self._held = [os.open(os.devnull, os.O_RDONLY) for _ in range(self._count)]
