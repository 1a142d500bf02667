"""Plugins that answer lines, for tests of the line protocol."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from host import Connection, hookimpl
from host.plugins.framing import LineFramer
from host.plugins.line import session


class Keep:
    """Takes every line and keeps it."""

    def __init__(self) -> None:
        self.lines: list[bytes | str] = []

    @hookimpl
    def on_line(self, line: bytes | str) -> bool:
        self.lines.append(line)
        return True


class KeepWords:
    """Keeps what it is given, also the words of arrays."""

    def __init__(self) -> None:
        self.given: list[tuple[bytes, tuple[bytes, ...] | None]] = []

    @hookimpl
    def on_line(self, line: bytes, words: Sequence[bytes] | None) -> bool:
        self.given.append((line, None if words is None else tuple(words)))
        return True


class Turns:
    """Takes every line and keeps it, and calls `at_first` once. BLOCK n: takes n bytes, too.

    `at_each` is called with how many lines have come, and again with each block.
    """

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.at_first: Callable[[], object] = list
        self.at_each: Callable[[int], object] = abs

    @hookimpl
    def on_line(self, connection: Connection, line: bytes) -> bool:
        self.lines.append(line)
        if len(self.lines) == 1:
            self.at_first()
        self.at_each(len(self.lines))
        word, _, count = line.partition(b" ")
        if word == b"BLOCK":
            session(connection).block(int(count), lambda *_: self.at_each(len(self.lines)))
        return True


class Returns:
    """Takes every line and keeps it, and does not take the connection; `at_each` as above."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.at_each: Callable[[int], object] = abs

    @hookimpl
    def on_line(self, line: bytes) -> bytes:
        self.lines.append(line)
        self.at_each(len(self.lines))
        return b"+\r\n"


class Shy:
    """Takes one line and leaves the others."""

    @hookimpl
    def on_line(self, connection: Connection, line: bytes) -> bool | None:
        if line == b"PING":
            connection.write(b"+shy\r\n")
            return True
        return None


class Fails:
    """Raises."""

    @hookimpl
    def on_line(self) -> bool:
        raise RuntimeError("no")


class Capitals:
    """Returns its replies, and needs nothing but the line for that. `NO` is left to others."""

    @hookimpl
    def on_line(self, line: bytes) -> bytes | bytearray | bool | None:
        match line:
            case b"NO":
                return None
            case b"HUSH":
                return True
            case b"ARRAY":
                return bytearray(b"bytes in an array\r\n")
            case b"FAIL":
                raise RuntimeError("no")
        return line.upper() + b"\r\n"


class Mixed:
    """Returns some replies, writes others, and closes."""

    @hookimpl
    def on_line(self, connection: Connection, line: bytes) -> bytes | bool | None:
        match line:
            case b"NO":
                return None
            case b"WRITE":
                connection.write(b"WRITTEN\r\n")
                return True
            case b"BOTH":
                connection.write(b"WRITTEN, ")
                return b"RETURNED\r\n"
            case b"BLOCK":
                session(connection).block(2, lambda each, block: each.write(block + b"\r\n"))
                return b"GO ON\r\n"
            case b"CLOSE":
                connection.write(b"BYE\r\n")
                connection.close()
                return True
        return b"RETURNED\r\n"


class Words:
    """Returns what is no reply."""

    @hookimpl
    def on_line(self, line: bytes) -> str:
        return line.decode()


class Frames:
    """Has a framer of its own, for which what it is given is too long."""

    @hookimpl
    def on_line(self, line: bytes) -> bool:
        return not list(LineFramer(len(line) - 1).feed(line))


class Raw:
    """Switches to raw bytes.

    BLOCK n: a block of n bytes comes back in brackets. TWICE n: and then another one. PIECES n: n
    bytes come back in capitals, as they come. DOT: bytes up to a dot come back, piece by piece.
    """

    @hookimpl
    def on_line(self, connection: Connection, line: bytes) -> bool | None:
        word, _, rest = line.partition(b" ")
        current = session(connection)
        if word in (b"BLOCK", b"TWICE", b"PIECES") and not (rest.isdigit() and int(rest) > 0):
            return None
        if word == b"BLOCK":
            current.block(int(rest), self._block)
        elif word == b"TWICE":
            current.block(int(rest), self._first)
        elif word == b"PIECES":
            current.raw(lambda connection, data: connection.write(data.upper()), int(rest))
        elif word == b"DOT":
            current.raw(self._until_dot)
        else:
            return None
        return True

    def _block(self, connection: Connection, block: bytes) -> None:
        connection.write(b"[" + block + b"]")

    def _first(self, connection: Connection, block: bytes) -> None:
        self._block(connection, block)
        session(connection).block(len(block), self._block)

    def _until_dot(self, connection: Connection, data: bytes) -> None:
        mine, dot, rest = data.partition(b".")
        connection.write(mine)
        if dot:
            connection.write(b"<end>")
            session(connection).lines(rest)
