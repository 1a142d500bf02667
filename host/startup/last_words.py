"""Has it told which plugin ends this process at once, since nobody can tell it afterwards."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

from host.errors import PluginError
from host.plugin.loading import being_loaded
from host.text import shorten

_HOST = __name__.partition(".")[0]

Tell = Callable[[int, FrameType], object]
"""Given the exit code, and the frame of who calls os._exit()."""


@contextmanager
def last_words(tell: Tell | None = None) -> Iterator[None]:
    """Have os._exit() say who calls it, in this process, if that is not the host itself.

    It ends a process without a word: an operator would see nothing but an exit code, which may be
    0. A plugin that does so while it is loaded is refused as one that calls sys.exit(). Later the
    process ends all the same, since whoever calls it may mean it.

    Args:
        tell: told of one that does so later.
    """
    end, pid = os._exit, os.getpid()

    def end_with_words(status: int) -> NoReturn:
        frame = sys._getframe(1)
        if os.getpid() == pid and not _is_of_host(frame):
            if being_loaded():
                raise _refusal(status, frame)
            if tell is not None:
                with suppress(Exception):
                    tell(status, frame)
        end(status)

    _put(end_with_words)
    try:
        yield
    finally:
        if os._exit is end_with_words:
            _put(end)


def _put(function: Callable[[int], NoReturn]) -> None:
    os._exit = function  # type: ignore[assignment]


def _is_of_host(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__")).partition(".")[0] == _HOST


def _refusal(status: int, frame: FrameType) -> PluginError:
    cause = f"it ends the whole process while it is loaded, by os._exit({status})"
    hint = "A plugin must not exit: raise an exception that says what is wrong."
    return PluginError(being_loaded(), cause, where=place_of(frame), hint=hint, code="import-ends")


def place_of(frame: FrameType) -> str:
    """Return file and line of a frame."""
    return f"{shorten(frame.f_code.co_filename)}:{frame.f_lineno}"
