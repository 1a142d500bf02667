"""Replies, in the words of memcached's own: clients compare them."""

from __future__ import annotations

ERROR = b"ERROR\r\n"
STORED = b"STORED\r\n"
NOT_STORED = b"NOT_STORED\r\n"
EXISTS = b"EXISTS\r\n"
NOT_FOUND = b"NOT_FOUND\r\n"
DELETED = b"DELETED\r\n"
TOUCHED = b"TOUCHED\r\n"
OK = b"OK\r\n"
RESET = b"RESET\r\n"
END = b"END\r\n"
BAD_FORMAT = b"CLIENT_ERROR bad command line format\r\n"
BAD_CHUNK = b"CLIENT_ERROR bad data chunk\r\n"
BAD_DELETE = b"CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]\r\n"
BAD_DELTA = b"CLIENT_ERROR invalid numeric delta argument\r\n"
BAD_EXPTIME = b"CLIENT_ERROR invalid exptime argument\r\n"
BAD_COMMAND_LINE = b"CLIENT_ERROR bad command line\r\n"
BAD_SLAB = b"CLIENT_ERROR Illegal slab id\r\n"
NOT_A_NUMBER = b"CLIENT_ERROR cannot increment or decrement non-numeric value\r\n"
TOO_LARGE = b"SERVER_ERROR object too large for cache\r\n"
TOO_LONG = b"SERVER_ERROR line too long\r\n"
MEMLIMIT_TOO_SMALL = b"MEMLIMIT_TOO_SMALL cannot set maxbytes to less than 8m\r\n"
MEMLIMIT_IN_BYTES = b"MEMLIMIT_ADJUST_FAILED input value is megabytes not bytes\r\n"
MEMLIMIT_FAILED = b"MEMLIMIT_ADJUST_FAILED out of bounds or unable to adjust\r\n"


class RefusedError(Exception):
    """A command is refused.

    Attributes:
        reply: what the client is told.
    """

    def __init__(self, reply: bytes) -> None:
        super().__init__(reply)
        self.reply = reply
