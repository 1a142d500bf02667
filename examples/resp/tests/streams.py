"""Streams of commands, random and nasty, with which two servers are compared."""

from __future__ import annotations

from random import Random

KEYS = [b"a", b"b", b"list", b"", b"k\r\n\x00\xff", b"n"]
NUMBERS = [
    *(b"0", b"1", b"-1", b"3", b"-3", b"99", b"+1", b"01", b"-0", b" 1", b"1 ", b"1.0", b"", b"x"),
    *(b"9223372036854775807", b"-9223372036854775808", b"9223372036854775808", b"1" * 40),
]
VALUES = [b"", b"v", b"10", b"-7", b"07", b"\x00\xff\r\n$3\r\n"]
LARGE_VALUES = [b"x" * 5000, b"y" * 40_000]
TIMES = [b"100000", b"500000", b"0", b"-5", b"x", b"9223372036854775807", b"9223372036854776"]
CHANNELS = [b"news", b"n", b"", b"a\\b", b"\xff\r\n", b"new"]
PATTERNS = [
    *(b"*", b"n?ws", b"n[a-f]ws", b"[^a]*", b"[n", b"\\n*", b"", b"n*s*", b"[]", b"[^]", b"[z-a]"),
    *(b"[\\]n]ew", b"\\", b"a\\\\b", b"?*?", b"*\xff*", b"n[e-]ws", b"[n-"),
]
NAMES = [b"me", b"", b"a b", b"\xff", b"~!"]


