"""No protocol: it makes accepting each connection, on any listener, last 10 ms."""

from __future__ import annotations

import time

from host import hookimpl


class Slow:
    @hookimpl
    def on_accept(self) -> None:
        time.sleep(0.01)
