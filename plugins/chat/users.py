"""A user of the chat, as the worker that serves it knows it."""

from __future__ import annotations

from enum import Enum

from host import Connection, Timer
from host.plugins.chat.options import Options
from host.plugins.chat.telnet import Telnet
from host.plugins.framing import LineFramer


class Wait(Enum):
    """What a user waits for; further lines wait with it, so that they are taken in order.

    The value is what the user is told if it does not come.
    """

    ARRIVAL = "your nick"
    GUEST = "a nick for you, since yours belongs to somebody else"
    CLAIM = "the nick that you want"
    NICK = "your new nick"
    JOIN = "the room"
    LEAVE = "the room that you leave"


class Bucket:
    """A token bucket: `rate` a second, and up to `burst` at once.

    Args:
        rate: tokens a second.
        burst: how many it holds; it begins full.
        now: the present, in seconds of any clock that does not go back.
    """

    __slots__ = ("_at", "_burst", "_rate", "_tokens")

    def __init__(self, rate: float, burst: int, now: float) -> None:
        self._rate, self._burst = rate, burst
        self._tokens, self._at = float(burst), now

    def take(self, now: float) -> bool:
        """Take a token; tell whether there was one."""
        tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if tokens < 1.0:
            self._tokens = tokens
            return False
        self._tokens = tokens - 1.0
        return True


class User:
    """One connection and what the chat keeps of it.

    Attributes:
        uid: its number among the users of this worker.
        nick: the nick that it owns; empty until it has its first.
        rooms: the rooms that it is in, in the order in which it came.
        current: the room that plain text goes to; empty for none.
        asking: the room that it is about to enter; empty for none.
        wait: what it waits for, or None.
        timer: ends the wait if nothing comes.
        gone: whether it has been taken out: nothing that still comes for it counts.
        warned_at: when it was last told that it sends too fast.
    """

    __slots__ = (
        "asking",
        "bucket",
        "connection",
        "current",
        "framer",
        "gone",
        "nick",
        "rooms",
        "telnet",
        "timer",
        "uid",
        "wait",
        "warned_at",
    )

    def __init__(self, connection: Connection, uid: int, options: Options, now: float) -> None:
        self.connection, self.uid = connection, uid
        self.telnet = Telnet()
        self.framer = LineFramer(options.max_line_bytes)
        self.bucket = Bucket(options.messages_per_second, options.burst, now)
        self.warned_at = now - 1.0
        self.nick = self.current = self.asking = ""
        self.rooms: list[str] = []
        self.wait: Wait | None = None
        self.timer: Timer | None = None
        self.gone = False

    def tell(self, text: str) -> None:
        """Send a line of the server's own."""
        self.connection.write(f"-- {text}\r\n".encode())

    def refuse(self, text: str) -> None:
        """Send a line that says why something was not done."""
        self.connection.write(f"!! {text}\r\n".encode())

    def leave(self, room: str) -> None:
        """Take it out of a room; plain text then goes to the room that it joined last."""
        if room in self.rooms:
            self.rooms.remove(room)
        if self.current == room:
            self.current = self.rooms[-1] if self.rooms else ""
