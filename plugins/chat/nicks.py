"""The nicks of one worker's users: each is a key on the bus that has one owner."""

from __future__ import annotations

import random
from collections.abc import Callable

from host import BUS_TAKEN, Bus, Message
from host.plugins.chat.names import key_of
from host.plugins.chat.users import User

_GUESTS = 10_000
_TRIES = 8


def _key(nick: str) -> str:
    """Return the key on the bus whose owner has this nick."""
    return f"chat.nick.{key_of(nick)}"


class Nicks:
    """Claims nicks for users, and hears of those that belong to somebody else by now.

    That happens when this host was cut off from the others for so long that they took it for dead.

    Args:
        bus: what has the keys.
        on_taken: called with a user that does not own its nick any more.
    """

    def __init__(self, bus: Bus, on_taken: Callable[[User], object]) -> None:
        self._bus, self._on_taken = bus, on_taken
        self._owners: dict[str, User] = {}

    def start(self) -> None:
        """Begin to hear of nicks that are taken."""
        self._bus.subscribe(BUS_TAKEN, self._taken)

    def claim(self, nick: str, done: Callable[[bool], object]) -> None:
        """Ask for a nick; `done` is told whether it can be given to a user, or has to be let go."""
        self._bus.claim(_key(nick), done)

    def claim_guest(
        self, is_wanted: Callable[[], bool], done: Callable[[str], object], tries: int = _TRIES
    ) -> None:
        """Ask for a nick that nobody has chosen.

        Args:
            is_wanted: tells whether it is still wanted; else `done` is not called.
            done: called with the nick, or with "" if none could be had.
            tries: how often it is tried.
        """
        if not is_wanted():
            return
        if not tries:
            done("")
            return
        nick = f"guest{random.randrange(1, _GUESTS << (_TRIES - tries))}"

        def claimed(owned: bool) -> None:
            if not owned:
                self.claim_guest(is_wanted, done, tries - 1)
            elif is_wanted():
                done(nick)
            else:
                self.let_go(nick)

        self.claim(nick, claimed)

    def give(self, user: User, nick: str) -> None:
        """Give a user a nick that was claimed, and let go the one that it had."""
        if user.nick:
            self.take_back(user)
        user.nick = nick
        self._owners[_key(nick)] = user

    def take_back(self, user: User) -> None:
        """Let the nick of a user go, if it still owns it."""
        key = _key(user.nick)
        if self._owners.get(key) is user:
            del self._owners[key]
            self._bus.release(key)

    def let_go(self, nick: str) -> None:
        """Let a nick go that was claimed and is not given to anybody."""
        self._bus.release(_key(nick))

    def is_owned(self, user: User) -> bool:
        """Tell whether a user owns its nick, as far as is known."""
        return self._owners.get(_key(user.nick)) is user

    def _taken(self, message: Message) -> None:
        user = self._owners.pop(message.payload.decode(), None)
        if user is not None:
            self._on_taken(user)
