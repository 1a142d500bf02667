"""The commands of the line protocol that ship: PING, ECHO, TIME, WORKER, STATS, HELP, QUIT.

To arrays, which Redis clients send, PING and ECHO reply with the bytes that came. HELLO, CLIENT and
COMMAND are answered as far as such clients send them by themselves when they connect.
"""

from __future__ import annotations

import difflib
import functools
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

from host import Worker
from host.plugins.framing import lines_left
from host.plugins.line.arrays import Words

QUIT = b"QUIT"
_NOTHING: Iterator[bytes] = iter(())
_BREAKS = bytes.maketrans(b"\r\n", b"  ")
_SHOWN = 40
"""How much of an unknown word comes back in the error reply."""


class Commands:
    """Answers the commands that ship, and counts all lines of its worker, its own or not.

    Attributes:
        counted: how many there were; who hands out a line by itself raises it.
    """

    def __init__(self) -> None:
        self.counted = 0
        self._ahead = _NOTHING  # the lines that are counted and not handed out yet
        self._worker: Worker | None = None
        self._started = time.monotonic()
        self._table: dict[bytes, Callable[[bytes, Words | None], bytes]] = {
            b"PING": self._ping,
            b"ECHO": self._echo,
            b"TIME": self._time,
            b"WORKER": self._who,
            b"STATS": self._stats,
            b"HELP": self._help,
            b"HELLO": self._hello,
            b"CLIENT": self._client,
            b"COMMAND": self._command,
        }

    def start(self, worker: Worker) -> None:
        """Begin to count for `worker`."""
        self._worker = worker
        self._started = time.monotonic()

    def count(self, lines: Iterator[bytes]) -> None:
        """Count lines that are going to be handed out one after the other."""
        self._ahead = lines
        self.counted += lines_left(lines)

    def count_back(self) -> None:
        """Take those that were not handed out off the count again."""
        self.counted -= lines_left(self._ahead)
        self._ahead = _NOTHING

    def answer(self, line: bytes | str, words: Words | None) -> bytes | None:
        """Return the reply to `line`; None for QUIT, which ends the connection, and for others."""
        given = line if isinstance(line, bytes) else line.encode()
        word, _, rest = given.partition(b" ")
        command = self._table.get(word) or self._table.get(word.upper())
        return None if command is None else command(rest, words)

    def unknown(self, word: bytes) -> str:
        """Return what to say of a line that nobody has taken and that begins with `word`."""
        if not word:
            return "empty line; try HELP"
        name = word[:_SHOWN].decode("utf-8", "replace")
        known = [each.decode() for each in (*self._table, QUIT)]
        near = difflib.get_close_matches(name.upper(), known, 1)
        return f'unknown command "{name}"; ' + (f"did you mean {near[0]}?" if near else "try HELP")

    def _ping(self, rest: bytes, words: Words | None) -> bytes:
        if words is not None and len(words) > 1:
            return _same(words)
        return b"+%b\r\n" % rest.translate(_BREAKS) if rest else b"+PONG\r\n"

    def _echo(self, rest: bytes, words: Words | None) -> bytes:
        return b"+%b\r\n" % rest.translate(_BREAKS) if words is None else _same(words)

    def _time(self, _rest: bytes, _words: Words | None) -> bytes:
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return b"+%b\r\n" % now.encode()

    def _who(self, _rest: bytes, _words: Words | None) -> bytes:
        worker = self._worker
        assert worker is not None
        return b"+slot %d pid %d\r\n" % (worker.slot, worker.pid)

    def _stats(self, _rest: bytes, _words: Words | None) -> bytes:
        worker = self._worker
        assert worker is not None
        uptime = int(time.monotonic() - self._started)
        connections = sum(1 for _ in worker.connections)
        text = b"+uptime_seconds %d connections %d lines %d\r\n"
        return text % (uptime, connections, self.counted - lines_left(self._ahead))

    def _help(self, _rest: bytes, _words: Words | None) -> bytes:
        return b"+PING [text], ECHO text, TIME, WORKER, STATS, HELP, QUIT\r\n"

    def _hello(self, rest: bytes, _words: Words | None) -> bytes:
        """Say what this is, in version 2 or 3 of the protocol (HELLO in the reference of Redis)."""
        proto = rest.partition(b" ")[0] or b"2"
        if proto not in (b"2", b"3"):
            return b"-NOPROTO unsupported protocol version\r\n"
        said = [b"server", b"prefork", b"version", _version()]
        parts = [_bulk(each) for each in (*said, b"mode", b"standalone", b"role", b"master")]
        parts += [_bulk(b"proto"), b":%b\r\n" % proto, _bulk(b"id"), b":1\r\n"]
        parts += [_bulk(b"modules"), b"*0\r\n"]
        size = b"%%%d\r\n" % (len(parts) // 2) if proto == b"3" else b"*%d\r\n" % len(parts)
        return size + b"".join(parts)

    def _client(self, rest: bytes, _words: Words | None) -> bytes:
        """Take what clients say of themselves when they connect."""
        what = rest.partition(b" ")[0].upper()
        if what in (b"SETINFO", b"SETNAME"):
            return b"+OK\r\n"
        return b"-ERR CLIENT takes SETINFO and SETNAME here\r\n"

    def _command(self, _rest: bytes, _words: Words | None) -> bytes:
        """Tell redis-cli, which asks for help texts, that there are none."""
        return b"*0\r\n"


@functools.cache
def _version() -> bytes:
    """Return the version that is installed."""
    try:
        return version("prefork").encode()
    except PackageNotFoundError:
        return b"unknown"


def _bulk(word: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(word), word)


def _same(words: Words) -> bytes:
    """Reply with the one argument of a command, as it came."""
    if len(words) != 2:
        name = words[0].decode("ascii", "replace").lower()
        return f"-ERR wrong number of arguments for '{name}' command\r\n".encode()
    return _bulk(words[1])
