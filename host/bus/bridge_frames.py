"""Frames between the hub and the bridge to a broker: what each of them says.

The bridge knows nothing that outlives its connection to the broker. Whenever it has a new one it
says `UP`, and hears everything anew:

1. `JOIN`, which is answered with `JOINED`.
2. `OWN_AGAIN` for keys that may have another owner now, some at a time; `LISTEN` for all that is
   heard, and `RESUME`, which is answered with what was missed and `RESUMED`.
3. `READY`, which is answered with `TRUST`, and all that waits.

Until the `JOIN` of this connection it drops what it hears: that was meant for one before. Whatever
has a serial is answered with `DONE`, in this order, and the answer is remembered by the broker;
whatever has not has its own answer, if it has one.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from enum import IntEnum
from itertools import islice

SERIAL = struct.Struct("<Q")
"""The number of something that is done once, however often it is said."""
JOINED = struct.Struct("<QQQ")
"""The last serial that the broker has done; since when it knows serials of the node, and since when
it takes it for alive: neither changes as long as that goes on."""
TRUST = struct.Struct("<dQ")
"""`frames.TIME`, and the number of the last message that there is."""

_MOST_NAMES = 1000
"""Each has `frames.MAX_NAME_BYTES` at most: together they are half of what a frame may be."""


def pack_serials(serials: Iterable[int]) -> bytes:
    """Write serials one behind the other."""
    return b"".join(map(SERIAL.pack, serials))


def unpack_serials(data: bytes) -> list[int]:
    """Read what `pack_serials` has written."""
    return [serial for (serial,) in SERIAL.iter_unpack(data)]


def pack_names(names: Iterable[bytes]) -> Iterator[bytes]:
    """Write names, so many at once as fit a frame; without names there is nothing to write."""
    rest = iter(names)
    while some := list(islice(rest, _MOST_NAMES)):
        yield struct.pack(f"<{1 + len(some)}H", len(some), *map(len, some)) + b"".join(some)


def unpack_names(data: bytes) -> Iterator[bytes]:
    """Read what `pack_names` has written."""
    (count,) = struct.unpack_from("<H", data)
    lengths = struct.unpack_from(f"<{count}H", data, 2)
    at = 2 + 2 * count
    for length in lengths:
        yield data[at : at + length]
        at += length


class Ask(IntEnum):
    """What the hub says to the bridge."""

    JOIN = 64  # number: that of UP; payload: the members, with a space between two of them
    OWN = 65  # name: the key; payload: the member
    LISTEN = 66  # payload: the topics, as `pack_names` writes them
    LISTEN_PREFIX = 67  # payload: how topics begin, likewise
    UNLISTEN = 68  # payload: as that of LISTEN
    UNLISTEN_PREFIX = 69  # payload: as that of LISTEN_PREFIX
    RESUME = 70  # payload: a SERIAL, the last message that was heard, and its epoch; b"" for none
    RING = 71  # number: the question; name: the topic
    RINGS = 72  # number: the question; name: how topics begin
    PUBLISH = 73  # number: how many to retain; name: the topic; payload: SERIAL, `with_sender`
    RELEASE = 74  # name: the key; payload: SERIAL, the member
    ENTER = 75  # payload: SERIAL, the member
    LEAVE = 76  # payload: SERIAL, the member
    TABLE = 77  # number: the question; name: the table; payload: a `tables.Request` to read it
    READY = 78
    END = 79  # the host ends: nobody is to wait for the lease
    CHANGE = 80  # number: how many before it may be unknown to the hub; name: the table; payload:
    # SERIAL, a `tables.Request` that changes it
    OWN_AGAIN = 81  # payload: for each key the member and the key, as `pack_names` writes them
    PUBLISH_TOLD = 82  # as PUBLISH, where somebody waits for its DONE, which may come later if not


class Tell(IntEnum):
    """What the bridge says to the hub."""

    UP = 96  # number: of the connection; payload: where the broker is
    AWAY = 97  # payload: why
    JOINED = 98  # payload: JOINED
    OWNED = 99  # for each OWN, in their order; payload: SERIAL, the fencing number, or 0
    MESSAGE = 100  # number: the lower half of its number; name: topic; payload: `with_sender`
    RESUMED = 101  # number: 1 if something was lost; payload: as that of RESUME
    RETAINED = 102  # number: the question; name: the topic; payload: `with_sender`
    HEARD = 103  # number: the question, of which nothing more comes; name: "lost" if not all came
    DONE = 104  # number: so many that have a serial are done, or refused
    ITEMS = 105  # number: the question; payload: some items of the table, as `tables` writes them
    ANSWER = 106  # number: the question; payload: `tables.Answer`
    TRUST = 107  # payload: TRUST
    REFUSED = 108  # payload: SERIALs; before the DONE or JOINED that is about them, too
    FOREIGN = 109  # payload: all entries of tables and topics that are somebody else's, by their
    # keys, as `pack_names` writes them; b"" for none
    OWNED_AGAIN = 110  # payload: for each key of the OWN_AGAIN its fencing number, or 0: SERIALs
