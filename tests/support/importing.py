"""A protocol that answers with what is imported, and notes what is imported after the start."""

from __future__ import annotations

import gc
import json
import sys
from pathlib import Path

from pydantic import BaseModel

from host import Connection, Host, hookimpl

FROZEN = gc.get_freeze_count() if gc.isenabled() else None
"""How much the collector passed over when this plugin was imported; None if it did not work."""


class Options(BaseModel):
    """Where to note it, a line each."""

    notes: Path


class Importing:
    def __init__(self, options: Options) -> None:
        self._notes = options.notes

    @hookimpl
    def on_host_start(self, host: Host) -> None:
        self._notes.touch()
        sys.addaudithook(self._note)

    def _note(self, event: str, arguments: tuple[object, ...]) -> None:
        if event == "import":
            with self._notes.open("a") as notes:
                notes.write(f"{arguments[0]}\n")

    @hookimpl
    def on_readable(self, connection: Connection) -> None:
        if connection.read():
            answer = {"frozen": FROZEN, "imported": sorted(sys.modules)}
            connection.write(json.dumps(answer).encode() + b"\n")
