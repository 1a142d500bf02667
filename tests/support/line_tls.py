"""Answers lines, and has the line protocol begin TLS in the middle, as its page says."""

from __future__ import annotations

from host import Connection, hookimpl
from host.plugins.line import session


def begin(connection: Connection, data: bytes) -> None:
    session(connection).lines()
    connection.start_tls("mail", unread=data)


@hookimpl
def on_line(connection: Connection, line: bytes) -> bytes | None:
    match line:
        case b"STARTTLS" if connection.origin.tls is None:
            session(connection).raw(begin)
            return b"220 go ahead\r\n"
        case b"NOOP":
            return f"250 {connection.origin.tls and connection.origin.tls.version}\r\n".encode()
        case _:
            return None
