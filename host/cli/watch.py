"""The live view of `top`: draws a host again whenever it has answered or somebody has typed."""

from __future__ import annotations

import os
import queue
import signal
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

from rich.console import Console, ConsoleDimensions
from rich.live import Live

from host.cli.frame import Size, frame
from host.cli.history import History
from host.cli.terminal import ANSWERED, QUIT, STOP, Terminal
from host.cli.top import View
from host.errors import RemoteError

REFRESH_SECONDS = 1.0
_USUAL = ConsoleDimensions(80, 24)
"""What is taken of a terminal that does not know its size."""

Status = Mapping[str, Any]


class Looks:
    """Asks a host each second, in a thread: one that does not answer holds up no key.

    Args:
        ask: returns the state of the host.
        told: called in the thread when there is an answer.
    """

    def __init__(self, ask: Callable[[], Status], told: Callable[[], object]) -> None:
        self._ask, self._told = ask, told
        self._answers: queue.SimpleQueue[Status | Exception] = queue.SimpleQueue()
        self._at_once = threading.Event()
        self._ended = False

    def __enter__(self) -> Self:
        # Not waited for at the end: it may wait for the host.
        threading.Thread(target=self._run, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        self._at_once.set()

    def _run(self) -> None:
        # The main thread handles signals, and is to be woken by them.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        while True:
            self._at_once.wait(REFRESH_SECONDS)
            if self._ended:
                return
            self._at_once.clear()
            try:
                self._answers.put(self._ask())
            except Exception as error:
                self._answers.put(error)
            self._told()

    def ask_now(self) -> None:
        """Ask at once, if the host is not just being asked."""
        self._at_once.set()

    def take(self) -> Status:
        """Return the next answer.

        Raises:
            queue.Empty: there is none.
            RemoteError: the host has not answered.
        """
        answer = self._answers.get_nowait()
        if isinstance(answer, Exception):
            raise answer
        return answer


@dataclass(slots=True)
class _Shown:
    """What is shown: the last state, and what is wrong at present, or ""."""

    status: Status
    history: History
    view: View
    note: str = ""

    def take_answers(self, looks: Looks) -> None:
        """Take note of all answers that have come."""
        try:
            while True:
                try:
                    self.status, self.note = looks.take(), ""
                    self.history.update(self.status)
                except RemoteError as error:
                    self.note = str(error).partition("\n")[0]
        except queue.Empty:
            return


def watch(ask: Callable[[], Status], view: View) -> None:
    """Show the state of a host each second, and at any key, until q or Ctrl-C is pressed.

    A host that does not answer is said to be so, and asked again: it may come back.

    Args:
        ask: returns the state of the host.
        view: how it is looked at at first.

    Raises:
        RemoteError: it does not answer at first.
    """
    shown = _Shown(ask(), History(), view)
    shown.history.update(shown.status)
    while True:
        terminal = Terminal()
        with terminal, Looks(ask, terminal.note_answer) as looks:
            how = _show(shown, terminal, looks)
        if how == QUIT:
            break
        signal.raise_signal(signal.SIGTSTP)  # goes on here when the shell says so (fg)
    if terminal.ended_by is not None:
        signal.raise_signal(terminal.ended_by)


def _show(shown: _Shown, terminal: Terminal, looks: Looks) -> str:
    """Draw on a screen of its own until somebody ends or stops it; return which of them."""
    console = Console(highlight=False, markup=False, emoji=False)
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            console.size = _size_now(console)
            size = Size(console.width, console.height, console.options.ascii_only)
            drawn = frame(shown.status, shown.history, shown.view, size, shown.note)
            live.update(drawn, refresh=True)
            for what in terminal.wait():
                if what in (QUIT, STOP):
                    return what
                if what == ANSWERED:
                    shown.take_answers(looks)
                elif what == " ":
                    looks.ask_now()
                else:
                    shown.view.press(what, len(shown.status["workers"]))


def _size_now(console: Console) -> ConsoleDimensions:
    """Return the terminal's own size: COLUMNS and LINES stay as they are when it changes."""
    width, height = console.size
    with suppress(OSError):
        width, height = os.get_terminal_size()
    return ConsoleDimensions(width or _USUAL.width, height or _USUAL.height)
