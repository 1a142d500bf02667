"""A scheduler whose answers are no candidates."""

from __future__ import annotations

from host import hookimpl


class Nonsense:
    @hookimpl
    def choose_worker(self) -> object:
        return "worker 7"
