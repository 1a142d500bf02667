"""A protocol and scheduler that harms its process once, in the hook and way that a file says.

The file is named by the variable HARM, and says `HOOK HOW`; who has read it takes it away first.
"""

from __future__ import annotations

import builtins
import ctypes
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from socket import AF_UNIX
from typing import Any

from host import hookimpl


def _take_len() -> None:
    builtins.len = None  # type: ignore[assignment]


def _close_listener() -> None:
    for number in map(int, os.listdir("/proc/self/fd")):
        with suppress(OSError), socket.socket(fileno=os.dup(number)) as sock:
            if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) and sock.family != AF_UNIX:
                os.close(number)


WAYS: dict[str, Callable[[], object]] = {
    "close_all": lambda: os.closerange(3, 1000),
    "close_first": lambda: os.close(3),
    "close_listener": _close_listener,
    "take_len": _take_len,
    "alarm": lambda: signal.alarm(3),
    "trace": lambda: sys.settrace(lambda *_: None),
    "exit": lambda: os._exit(3),
    "crash": lambda: ctypes.string_at(0),
}


def _maybe(hook: str) -> None:
    order = Path(os.environ["HARM"])
    with suppress(FileNotFoundError):
        wanted, how = order.read_text().split()
        if wanted == hook:
            order.unlink()
            WAYS[how]()


_maybe("import")


class Harming:
    @hookimpl
    def on_host_start(self) -> None:
        _maybe("on_host_start")

    @hookimpl
    def on_accept(self) -> None:
        _maybe("on_accept")

    @hookimpl
    def on_readable(self, connection: Any) -> None:
        connection.write(connection.read())

    @hookimpl
    def choose_worker(self) -> None:
        _maybe("choose_worker")

    @hookimpl
    def on_child_exit(self) -> None:
        _maybe("on_child_exit")
