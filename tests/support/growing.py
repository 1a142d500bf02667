"""A protocol that keeps memory for each line: in every worker, or in that of one slot alone."""

from typing import Any

from pydantic import BaseModel

from host import hookimpl

KEPT_BYTES = 1_000_000
_kept: list[bytearray] = []


class Options(BaseModel):
    slot: int = -1  # which one; -1 is every


class Growing:
    def __init__(self, options: Options) -> None:
        self._slot = options.slot

    @hookimpl
    def on_readable(self, connection: Any) -> None:
        if data := connection.read():
            if self._slot in (-1, connection.worker.slot):
                _kept.append(bytearray(b"y") * KEPT_BYTES)
            connection.write(data)