class Commands:
    """Makes commands.

    Args:
        random: what is chosen with.
        large: whether some values are large.
    """

    def __init__(self, random: Random, large: bool) -> None:
        self._random = random
        self._values = VALUES + LARGE_VALUES * large

    def any(self) -> list[list[bytes]]:
        """Return the words of one or a few commands."""
        if self._random.random() < 0.1:
            return self._of_patterns()
        make = self._random.choice(
            [self._of_strings] * 5
            + [self._of_keys] * 4
            + [self._of_lists] * 4
            + [self._of_messages] * 2
            + [self._of_clients, self._odd]
        )
        words = make()
        if self._random.random() < 0.05 and words[0] != b"UNSUBSCRIBE":
            # Of several channels Redis ends the subscriptions in no order, if all are meant.
            words = words[: self._random.randrange(1, len(words) + 1)]
        if self._random.random() < 0.03:
            words = [*words, self._one(self._values)]
        words[0] = self._random.choice([bytes.upper, bytes.lower, bytes.title])(words[0])
        return [words]

    def _one(self, of: list[bytes]) -> bytes:
        return self._random.choice(of)

    def _some(self, of: list[bytes], most: int = 3) -> list[bytes]:
        return [self._one(of) for _ in range(self._random.randrange(1, most + 1))]

    def _time(self) -> bytes:
        """Return a time that hardly comes twice: which of two is later must not be by chance."""
        return b"%d" % self._random.randrange(1000, 1_000_000)

    def _of_strings(self) -> list[bytes]:
        key = self._one(KEYS)
        return self._random.choice(
            [
                [b"GET", key],
                [b"SET", key, self._one(self._values)],
                [b"SET", key, self._one(self._values), *self._set_options()],
                [self._one([b"INCR", b"DECR"]), key],
                [self._one([b"INCRBY", b"DECRBY"]), key, self._one(NUMBERS)],
            ]
        )

    def _set_options(self) -> list[bytes]:
        found: list[bytes] = []
        for _ in range(self._random.randrange(1, 4)):
            name = self._one([b"NX", b"XX", b"get", b"KEEPTTL", b"EX", b"px", b"EXAT", b"no", b""])
            found.append(name)
            if name in (b"EX", b"px", b"EXAT") and self._random.random() < 0.95:
                # EXAT with a time that is long past would tell keys that are swept from others.
                is_short = name != b"EXAT"
                found.append(self._one(TIMES if is_short else [b"99999999999", b"x"]))
        return found

    def _of_keys(self) -> list[bytes]:
        key = self._one(KEYS)
        return self._random.choice(
            [
                [b"DEL", *self._some(KEYS)],
                [b"EXISTS", *self._some(KEYS)],
                [b"TYPE", key],
                [self._one([b"EXPIRE", b"PEXPIRE"]), key, self._one(TIMES)],
                [
                    *(b"EXPIRE", key, self._one([self._time(), self._time(), b"-1"])),
                    *self._some([b"NX", b"XX", b"GT", b"lt", b"no"], 2),
                ],
                [b"TTL", key],
                [b"DBSIZE"],
                [b"FLUSHALL", *self._random.choice([[], [b"SYNC"], [b"async"], [b"x"]])],
            ]
        )

    def _of_lists(self) -> list[bytes]:
        key = self._one(KEYS)
        return self._random.choice(
            [
                [self._one([b"LPUSH", b"RPUSH"]), key, *self._some(self._values)],
                [b"LLEN", key],
                [b"LRANGE", key, self._one(NUMBERS), self._one(NUMBERS)],
            ]
        )

    def _of_messages(self) -> list[bytes]:
        return self._random.choice(
            [
                [b"PUBLISH", self._one(CHANNELS), self._one(self._values)],
                [b"SUBSCRIBE", *self._some(CHANNELS)],
                [b"UNSUBSCRIBE", *self._some(CHANNELS)],
            ]
        )

    def _of_patterns(self) -> list[list[bytes]]:
        """Use one pattern: with several, Redis sends the messages of a client in no order."""
        pattern = self._one(PATTERNS)
        publish = [[b"PUBLISH", channel, b"v"] for channel in self._some(CHANNELS)]
        return [[b"PSUBSCRIBE", pattern], *publish, [b"PUNSUBSCRIBE", pattern]]

    def _of_clients(self) -> list[bytes]:
        return self._random.choice(
            [
                [b"PING", *self._random.choice([[], [self._one(self._values)]])],
                [b"ECHO", self._one(self._values)],
                [b"RESET"],
                [b"SELECT", self._one([b"0", b"x", b"99", b"-1", b"99999999999"])],
                [b"CLIENT", b"GETNAME"],
                [b"client", b"setname", self._one(NAMES)],
                [b"CLIENT", self._one([b"no", b"GetName", b"\r\n", b""]), *self._some(NAMES)],
                [b"HELLO", self._one([b"1", b"4", b"x", b"03", b""])],
                [b"HELLO", b"3", self._one([b"SETNAME", b"AUTH", b"no"])],
                [b"HELLO", b"2", b"AUTH", self._one([b"default", b"x"]), b"x", b"SETNAME", b"a b"],
                [b"AUTH", *self._some([b"default", b"x"])],
                [b"CONFIG", b"GET", self._one([b"save", b"appendonly", b"SAV?", b"no"])],
                [b"CONFIG", *self._some([b"GET", b"no"], 1)],
                [b"client", b"getname", b"x"],
            ]
        )

    def _odd(self) -> list[bytes]:
        return [self._one([b"NO", b"g\r\nt", b"", b"x" * 300]), *self._some(self._values, 4)]


def stream(random: Random) -> list[bytes]:
    """Return commands, packed, in pieces; the last command ends the connection.

    Lines are not among large values: of 64 KiB that wait, Redis 7.0 may take an array for a line.
    """
    large = random.random() < 0.3
    commands = Commands(random, large)
    many = [words for _ in range(random.randrange(1, 120)) for words in commands.any()]
    data = b"".join(
        as_line(words) if not large and random.random() < 0.2 else as_array(words)
        for words in [[b"FLUSHALL"], *many, [b"QUIT"]]
    )
    size = random.choice([len(data), len(data), 1000, 50])
    return [data[at : at + size] for at in range(0, len(data), size)]


def as_array(words: list[bytes]) -> bytes:
    """Return a command as an array."""
    parts = [b"*%d\r\n" % len(words)]
    parts += [b"$%d\r\n%b\r\n" % (len(word), word) for word in words]
    return b"".join(parts)


def as_line(words: list[bytes]) -> bytes:
    """Return a command as a line, if its words allow that without quotes."""
    if all(word and word.isalnum() for word in words):
        return b" ".join(words) + b"\r\n"
    return as_array(words)
