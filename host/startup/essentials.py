"""What each process of the host does all the time, done once: to see whether it still can."""

from __future__ import annotations

import os
import socket
import time
from contextlib import closing

from host.runtime.loop import READ, Loop
from host.telemetry.emitter import Record
from host.telemetry.events import HOST_BUG
from host.telemetry.logs import json_line, text_line

_WORD = b"tried"
_MOST_TURNS = 100


class NothingHappensError(Exception):
    """A loop waits for what has come already."""

    def __init__(self) -> None:
        super().__init__("a loop that has something to do does not get on")


def do_essentials() -> None:
    """Take some turns of a loop, make lines of the log, and look at variables.

    Raises:
        NothingHappensError: the loop does not get on.
        Exception: whatever else is no longer as it should be.
    """
    _take_turns()
    record = Record(HOST_BUG, time.time(), {"error": "", "traceback": ""})
    text_line(record)
    json_line(record, "")
    os.environ.get("")


def _take_turns() -> None:
    """Wait in a loop for a timer, a call and a word of another socket."""
    done: list[str] = []
    with closing(Loop()) as loop:
        mine, other = socket.socketpair()
        with mine, other:

            def read(_mask: int) -> None:
                if mine.recv(len(_WORD)) == _WORD:
                    done.append("read")

            loop.add(mine.fileno(), READ, read)
            loop.call_later(0.0, lambda: done.append("timer"))
            loop.call_from_thread(lambda: done.append("call"))
            other.sendall(_WORD)
            for _ in range(_MOST_TURNS):
                if len(done) == 3:
                    return
                loop.run_once(1.0)
    raise NothingHappensError
