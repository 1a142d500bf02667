"""The commands of the line protocol that ship: PING, ECHO, TIME, WORKER, STATS, HELP, QUIT."""

from __future__ import annotations

import difflib
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from host import Connection, Worker
from host.plugins.framing import lines_left

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
        self._table: dict[bytes, Callable[[Connection, bytes], None]] = {
            b"PING": self._ping,
            b"ECHO": self._echo,
            b"TIME": self._time,
            b"WORKER": self._who,
            b"STATS": self._stats,
            b"HELP": self._help,
            b"QUIT": self._quit,
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
        """Count a line that has been handed out."""
        self._counted += 1

    def count_back(self) -> None:
        """Take those that were not handed out off the count again."""
        self._counted -= lines_left(self._ahead)
        self._ahead = _NOTHING

    def answer(self, connection: Connection, line: bytes | str) -> bool | None:
        """Answer `line` if it is one of the commands; else return None."""
        given = line if isinstance(line, bytes) else line.encode()
        word, _, rest = given.partition(b" ")
        command = self._table.get(word) or self._table.get(word.upper())
        if command is None:
            return None
        command(connection, rest)
        return True

    def unknown(self, word: bytes) -> str:
        """Return what to say of a line that nobody has taken and that begins with `word`."""
        if not word:
            return "empty line; try HELP"
        name = word[:_SHOWN].decode("utf-8", "replace")
        known = [each.decode() for each in self._table]
        near = difflib.get_close_matches(name.upper(), known, 1)
        return f'unknown command "{name}"; ' + (f"did you mean {near[0]}?" if near else "try HELP")

    def _ping(self, connection: Connection, rest: bytes) -> None:
        connection.write(b"+%b\r\n" % rest.translate(_BREAKS) if rest else b"+PONG\r\n")

    def _echo(self, connection: Connection, rest: bytes) -> None:
        connection.write(b"+%b\r\n" % rest.translate(_BREAKS))

    def _time(self, connection: Connection, _rest: bytes) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        connection.write(b"+%b\r\n" % now.encode())

    def _who(self, connection: Connection, _rest: bytes) -> None:
        worker = connection.worker
        connection.write(b"+slot %d pid %d\r\n" % (worker.slot, worker.pid))

    def _stats(self, connection: Connection, _rest: bytes) -> None:
        uptime = int(time.monotonic() - self._started)
        connections = sum(1 for _ in connection.worker.connections)
        text = b"+uptime_seconds %d connections %d lines %d\r\n"
        connection.write(text % (uptime, connections, self._counted - lines_left(self._ahead)))

    def _help(self, connection: Connection, _rest: bytes) -> None:
        connection.write(b"+PING [text], ECHO text, TIME, WORKER, STATS, HELP, QUIT\r\n")

    def _quit(self, connection: Connection, _rest: bytes) -> None:
        connection.write(b"+bye\r\n")
        connection.close()
