"""The commands of the line protocol that ship: PING, ECHO, TIME, WORKER, STATS, HELP, QUIT."""

from __future__ import annotations

import difflib
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from host import Worker
from host.plugins.framing import lines_left

QUIT = b"QUIT"
_NOTHING: Iterator[bytes] = iter(())
_BREAKS = bytes.maketrans(b"\r\n", b"  ")
_SHOWN = 40
"""How much of an unknown word comes back in the error reply."""


class Commands:
    """Answers the commands that ship, and counts all lines of its worker, its own or not."""

    def __init__(self) -> None:
        self._counted = 0
        self._ahead = _NOTHING  # the lines that are counted and not handed out yet
        self._worker: Worker | None = None
        self._started = time.monotonic()
        self._table: dict[bytes, Callable[[bytes], bytes]] = {
            b"PING": self._ping,
            b"ECHO": self._echo,
            b"TIME": self._time,
            b"WORKER": self._who,
            b"STATS": self._stats,
            b"HELP": self._help,
        }

    def start(self, worker: Worker) -> None:
        """Begin to count for `worker`."""
        self._worker = worker
        self._started = time.monotonic()

    def count(self, lines: Iterator[bytes]) -> None:
        """Count lines that are going to be handed out one after the other."""
        self._ahead = lines
        self._counted += lines_left(lines)

    def count_one(self) -> None:
        """Count a line that is handed out."""
        self._counted += 1

    def count_back(self) -> None:
        """Take those that were not handed out off the count again."""
        self._counted -= lines_left(self._ahead)
        self._ahead = _NOTHING

    def answer(self, line: bytes | str) -> bytes | None:
        """Return the reply to `line`; None for QUIT, which ends the connection, and for others."""
        given = line if isinstance(line, bytes) else line.encode()
        word, _, rest = given.partition(b" ")
        command = self._table.get(word) or self._table.get(word.upper())
        return None if command is None else command(rest)

    def unknown(self, word: bytes) -> str:
        """Return what to say of a line that nobody has taken and that begins with `word`."""
        if not word:
            return "empty line; try HELP"
        name = word[:_SHOWN].decode("utf-8", "replace")
        known = [each.decode() for each in (*self._table, QUIT)]
        near = difflib.get_close_matches(name.upper(), known, 1)
        return f'unknown command "{name}"; ' + (f"did you mean {near[0]}?" if near else "try HELP")

    def _ping(self, rest: bytes) -> bytes:
        return b"+%b\r\n" % rest.translate(_BREAKS) if rest else b"+PONG\r\n"

    def _echo(self, rest: bytes) -> bytes:
        return b"+%b\r\n" % rest.translate(_BREAKS)

    def _time(self, _rest: bytes) -> bytes:
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return b"+%b\r\n" % now.encode()

    def _who(self, _rest: bytes) -> bytes:
        worker = self._worker
        assert worker is not None
        return b"+slot %d pid %d\r\n" % (worker.slot, worker.pid)

    def _stats(self, _rest: bytes) -> bytes:
        worker = self._worker
        assert worker is not None
        uptime = int(time.monotonic() - self._started)
        connections = sum(1 for _ in worker.connections)
        text = b"+uptime_seconds %d connections %d lines %d\r\n"
        return text % (uptime, connections, self._counted - lines_left(self._ahead))

    def _help(self, _rest: bytes) -> bytes:
        return b"+PING [text], ECHO text, TIME, WORKER, STATS, HELP, QUIT\r\n"
