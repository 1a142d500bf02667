"""A mail server that keeps nothing: as much of SMTP as clients need to begin TLS (RFC 3207)."""

from __future__ import annotations

from pydantic import BaseModel

from host import Connection, hookimpl


class Options(BaseModel):
    tls: str = "mail"


class Mail:
    """Answers commands; `connection.data` is what has come of the next one."""

    def __init__(self, options: Options) -> None:
        self._tls = options.tls

    @hookimpl
    def on_accept(self, connection: Connection) -> None:
        connection.data = b""
        connection.write(b"220 mail.example ESMTP\r\n")

    @hookimpl
    def on_readable(self, connection: Connection) -> None:
        connection.data += connection.read()
        while b"\r\n" in connection.data and not connection.closed:
            line, _, connection.data = connection.data.partition(b"\r\n")
            word, _, rest = line.upper().partition(b" ")
            if word == b"STARTTLS" and connection.origin.tls is None:
                connection.write(b"220 go ahead\r\n")
                connection.start_tls(self._tls, unread=connection.data)
                return
            connection.write(self._answer(connection, word, rest))
            if word == b"QUIT":
                connection.close()

    @hookimpl
    def on_tls(self, connection: Connection) -> None:
        connection.data = b""

    def _answer(self, connection: Connection, word: bytes, rest: bytes) -> bytes:
        tls = connection.origin.tls
        match word:
            case b"EHLO" if tls is None:
                return b"250-mail.example\r\n250 STARTTLS\r\n"
            case b"EHLO":
                return b"250 mail.example\r\n"
            case b"NOOP":
                return f"250 {tls.version if tls else 'plain'}\r\n".encode()
            case b"QUIT":
                return b"221 bye\r\n"
            case _:
                return b"502 not here\r\n"
