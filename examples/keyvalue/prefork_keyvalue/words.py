"""The words of a command line, and the numbers among them, as memcached reads them.

It reads a line as a C string, and numbers with strtol(3) and its kin (`safe_strtol` and others in
its util.c): a sign and white space are allowed, and what is kept in 32 bits is cut to 32 bits.
"""

from __future__ import annotations

import re

from prefork_keyvalue.replies import BAD_FORMAT, RefusedError

MAX_KEY_BYTES = 250
COUNTER_LIMIT = 2**64
_FEW_DIGITS = 10
"""A number of fewer digits fits everywhere; nearly all numbers are such."""
_NUMBER = re.compile(rb"[ \t\n\v\f\r]*([+-]?)0*([0-9]{1,20})(?![^ \t\n\v\f\r\0])")


def split(line: bytes) -> list[bytes]:
    """Return the words of a line, at least one: spaces part them, and a zero byte ends them."""
    return [word for word in line.partition(b"\0")[0].split(b" ") if word] or [b""]


def key_of(word: bytes) -> bytes:
    """Return `word` if it can be a key; else raise RefusedError."""
    if len(word) > MAX_KEY_BYTES:
        raise RefusedError(BAD_FORMAT)
    return word


def number(word: bytes) -> int | None:
    """Return the number with which `word` begins; None if there is none of up to 20 digits."""
    found = _NUMBER.match(word)
    if found is None:
        return None
    sign, digits = found.groups()
    return -int(digits) if sign == b"-" else int(digits)


def int32(word: bytes, otherwise: bytes = BAD_FORMAT) -> int:
    """Return the lower 32 bits of a number of 64 bits, with their sign.

    Raises:
        RefusedError: it is none; with the reply `otherwise`.
    """
    if len(word) < _FEW_DIGITS and word.isdigit():
        return int(word)
    found = number(word)
    if found is None or not -(2**63) <= found < 2**63:
        raise RefusedError(otherwise)
    return (found + 2**31) % 2**32 - 2**31


def uint32(word: bytes, otherwise: bytes = BAD_FORMAT) -> int:
    """Return the lower 32 bits of a number of 64 bits that is not negative.

    Raises:
        RefusedError: it is none; with the reply `otherwise`.
    """
    if len(word) < _FEW_DIGITS and word.isdigit():
        return int(word)
    return uint64(word, otherwise) % 2**32


def uint64(word: bytes, otherwise: bytes = BAD_FORMAT) -> int:
    """Return a number of 64 bits that is not negative.

    Raises:
        RefusedError: it is none; with the reply `otherwise`.
    """
    if len(word) < _FEW_DIGITS and word.isdigit():
        return int(word)
    found = number(word)
    if found is None or not 0 <= found < COUNTER_LIMIT:
        raise RefusedError(otherwise)
    return found
