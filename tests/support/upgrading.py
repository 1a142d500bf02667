"""A protocol that does with a connection what a line of it says, to begin TLS in the middle.

A line is a list of actions such as `write:go tls:mail close`, which one handler carries out.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from host import Connection, hookimpl


class Upgrading:
    """What follows a line in the same read is the beginning of the handshake."""

    @hookimpl
    def on_readable(self, connection: Connection) -> None:
        line, end, rest = ((connection.data or b"") + connection.read()).partition(b"\n")
        if not end:
            connection.data = line
            return
        connection.data = b""
        for action in line.decode().split():
            self._do(connection, action, rest)

    @hookimpl
    def on_tls(self, connection: Connection) -> None:
        tls = connection.origin.tls
        connection.write(f"{tls.version if tls else None}\n".encode())

    @hookimpl
    def on_drain(self, connection: Connection) -> None:
        connection.write(b"goodbye\n")
        connection.close()
        print("drained")

    def _do(self, connection: Connection, action: str, rest: bytes) -> None:
        kind, _, what = action.partition(":")
        if kind in DONE:
            DONE[kind](connection, what)
        elif kind == "tls":
            connection.start_tls(what, unread=rest)
        elif kind == "read":
            connection.write(b"read %d\n" % len(connection.read()))
        elif kind == "file":
            with Path(__file__).open("rb") as file:
                connection.send_file(file, 0, int(what))
        else:
            PUT_OFF[kind](connection, lambda each: self._do(each, what, rest))


DONE: dict[str, Callable[[Connection, str], object]] = {
    "write": lambda connection, what: connection.write(what.encode()),
    "much": lambda connection, what: connection.write(bytes(int(what))),
    "expire": lambda connection, what: connection.expire(float(what)),
    "flush": lambda connection, _: connection.flush(),
    "pause": lambda connection, _: connection.pause_reading(),
    "resume": lambda connection, _: connection.resume_reading(),
    "close": lambda connection, _: connection.close(),
    "abort": lambda connection, _: connection.abort(),
}
PUT_OFF: dict[str, Callable[[Connection, Callable[[Connection], object]], object]] = {
    "later": lambda connection, function: connection.call_later(0.01, function),
    "next": lambda connection, function: connection.call_next_turn(function),
    "writable": lambda connection, function: connection.call_when_writable(function),
}
"""What carries out the action that follows, as in `later:close`."""
