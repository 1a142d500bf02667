"""A chat for telnet and netcat: rooms and nicks that are the same in all workers."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import count

from host import CloseReason, Connection, Worker, hookimpl
from host.plugins.chat.commands import Verbs
from host.plugins.chat.membership import Desk
from host.plugins.chat.options import Options
from host.plugins.chat.users import User
from host.plugins.encoding import harmless
from host.plugins.framing import FrameTooLongError

_WARNING_SECONDS = 1.0
"""How often someone who sends too fast is told so."""
_WORDS = {
    CloseReason.PEER_FINISHED: "connection closed",
    CloseReason.RESET: "connection reset",
    CloseReason.UNSENT_LIMIT: "does not read",
    CloseReason.WRITE_TIMEOUT: "does not read",
}


class Chat:
    """The protocol plugin.

    What others say is written to everyone without a look at each; after every so many bytes all
    are looked at, and whoever has too much unsent goes. So nobody waits for a slow reader.
    """

    def __init__(self, options: Options, clock: Callable[[], float] = time.monotonic) -> None:
        self._options, self._clock = options, clock
        self._numbers = count(1)
        self._look_after = options.max_unsent_bytes // 4
        self._sent = 0
        self._desk: Desk
        self._verbs: Verbs

    @hookimpl
    def on_worker_start(self, worker: Worker) -> None:
        """Meet the other workers."""
        self._desk = Desk(worker, self._options, self._on_sent, self._go_on)
        self._verbs = Verbs(worker, self._options, self._desk, self._on_sent)
        self._desk.presence.start()
        self._verbs.start()

    @hookimpl
    def on_accept(self, connection: Connection) -> None:
        """Welcome a user."""
        user = User(connection, next(self._numbers), self._options, self._clock())
        connection.data = user
        user.tell(self._options.welcome)
        user.tell(
            "/join #lobby to enter a room and talk there, /rooms to see others, /help for more"
        )
        self._desk.arrive(user)

    @hookimpl
    def on_readable(self, connection: Connection) -> None:
        """Take in what a user sends."""
        user: User = connection.data
        text, reply = user.telnet.feed(connection.read())
        if reply:
            connection.write(reply)
        user.framer.feed(text)
        self._go_on(user)

    @hookimpl
    def on_drain(self, connection: Connection) -> None:
        """Say goodbye."""
        user: User = connection.data
        user.tell(self._options.goodbye)
        self._desk.quit(user, "server going down")
        connection.close()

    @hookimpl
    def on_close(self, connection: Connection, reason: CloseReason) -> None:
        """Take a user out of everything."""
        user: User | None = connection.data
        if user is not None:
            self._desk.quit(user, _WORDS.get(reason, reason.value))

    def _go_on(self, user: User) -> None:
        """Do what the lines say that wait, as long as nothing takes time or has to be read."""
        connection = user.connection
        while user.wait is None and not connection.closed:
            if connection.congested:
                connection.call_when_writable(lambda _: self._go_on(user))
                return
            try:
                line = next(user.framer.cut(), None)
            except FrameTooLongError as too_long:
                user.refuse(f"a line has {too_long.limit} bytes at most: that was not sent")
                continue
            if line is None:
                return
            self._take(user, line)

    def _take(self, user: User, line: bytes) -> None:
        text = harmless(line.decode("utf-8", "replace")).rstrip()
        if not text.lstrip():
            return
        now = self._clock()
        if user.bucket.take(now):
            self._verbs.do(user, text)
        elif now - user.warned_at >= _WARNING_SECONDS:
            user.warned_at = now
            rate = self._options.messages_per_second
            user.refuse(f"too fast: {rate:g} lines a second; what comes faster is not sent")

    def _on_sent(self, size: int) -> None:
        self._sent += size
        if self._sent >= self._look_after:
            self._sent = 0
            limit = self._options.max_unsent_bytes
            for user in tuple(self._desk.users.values()):
                connection = user.connection
                if connection.unsent > limit:
                    connection.flush()  # what was written in this turn has not been offered yet
                    if connection.unsent > limit:
                        user.refuse("you do not read what you are sent: goodbye")
                        self._desk.quit(user, "does not read")
                        connection.close()
