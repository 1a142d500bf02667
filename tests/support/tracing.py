"""A protocol whose clients say what their trace is; what it logs and prints is about theirs."""

from __future__ import annotations

import logging
import threading

from host import Connection, hookimpl


class Tracing:
    @hookimpl
    def on_readable(self, connection: Connection) -> None:
        for line in connection.read().decode().splitlines():
            if line != "say":
                connection.trace = line
            logging.getLogger("traced").warning("logged %s", line)
            print("printed", line)
            thread = threading.Thread(target=print, args=("in a thread", line))
            thread.start()
            thread.join()
        connection.write(b"done\n")
