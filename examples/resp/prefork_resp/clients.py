"""The commands on the connection itself: PING, HELLO, CLIENT, SELECT, RESET and their like."""

from __future__ import annotations

from collections.abc import Callable

from prefork_resp.replies import (
    OK,
    PONG,
    SYNTAX,
    CommandError,
    array,
    bulk,
    integer,
    mapping,
    push,
    shown_of,
)
from prefork_resp.session import ANY_NUMBER, Command, Session, Table, Words
from prefork_resp.strings import number
from prefork_resp.subcommands import Subcommands

_WRONG_PASSWORD = b"WRONGPASS invalid username-password pair or user is disabled."
_BEYOND_32_BITS = b"ERR value is out of range, value must between -2147483648 and 2147483647"
_NO_PASSWORD = (
    b"ERR AUTH <password> called without any password configured for the default user."
    b" Are you sure your configuration is correct?"
)


class Clients:
    """The commands.

    Args:
        version: the version of this server, in digits and dots.
        forget: ends all subscriptions of a client.
    """

    def __init__(self, version: bytes, forget: Callable[[Session], None]) -> None:
        self._version, self._forget = version, forget

    def table(self) -> Table:
        """Return the commands by their names."""
        client = {
            b"ID": Command(2, 2, lambda session, _: integer(session.number)),
            b"GETNAME": Command(2, 2, self._getname),
            b"SETNAME": Command(3, 3, self._setname),
            b"SETINFO": Command(4, 4, self._setinfo),
        }
        return {
            b"PING": Command(1, 2, self._ping),
            b"ECHO": Command(2, 2, lambda _, words: bulk(words[1])),
            b"HELLO": Command(1, ANY_NUMBER, self._hello),
            b"AUTH": Command(2, ANY_NUMBER, self._auth),
            b"CLIENT": Command(2, ANY_NUMBER, Subcommands(client)),
            b"SELECT": Command(2, 2, self._select),
            b"RESET": Command(1, 1, self._reset),
            b"QUIT": Command(1, ANY_NUMBER, self._quit),
        }

    def _ping(self, session: Session, words: Words) -> bytes:
        if session.only_listens:
            return push([bulk(b"pong"), bulk(words[1] if len(words) > 1 else b"")], 2)
        return PONG if len(words) == 1 else bulk(words[1])

    def _hello(self, session: Session, words: Words) -> bytes:
        version = session.version
        if len(words) > 1:
            try:
                version = number(words[1])
            except CommandError:
                error = b"ERR Protocol version is not an integer or out of range"
                raise CommandError(error) from None
            if version not in (2, 3):
                raise CommandError(b"NOPROTO unsupported protocol version")
        name, rest = session.name, list(words[2:])
        while rest:
            option = rest.pop(0)
            if option.upper() == b"AUTH" and len(rest) > 1:
                _log_in(rest.pop(0), rest.pop(0))
            elif option.upper() == b"SETNAME" and rest:
                name = _client_name(rest.pop(0))
            else:
                raise CommandError(b"ERR Syntax error in HELLO option '%b'" % shown_of(option))
        session.name = name
        session.speak(version)
        return mapping(
            {
                b"server": bulk(b"prefork-resp"),
                b"version": bulk(self._version),
                b"proto": integer(version),
                b"id": integer(session.number),
                b"mode": bulk(b"standalone"),
                b"role": bulk(b"master"),
                b"modules": array([]),
            },
            version,
        )

    def _auth(self, _session: Session, words: Words) -> bytes:
        if len(words) > 3:
            raise CommandError(SYNTAX)
        if len(words) == 2:
            raise CommandError(_NO_PASSWORD)
        _log_in(words[1], words[2])
        return OK

    def _getname(self, session: Session, _words: Words) -> bytes:
        return bulk(session.name) if session.name else session.null

    def _setname(self, session: Session, words: Words) -> bytes:
        session.name = _client_name(words[2])
        return OK

    def _setinfo(self, _session: Session, words: Words) -> bytes:
        """Take what a library says of itself; nothing shows it."""
        if words[2].upper() not in (b"LIB-NAME", b"LIB-VER"):
            raise CommandError(b"ERR Unrecognized option '%b'" % shown_of(words[2]))
        return OK

    def _select(self, _session: Session, words: Words) -> bytes:
        index = number(words[1])
        if not -(2**31) <= index < 2**31:
            raise CommandError(_BEYOND_32_BITS)
        if index:
            raise CommandError(b"ERR DB index is out of range")
        return OK

    def _reset(self, session: Session, _words: Words) -> bytes:
        self._forget(session)
        session.name = b""
        session.speak(2)
        return b"+RESET\r\n"

    def _quit(self, session: Session, _words: Words) -> bytes:
        session.quit()
        return OK


def _log_in(user: bytes, _password: bytes) -> None:
    """Let the default user in, who has no password.

    Raises:
        CommandError: there is no other user.
    """
    if user != b"default":
        raise CommandError(_WRONG_PASSWORD)


def _client_name(name: bytes) -> bytes:
    """Return the name of a client.

    Raises:
        CommandError: it has bytes other than visible ASCII.
    """
    if not all(ord("!") <= byte <= ord("~") for byte in name):
        what = b"Client names cannot contain spaces, newlines or special characters."
        raise CommandError(b"ERR " + what)
    return name
