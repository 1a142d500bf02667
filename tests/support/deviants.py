"""Protocols that do one thing wrong each; what is right is: each line comes back in capitals."""

from __future__ import annotations

from host import Connection, hookimpl
from host.plugins.framing import FrameTooLongError, LineFramer


class Right:
    """Does everything right."""

    @hookimpl
    def on_accept(self, connection: Connection) -> None:
        connection.data = LineFramer(1000)

    @hookimpl
    def on_readable(self, connection: Connection) -> None:
        self.answer(connection, connection.read())

    def answer(self, connection: Connection, data: bytes = b"") -> None:
        try:
            for line in connection.data.feed(data):
                self.reply(connection, line)
                if connection.congested and not connection.closed:
                    connection.call_when_writable(self.answer)
                    return
                if connection.closed:
                    return
        except FrameTooLongError:
            connection.close()

    def reply(self, connection: Connection, line: bytes) -> None:
        if line == b"bye":
            connection.close()
        else:
            connection.write(line.upper() + b"\n")


class Splits(Right):
    """Takes what one read gives for a line."""

    @hookimpl
    def on_readable(self, connection: Connection) -> None:
        data = connection.read()
        if data:
            self.reply(connection, data.rstrip(b"\n"))


class OneAtATime(Right):
    """Answers the first line of a read and forgets the others."""

    def answer(self, connection: Connection, data: bytes = b"") -> None:
        for line in connection.data.feed(data):
            self.reply(connection, line)
            connection.data.take()
            return


class Hoards(Right):
    """Keeps a line without a limit."""

    @hookimpl
    def on_accept(self, connection: Connection) -> None:
        connection.data = LineFramer(1 << 30)


class Floods(Right):
    """Goes on writing to a peer that does not read."""

    def answer(self, connection: Connection, data: bytes = b"") -> None:
        try:
            for line in connection.data.feed(data):
                self.reply(connection, line)
        except FrameTooLongError:
            connection.close()

    def reply(self, connection: Connection, line: bytes) -> None:
        super().reply(connection, line * 500 if line == b"x" else line)


class Trusts(Right):
    """Believes that clients send ASCII."""

    def reply(self, connection: Connection, line: bytes) -> None:
        super().reply(connection, line.decode("ascii").encode())


class Forgets(Right):
    """Raises when a connection ends in the middle of a line."""

    @hookimpl
    def on_close(self, connection: Connection) -> None:
        if connection.data.waiting:
            raise ValueError("the line is not finished")


class Stays(Right):
    """Does not close when it should."""

    def reply(self, connection: Connection, line: bytes) -> None:
        if line != b"bye":
            super().reply(connection, line)


class Lingers(Right):
    """Keeps a connection whose peer has finished sending."""

    @hookimpl
    def on_accept(self, connection: Connection) -> None:
        super().on_accept(connection)
        connection.allow_half_open = True


class StaysSilent(Right):
    """Answers nothing after the farewell, and does not close."""

    @hookimpl
    def on_accept(self, connection: Connection) -> None:
        super().on_accept(connection)
        self.silent = False

    def reply(self, connection: Connection, line: bytes) -> None:
        self.silent = self.silent or line == b"bye"
        if not self.silent:
            super().reply(connection, line)


class Aborts(Right):
    """Resets the connection instead of closing it."""

    def reply(self, connection: Connection, line: bytes) -> None:
        if line == b"bye":
            connection.abort()
        else:
            super().reply(connection, line)


class SaysMore(Right):
    """Says more at the farewell than it should."""

    def reply(self, connection: Connection, line: bytes) -> None:
        if line == b"bye":
            connection.write(b"so long\n")
        super().reply(connection, line)


class Stalls(Right):
    """Stops when a peer does not read, and does not go on when it does."""

    def answer(self, connection: Connection, data: bytes = b"") -> None:
        try:
            for line in connection.data.feed(data):
                self.reply(connection, line)
                if connection.congested:
                    return
        except FrameTooLongError:
            connection.close()


class HangsUp(Right):
    """Closes when a peer does not read."""

    def reply(self, connection: Connection, line: bytes) -> None:
        super().reply(connection, line)
        if connection.congested:
            connection.close()


class Hides(Right):
    """Keeps the replies itself, and writes a part of them every now and then."""

    @hookimpl
    def on_accept(self, connection: Connection) -> None:
        super().on_accept(connection)
        self.hidden = bytearray()

    def reply(self, connection: Connection, line: bytes) -> None:
        if line == b"bye":
            connection.close()
        elif connection.unsent > 10_000:
            self.hidden += line.upper() + b"\n"
        else:
            super().reply(connection, line)
