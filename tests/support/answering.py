"""A plugin that answers datagrams: who it is, or what it is asked to do."""

from __future__ import annotations

import os
import time

from host import Datagram, hookimpl


@hookimpl
def on_datagram(datagram: Datagram) -> None:
    """Answer with the pid, hang, fail, exit, or send many bytes."""
    match datagram.data.split():
        case [b"hang"]:
            time.sleep(3600)
        case [b"fail"]:
            raise RuntimeError("asked to fail")
        case [b"die"]:
            os._exit(7)
        case [b"many"]:
            datagram.reply(bytes(1000))
        case [b"trust"]:
            datagram.trust()
            datagram.reply(b"yes")
        case [b"later"]:
            datagram.worker.call_later(0.01, lambda: datagram.reply(b"late"))
        case [b"who"]:
            datagram.reply(b"%d" % os.getpid())
        case _:
            datagram.reply(datagram.data)
