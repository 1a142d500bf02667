"""Random streams of commands, good and bad ones, for a memcached and for the plugin."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

KEYS = (b"a", b"b", b"c", b"n", b"a\tb", b"\xff\x01", b"noreply", b"k" * 250)
TOO_LONG = b"k" * 251
VALUES = (b"", b"1", b"42", b"-\r\n", b"get a\r\n", bytes(range(256)), b"x" * 70_000)
# No value is white space alone: memcached goes on reading behind such a value for a number.
NUMBERS = (
    b"0",
    b"5",
    b"10",
    b"0007",
    b" 5",
    b"5 ",
    b"+5",
    b"-1",
    b"5x",
    b"",
    b"18446744073709551615",
)
FLAGS = (b"0", b"0", b"7", b"4294967295", b"4294967296", b"+5", b"007")
EXPTIMES = (
    b"0",
    b"0",
    b"0",
    b"100",
    b"2147483647",
    b"-1",
    b"2592001",
    b"4294967296",
    b"4102444800",
)
DELTAS = (
    b"0",
    b"1",
    b"9",
    b"18446744073709551615",
    b"+3",
    b"-1",
    b"x",
    b"99999999999999999999",
    b"5x",
)
NO_NUMBERS = (b"x", b"-", b"5x", b"\xd9\xa1", b"18446744073709551616")
NO_LENGTHS = (b"-1", b"x", b"2147483647", b"4294967295", b"99999999999999999999")
EXECUTED = b"flush_all\r\nset a 0 0 1\r\n1\r\nquit\r\n"
UPDATES = (b"set", b"set", b"set", b"add", b"replace", b"append", b"prepend")
ODD = (
    *(
        b"",
        b" ",
        b"\t",
        b"nonsense",
        b"GET a",
        b"getx a",
        b"get",
        b"gets",
        b" get  a ",
        b"get a\0b",
    ),
    *(b"gat", b"gat 10", b"gat x a", b"gats -1 a b", b"gat 100 a n", b"get " + TOO_LONG),
    *(
        b"get a " + TOO_LONG,
        b"gat 1 " + TOO_LONG,
        b"set",
        b"set a 0 0",
        b"cas a 0 0",
        b"set noreply",
    ),
    *(
        b"incr",
        b"incr a",
        b"incr a 1 2 3",
        b"incr " + TOO_LONG + b" 1",
        b"decr n noreply",
        b"touch",
    ),
    *(b"touch a", b"touch a x", b"touch noreply 5", b"touch a 1 2 3", b"delete", b"delete a 0"),
    *(b"delete a 5", b"delete a noreply", b"delete a 0 noreply", b"delete a noreply 0"),
    *(b"delete a 0 noreply x", b"delete " + TOO_LONG, b"flush_all x", b"flush_all x y"),
    *(
        b"flush_all 1 2 3",
        b"flush_all noreply",
        b"flush_all 0",
        b"flush_all 0 noreply",
        b"flush_all",
    ),
    *(b"flush_all -1", b"verbosity", b"verbosity x", b"verbosity 1", b"verbosity 1 noreply"),
    *(b"verbosity noreply", b"verbosity 1 2 3", b"cache_memlimit", b"cache_memlimit x"),
    *(b"cache_memlimit 5", b"cache_memlimit 50", b"cache_memlimit 2000000000", b"stats nonsense"),
    *(b"stats reset", b"stats cachedump", b"stats cachedump 1", b"stats cachedump x 0"),
    *(b"stats cachedump 64 0", b"POST / HTTP/1.1", b"HTTP/", b"quit", b"quit now", b"x" * 3000),
    b"x" * 17_000,
)


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent on one connection.

    Attributes:
        common: what both are sent.
        swallowed: what follows for the plugin alone, which leaves it out; memcached executes it.
    """

    common: bytes
    swallowed: bytes = b""


def stream(chance: Random, count: int) -> Iterator[Request]:
    """Return so many requests."""
    kinds: list[Callable[[Random], Request]] = [good, good, good, numbers, bad_value, refused, odd]
    for _ in range(count):
        yield chance.choice(kinds)(chance)


