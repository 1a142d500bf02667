"""The JSON log of another process: read by a thread, kept, and waited for."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterable
from typing import Any

from host.testing.machine import Stopwatch, patience

PATIENCE_SECONDS = 20.0
"""How long anything may take that takes milliseconds on a machine with nothing else to do."""


class EventLog:
    """What a process says: one event a line, in JSON, from the moment `start_reading` is called.

    Args:
        title: what stands above everything in messages, such as the command line.

    Attributes:
        other_output: the lines it has written that are no events.
    """

    def __init__(self, title: str) -> None:
        self._title = title
        self._rest = b""
        self._events: list[dict[str, Any]] = []
        self.other_output: list[str] = []
        self._news = threading.Condition()
        self._ended = False
        self._reader: threading.Thread | None = None

    def start_reading(self, fd: int) -> None:
        """Read `fd` in a thread, to its end; the caller closes it after `join`."""
        self._reader = threading.Thread(target=self._read, args=(fd,), daemon=True)
        self._reader.start()

    def join(self, seconds: float) -> bool:
        """Wait until everything has been read; tell whether it has.

        Args:
            seconds: how long it may take on an idle machine.
        """
        assert self._reader is not None
        self._reader.join(patience(seconds))
        return not self._reader.is_alive()

    def mark(self) -> int:
        """Return a place in what it tells; with `since` only what comes after it counts."""
        with self._news:
            return len(self._events)

    def events(
        self, name: str | None = None, since: int = 0, **fields: object
    ) -> list[dict[str, Any]]:
        """Return what it has told so far: events of that name (None: any) with those fields."""
        with self._news:
            return [
                event
                for event in self._events[since:]
                if name in (None, event["event"])
                and all(event.get(key) == value for key, value in fields.items())
            ]

    def wait_for(
        self,
        name: str | None,
        *,
        since: int = 0,
        count: int = 1,
        seconds: float = PATIENCE_SECONDS,
        **fields: object,
    ) -> dict[str, Any]:
        """Wait for the `count`-th event of that name (None: any) with those fields; return it.

        It may take so many seconds on an idle machine, and longer on one that is not.

        Raises:
            AssertionError: it has not come in time, or will not; with all that the host has said.
        """
        watch = Stopwatch()
        wanted = f"event {name or 'of any name'}" + (f" with {fields}" if fields else "")
        while True:
            with self._news:
                found = self.events(name, since, **fields)
                if len(found) >= count:
                    return found[count - 1]
                left = watch.left(seconds)
                if self._ended or not left:
                    passed = f"{watch.seconds:.1f} s have passed"
                    how = "the host has ended" if self._ended else passed
                    raise AssertionError(
                        f"{how}, and {len(found)} of {count} came: {wanted}\n{self.said()}"
                    )
                self._news.wait(left)

    def said(self) -> str:
        """Return everything that the host has said, below its title."""
        with self._news:
            return "\n".join([self._title, *map(json.dumps, self._events), *self.other_output])

    def _add_lines(self, lines: Iterable[bytes]) -> bool:
        """Keep lines; tell whether to read on."""
        with self._news:
            go_on = [self._add_line(line.decode("utf-8", "replace")) for line in lines]
            self._news.notify_all()
        return all(go_on)

    def _add_line(self, line: str) -> bool:
        """Keep a line, as an event or as other output; tell whether to read on."""
        try:
            event = json.loads(line)
            event["event"]
        except (ValueError, TypeError, KeyError):
            self.other_output.append(line)
        else:
            self._events.append(event)
        return True

    def _read(self, fd: int) -> None:
        while data := os.read(fd, 65_536):
            *lines, self._rest = (self._rest + data).split(b"\n")
            if not self._add_lines(lines):
                return
        with self._news:
            self._ended = True
            self._add_lines([self._rest] if self._rest else [])
