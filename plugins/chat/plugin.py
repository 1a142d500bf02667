"""A chat for telnet and netcat: rooms and nicks that are the same in all workers."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import count

from host import CloseReason, Connection, Host, Worker, hookimpl
from host.plugins.chat.commands import ChatCommands
from host.plugins.chat.membership import Membership
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

    A message is written to all who hear it without asking whether they read. Each time that a
    quarter of `max_unsent_bytes` has been sent, users with more than that limit unsent are closed:
    nobody waits for a slow reader, and none holds much memory.
    """

    def __init__(self, options: Options, clock: Callable[[], float] = time.monotonic) -> None:
        self._options, self._clock = options, clock
        self._numbers = count(1)
        self._look_after = options.max_unsent_bytes // 4
        self._sent = 0
        self._membership: Membership
        self._commands: ChatCommands

    @hookimpl
    def on_host_start(self, host: Host) -> None:
        """Declare what is counted."""
        metrics = host.metrics
        self._users = metrics.gauge("users", "Users that are connected.")
        self._messages = metrics.counter(
            "messages", "Messages of users that were sent on.", {"to": ("room", "user")}
        )
        self._refused = metrics.counter(
            "refused", "Lines that were not carried out.", {"cause": ("too_fast", "too_long")}
        )
        self._closed = metrics.counter("slow_readers", "Users closed since they did not read.")

    @hookimpl
    def on_worker_start(self, worker: Worker) -> None:
        """Begin to hear the other workers."""
        self._membership = Membership(worker, self._options, self._on_sent, self._go_on)
        self._commands = ChatCommands(
            worker, self._options, self._membership, self._on_sent, self._messages
        )
        self._membership.start()
        self._commands.start()

    @hookimpl
    def on_accept(self, connection: Connection) -> None:
        """Welcome a user."""
        user = User(connection, next(self._numbers), self._options, self._clock())
        connection.data = user
        self._users.add(1)
        user.tell(self._options.welcome)
        user.tell(
            "/join #lobby to enter a room and talk there, /rooms to see others, /help for more"
        )
        self._membership.arrive(user)

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
        self._membership.quit(user, "server going down")
        connection.close()

    @hookimpl
    def on_close(self, connection: Connection, reason: CloseReason) -> None:
        """Take the user of a closed connection out of its rooms and give its nick back."""
        user: User | None = connection.data
        connection.data = None  # it has the connection: both are freed without the collector
        if user is not None:
            self._users.add(-1)
            self._membership.quit(user, _WORDS.get(reason, reason.value))

    def _go_on(self, user: User) -> None:
        """Carry out the lines that wait, until the user has to wait or to read what it is sent."""
        connection = user.connection
        while user.wait is None and not connection.closed:
            if connection.congested:
                connection.call_when_writable(lambda _: self._go_on(user))
                return
            try:
                line = next(user.framer.cut(), None)
            except FrameTooLongError as too_long:
                self._refused.add(1, "too_long")
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
            self._commands.do(user, text)
            return
        self._refused.add(1, "too_fast")
        if now - user.warned_at >= _WARNING_SECONDS:
            user.warned_at = now
            rate = self._options.messages_per_second
            lines = "line" if rate == 1 else "lines"
            user.refuse(f"too fast: {rate:g} {lines} a second; what comes faster is not sent")

    def _on_sent(self, size: int) -> None:
        self._sent += size
        if self._sent >= self._look_after:
            self._sent = 0
            limit = self._options.max_unsent_bytes
            for user in tuple(self._membership.users.values()):
                connection = user.connection
                if connection.unsent > limit:
                    connection.flush()  # what was written in this turn has not been offered yet
                    if connection.unsent > limit:
                        self._closed.add()
                        user.refuse("you do not read what you are sent: goodbye")
                        self._membership.quit(user, "does not read")
                        connection.close()