def good(chance: Random) -> Request:
    """Return a few commands in one piece."""
    return Request(b"".join(command(chance) for _ in range(chance.randint(1, 6))))


def command(chance: Random) -> bytes:
    """Return a command that is right."""
    match chance.randrange(6):
        case 0 | 1:
            return update(chance, chance.choice(UPDATES), chance.choice(VALUES))
        case 2:
            version = b"%d" % chance.choice((0, *range(1, 300)))
            return update(chance, b"cas", chance.choice(VALUES), version)
        case 3:
            count = chance.choice((1, 1, 2, 5, 8, 3000))
            return b"%b %b\r\n" % (chance.choice((b"get", b"gets")), some_keys(chance, count))
        case 4:
            exptime = chance.choice((b"0", b"100", b"-1"))
            return b"gat%b %b %b\r\n" % (chance.choice((b"", b"s")), exptime, some_keys(chance, 3))
    ending = chance.choice((b"\r\n", b"\n", b" noreply\r\n"))
    name = chance.choice((b"delete %b", b"touch %b 100", b"touch %b 0"))
    return name % chance.choice(KEYS) + ending


def some_keys(chance: Random, count: int) -> bytes:
    """Return some keys; of many most have nothing stored under them."""
    keys = [
        chance.choice(KEYS) if at % 400 == 0 or count < 400 else b"nix-%d" % at
        for at in range(count)
    ]
    return b" ".join(keys)


def update(chance: Random, name: bytes, value: bytes, *version: bytes) -> bytes:
    """Return a command with a value."""
    size = len(value) + (2**32 if chance.random() < 0.05 else 0)
    words = [chance.choice(KEYS), chance.choice(FLAGS), chance.choice(EXPTIMES), b"%d" % size]
    words += [*version, *chance.choice(((), (), (b"noreply",), (b"norepl",)))]
    return b"%b %b\r\n%b\r\n" % (name, b" ".join(words), value)


def numbers(chance: Random) -> Request:
    """Return a command that counts, or one that stores a number."""
    if chance.random() < 0.4:
        return Request(update(chance, b"set", chance.choice(NUMBERS)))
    words = (chance.choice((b"incr", b"decr")), chance.choice(KEYS), chance.choice(DELTAS))
    return Request(b" ".join(words) + chance.choice((b"\r\n", b" noreply\r\n")))


def bad_value(chance: Random) -> Request:
    """Return a value that is longer or shorter than the line says, or has a length that is none."""
    name, value = chance.choice(UPDATES), chance.choice(VALUES)
    size = chance.choice((*NO_LENGTHS, b"%d" % (len(value) + 1), b"%d" % max(0, len(value) - 1)))
    line = b"%b a 0 0 %b%b\r\n" % (name, size, chance.choice((b"", b" noreply")))
    return Request(line if size in NO_LENGTHS else line + value + b"\r\n")


def refused(chance: Random) -> Request:
    """Return a line that is refused, and a value that must not be executed."""
    size = b"%d" % len(EXECUTED)
    bad = chance.choice(NO_NUMBERS)
    name = chance.choice(UPDATES)
    line = chance.choice(
        (
            b"%b %b 0 0 %b" % (name, TOO_LONG, size),
            b"%b a %b 0 %b" % (name, bad, size),
            b"%b a 0 %b %b" % (name, bad, size),
            b"%b a 0 %b %b noreply" % (name, bad, size),
            b"%b a b 0 0 %b" % (name, size),
            b"%b a b c 0 0 %b" % (name, size),
            b"cas a 0 0 %b" % size,
            b"cas a 0 0 %b %b" % (size, bad),
            b"cas a 0 0 %b 1 noreply x" % size,
        )
    )
    return Request(line + b"\r\n", EXECUTED + b"\r\n")


def odd(chance: Random) -> Request:
    """Return a line by itself that is odd."""
    return Request(chance.choice(ODD) + b"\r\n")
