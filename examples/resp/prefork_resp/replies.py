r"""Replies in RESP2 and RESP3 (the protocol specification of Redis), and errors in its words.

`+OK\r\n` is a simple string, `:1\r\n` a number, `$2\r\nhi\r\n` bytes, `*1\r\n` begins an array.
RESP3 has more: `%1\r\n` begins a map, `>1\r\n` what is no reply, and `_\r\n` is nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

OK = b"+OK\r\n"
PONG = b"+PONG\r\n"
NULLS = {2: b"$-1\r\n", 3: b"_\r\n"}
"""What stands for nothing, by the version of the protocol."""
_SHOWN_BYTES = 128
"""How much of an unknown command, and of its arguments, comes back in the error."""
_BREAKS = bytes.maketrans(b"\r\n", b"  ")


class CommandError(Exception):
    """A command was refused.

    Args:
        text: the error as clients know it: a code such as `ERR`, then a sentence.

    Attributes:
        reply: the whole reply.
    """

    def __init__(self, text: bytes) -> None:
        super().__init__(text)
        self.reply = error(text)


def error(text: bytes) -> bytes:
    """Return an error; an end of line in `text` becomes a space."""
    return b"-%b\r\n" % text.translate(_BREAKS)


def integer(number: int) -> bytes:
    """Return a number."""
    return b":%d\r\n" % number


def bulk(value: bytes) -> bytes:
    """Return bytes of any kind."""
    return b"$%d\r\n%b\r\n" % (len(value), value)


def array(parts: Sequence[bytes]) -> bytes:
    """Return an array of replies."""
    return b"*%d\r\n%b" % (len(parts), b"".join(parts))


def mapping(pairs: Mapping[bytes, bytes], version: int) -> bytes:
    """Return a map of names to replies; in RESP2 it is an array of both in turn."""
    parts = b"".join(bulk(name) + reply for name, reply in pairs.items())
    return (b"%%%d\r\n%b" if version == 3 else b"*%d\r\n%b") % (
        len(pairs) * (1 if version == 3 else 2),
        parts,
    )


def push(parts: Sequence[bytes], version: int) -> bytes:
    """Return what comes without being asked for; in RESP2 it is an array like others."""
    return (b">%d\r\n%b" if version == 3 else b"*%d\r\n%b") % (len(parts), b"".join(parts))


def text(lines: bytes, version: int) -> bytes:
    """Return text for people to read."""
    return bulk(lines) if version == 2 else b"=%d\r\ntxt:%b\r\n" % (len(lines) + 4, lines)


WRONG_TYPE = b"WRONGTYPE Operation against a key holding the wrong kind of value"
NOT_AN_INTEGER = b"ERR value is not an integer or out of range"
SYNTAX = b"ERR syntax error"
OUT_OF_MEMORY = b"OOM command not allowed when used memory > 'maxmemory'."


def wrong_number(command: bytes) -> bytes:
    """Return the error for too few or too many arguments."""
    return error(b"ERR wrong number of arguments for '%b' command" % command)


def unknown(words: Sequence[bytes]) -> bytes:
    """Return the error for a command that is none."""
    shown = b""
    for word in words[1:]:
        if len(shown) >= _SHOWN_BYTES:
            break
        shown += b"'%b' " % shown_of(word)[: _SHOWN_BYTES - len(shown)]
    name = shown_of(words[0])[:_SHOWN_BYTES]
    return error(b"ERR unknown command '%b', with args beginning with: %b" % (name, shown))


def unknown_subcommand(words: Sequence[bytes]) -> bytes:
    """Return the error for a second word that the first does not have."""
    shown = shown_of(words[1])[:_SHOWN_BYTES]
    return error(b"ERR unknown subcommand '%b'. Try %b HELP." % (shown, words[0].upper()))


def shown_of(word: bytes) -> bytes:
    """Return what errors show of a word: not what follows a zero byte."""
    return word.partition(b"\0")[0]
