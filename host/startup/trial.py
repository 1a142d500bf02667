"""Tries what each process of the host does, where plugins were loaded that may have broken it."""

from __future__ import annotations

import functools
import os
import socket
import time
import traceback
from contextlib import closing

from host.errors import Interrupted, TrialError
from host.runtime import processes
from host.runtime.loop import READ, Loop
from host.telemetry.emitter import Record
from host.telemetry.events import HOST_BUG
from host.telemetry.logs import json_line, text_line
from host.text import in_words, shorten

_SECONDS = 10.0
_WORD = b"tried"
_DONE = 64
"""The exit code of who has done it all: who ends on the way may do so with 0."""
_CAUSE = "the host cannot work with what plugins have done"


def try_out() -> None:
    """Fork a process, have it do what workers live on, and reap it.

    A plugin that was just loaded may have put something else in place of what the host calls, in
    a module that nobody thinks of, or forbid forks by an audit hook. In a supervisor that would
    show when it has to fork its workers, and end it.

    Raises:
        TrialError: something of it fails.
    """
    try:
        said = os.memfd_create("trial")
        try:
            pid = processes.fork(functools.partial(_live, said))
            os.kill(pid, 0)
            ended = processes.wait(pid, _SECONDS)
            failure = processes.end_of(said)
        finally:
            os.close(said)
        _log()
    except Interrupted:
        raise
    except Exception as error:
        raise TrialError(f"{_CAUSE}: {_told(error)}") from error
    if failure or ended is None or ended.code != _DONE:
        raise TrialError(f"{_CAUSE}: {failure or ended or f'no end within {_SECONDS:g} s'}")


def _told(error: BaseException) -> str:
    """Return what has failed, and in which line: of the host, or of whom it calls there."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{in_words(error)}, in {shorten(last.filename)}:{last.lineno}  {last.line}".rstrip()


def _live(said: int) -> int:
    """Do what a worker lives on, and return `_DONE`; write down why that fails."""
    try:
        _take_turns()
    except Exception as error:
        os.write(said, _told(error).encode("utf-8", "replace"))
        return 1
    return _DONE


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
            while len(done) < 3:
                loop.run_once(1.0)


def _log() -> None:
    """Make lines of the log."""
    record = Record(HOST_BUG, time.time(), {"error": "", "traceback": ""})
    text_line(record)
    json_line(record, "")
