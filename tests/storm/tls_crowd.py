"""Many clients of TLS in a process of their own: those that stay, and those that only shake hands.

Arguments and answers are as in `crowd.py`.
"""

from __future__ import annotations

import json
import os
import random
import select
import socket
import ssl
import sys
import time
from collections import Counter
from contextlib import suppress
from typing import Any

from crowd import RESET_ON_CLOSE, connected, say

NAME = "a.example"
KINDS = ("garbage", "nothing", "half", "broken", "stranger", "full")
"""What is no TLS; nothing; a ClientHello and no more; one that was changed on its way; a client
that does not trust the certificate; a whole handshake. All of them go at once then."""


def pings(address: str, count: int, every: float, ca: str) -> Any:
    """Stay, and exchange a line in turn; at each command tell of the waits since the last one."""
    context = ssl.create_default_context(cafile=ca)
    socks = [
        context.wrap_socket(connected(address, 30.0), server_hostname=NAME) for _ in range(count)
    ]
    say(True)
    waits: list[float] = []
    while True:
        for sock in socks:
            began = time.monotonic()
            sock.sendall(b"still there?\n")
            if sock.recv(100) != b"still there?\n":
                return "a session has ended"
            waits.append(time.monotonic() - began)
            if select.select([0], [], [], every)[0]:
                if not os.read(0, 4096):
                    return "the end"
                waits.sort()
                say([len(waits), waits[len(waits) // 2], waits[len(waits) * 99 // 100], waits[-1]])
                waits = []


def handshakes(address: str, seconds: float, ca: str, seed: int) -> Any:
    """Begin as each of the `KINDS` for so long, one after the other; tell how many of each.

    All end with a reset, which leaves no port behind that could not be used again.
    """
    chance, until = random.Random(seed), time.monotonic() + seconds
    trusting, stranger = ssl.create_default_context(cafile=ca), ssl.create_default_context()
    counts: Counter[str] = Counter()
    while time.monotonic() < until:
        kind = KINDS[counts.total() % len(KINDS)]
        with connected(address, 30.0) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            with suppress(OSError):
                match kind:
                    case "full" | "stranger":
                        context = trusting if kind == "full" else stranger
                        context.wrap_socket(sock, server_hostname=NAME).close()
                    case "nothing":
                        pass
                    case _:
                        sock.sendall(first_flight(kind, trusting, chance))
                        sock.recv(65_536)
        counts[kind] += 1
    return counts


def first_flight(kind: str, context: ssl.SSLContext, chance: random.Random) -> bytes:
    """Return what a client sends first."""
    if kind == "garbage":
        return bytes((chance.choice((0x00, 0x17, 0x47, 0x80)),)) + chance.randbytes(200)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname=NAME).do_handshake()
    hello = bytearray(outgoing.read())
    if kind == "broken":
        hello[5] = 0x02  # a message that only servers send (RFC 8446, 4)
    return bytes(hello)


def main() -> None:
    plan = json.loads(sys.argv[1])
    say({"pings": pings, "handshakes": handshakes}[plan.pop("do")](**plan))


if __name__ == "__main__":
    main()
