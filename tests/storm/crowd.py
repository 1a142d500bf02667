"""Many clients of one kind in a process of their own: rude, slow, or endless.

The first argument is the name of a function below and its arguments, as JSON; the second is what
time-outs are multiplied by on this machine. The answer is one line of JSON on standard output.
Those that stay first say that they are there, with a line `true`.
"""

from __future__ import annotations

import errno
import json
import os
import random
import resource
import select
import socket
import struct
import sys
import time
from collections import Counter, deque
from contextlib import suppress
from typing import Any

from clients import target_of

RESET_ON_CLOSE = struct.pack("ii", 1, 0)
MOST_WAITING = 900
"""How many connections `knock` has open at most: this process may have 1,024 descriptors."""
PAYLOAD = b"".join(b"line %d of somebody who does not stay\n" % number for number in range(40))


def say(value: Any) -> None:
    """Write an answer."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def connected(
    address: str, patience: float = 10.0, receive_bytes: int = 0, source: str = ""
) -> socket.socket:
    """Return a connected socket whose calls give up after so many seconds of an idle machine."""
    family, target = target_of(address)
    sock = socket.socket(family, socket.SOCK_STREAM)
    if source:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((source, 0))
    if receive_bytes:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    sock.settimeout(patience * float(sys.argv[2]))
    sock.connect(target)
    return sock


def resets(address: str, count: int, seed: int) -> Any:
    """Connect, send up to a random byte, perhaps read a little, and reset."""
    chance = random.Random(seed)
    failures: Counter[str] = Counter()
    for _ in range(count):
        try:
            with connected(address) as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
                sock.sendall(PAYLOAD[: chance.randrange(len(PAYLOAD))])
                if chance.random() < 0.3:
                    sock.setblocking(False)
                    sock.recv(chance.randrange(1, 2000))
        except BlockingIOError:
            pass
        except OSError as error:
            failures[errno.errorcode.get(error.errno or 0, str(error))] += 1
    return failures


def trickle(address: str, count: int, every: float, seconds: float) -> Any:
    """Stay, and send one byte every so often; tell when those that were closed were."""
    socks: dict[int, tuple[socket.socket, float]] = {}
    poll = select.epoll()
    for _ in range(count):
        began = time.monotonic()
        sock = connected(address, 30.0)
        sock.setblocking(False)
        socks[sock.fileno()] = (sock, began)
        poll.register(sock.fileno(), select.EPOLLIN)
    say(True)
    ages: list[float] = []
    until, due = time.monotonic() + seconds, time.monotonic() + every
    while (now := time.monotonic()) < until and socks:
        for fd, _ in poll.poll(max(0.0, min(due, until) - now)):
            sock, began = socks[fd]
            if _over(sock):
                ages.append(time.monotonic() - began)
                del socks[fd]
                sock.close()
        if time.monotonic() >= due:
            due += every
            for sock, _ in socks.values():
                with suppress(OSError):
                    sock.send(b"x")
    return {"closed": len(ages), "left": len(socks), "ages": sorted(ages)}


def _over(sock: socket.socket) -> bool:
    try:
        return not sock.recv(4096)
    except BlockingIOError:
        return False
    except OSError:
        return True


def unfinished(
    address: str, count: int, every: float, seconds: float, source: str, begins: list[str]
) -> Any:
    """Send headers byte by byte, the last byte never; tell when those that were closed were.

    Args:
        address: where to connect.
        count: how many connections.
        every: between two bytes of a connection, in seconds.
        seconds: for how long.
        source: the address of the proxy that they pretend to be.
        begins: what they send at the longest, one after the other in turn, in hexadecimal.
    """
    allow_descriptors()
    headers = [bytes.fromhex(each) for each in begins]
    left: dict[int, tuple[socket.socket, float, list[int]]] = {}
    for number in range(count):
        began, sock = time.monotonic(), connected(address, 30.0, source=source)
        sock.setblocking(False)
        left[sock.fileno()] = (sock, began, list(headers[number % len(headers)]))
    say(True)
    ages: list[float] = []
    until = time.monotonic() + seconds
    while left and time.monotonic() < until:
        for fd, (sock, began, rest) in list(left.items()):
            if _over(sock):
                ages.append(time.monotonic() - began)
                del left[fd]
                sock.close()
            elif rest:
                with suppress(OSError):
                    sock.send(bytes([rest.pop(0)]))
        time.sleep(every)
    return {"left": len(left), "ages": sorted(ages)}


def forgers(address: str, count: int, batch: int, seed: int, source: str) -> Any:
    """Have a proxy bring clients from random IPv6 networks, so many at a time; tell who is served.

    They end with a reset, which leaves no port behind that could not be used again.
    """
    chance = random.Random(seed)
    served, failures = 0, Counter[str]()
    for _ in range(0, count, batch):
        socks = []
        for _ in range(batch):
            client = socket.inet_ntop(socket.AF_INET6, chance.randbytes(16))
            header = f"PROXY TCP6 {client} ::1 {chance.randrange(1, 65_536)} 1\r\n"
            try:
                socks.append(connected(address, 30.0, source=source))
                socks[-1].sendall(header.encode() + b"hello\n")
            except OSError as error:
                failures[errno.errorcode.get(error.errno or 0, str(error))] += 1
        for sock in socks:
            try:
                served += sock.recv(200).endswith(b"hello\n")
            except OSError as error:
                failures[errno.errorcode.get(error.errno or 0, str(error))] += 1
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            sock.close()
    return {"served": served, "failures": failures}


def idle(
    address: str, count: int, seconds: float, receive_bytes: int = 0, say_first: str = ""
) -> Any:
    """Connect, read nothing for so long; tell how many were let in."""
    socks, failures = [], 0
    for _ in range(count):
        try:
            socks.append(connected(address, 2.0, receive_bytes))
            socks[-1].sendall(say_first.encode())
        except OSError:
            failures += 1
    say(True)
    time.sleep(seconds)
    for sock in socks:
        sock.close()
    return {"connected": len(socks), "failed": failures}


def stay(address: str, count: int, line: str = "still there?") -> Any:
    """Exchange a line, stay until told, exchange another; tell each time how many could.

    All send at once, before any of them reads.
    """
    allow_descriptors()
    socks = [connected(address, 60.0) for _ in range(count)]
    say(_exchanged(socks, line.encode() + b"\n"))
    sys.stdin.readline()
    return _exchanged(socks, line.encode() + b"\n")


def allow_descriptors() -> None:
    """Let this process have as many descriptors as it may."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _exchanged(socks: list[socket.socket], line: bytes) -> int:
    """Send a line over each; return how many had it back, perhaps with words before it."""
    for sock in socks:
        with suppress(OSError):
            sock.sendall(line)
    count = 0
    for sock in socks:
        with suppress(OSError):
            count += sock.recv(200).endswith(line)
    return count


def unread(address: str, size: int, seconds: float) -> Any:
    """Send, finish sending, and read nothing of what comes back for so long."""
    with connected(address) as sock:
        sock.settimeout(0.5)
        sent = 0
        try:
            while sent < size:
                sent += sock.send(bytes(65_536))
        except TimeoutError:
            pass
        sock.shutdown(socket.SHUT_WR)
        say(True)
        time.sleep(seconds)
    return sent


def torrent(address: str, size: int, chunk: int, line: bool = False) -> Any:
    """Send so many bytes without a newline, as long as they are taken; read what comes back."""
    data = b"x" * max(chunk, 1)
    sent, back, ended = 0, b"", None
    cpu = time.process_time()
    with connected(address, 10.0) as sock:
        try:
            while sent < size:
                sent += sock.send(data[: size - sent])
                if chunk == 1:
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.sendall(b"\r\n" if line else b"")
            if not line:  # perhaps nothing comes
                sock.settimeout(2.0)
            back = sock.recv(65_536)
        except TimeoutError:
            ended = "no answer"
        except OSError as error:
            ended = errno.errorcode.get(error.errno or 0, str(error))
    return {
        "sent": sent,
        "back": back[:60].decode("ascii", "replace"),
        "ended": ended,
        "cpu": time.process_time() - cpu,
    }


def knock(address: str, rate: float, seconds: float, patience: float) -> Any:
    """Try to connect so many times a second; give up one that is not answered in time.

    Where this gets no CPU for a moment, those that have waited longest are given up for others.
    """
    family, target = target_of(address)
    waiting: deque[tuple[float, socket.socket]] = deque()
    tried, due = 0, time.monotonic()
    until = due + seconds
    while (now := time.monotonic()) < until:
        while due <= now:
            due += 1.0 / rate
            sock = socket.socket(family, socket.SOCK_STREAM)
            sock.setblocking(False)
            sock.connect_ex(target)
            waiting.append((now, sock))
            if len(waiting) > MOST_WAITING:
                waiting.popleft()[1].close()
            tried += 1
        while waiting and waiting[0][0] < now - patience:
            waiting.popleft()[1].close()
        time.sleep(max(0.0, min(due - time.monotonic(), 0.01)))
    for _, sock in waiting:
        sock.close()
    return {"tried": tried}


def garbage(address: str, seed: int, rounds: int) -> Any:
    """Send what no client of a line protocol should: see `NASTY`; and random bytes."""
    chance = random.Random(seed)
    failures: Counter[str] = Counter()
    pieces = [*NASTY, *(os.urandom(chance.randrange(1, 3000)) for _ in range(rounds))]
    chance.shuffle(pieces)
    for piece in pieces:
        try:
            with connected(address, 5.0) as sock:
                sock.sendall(piece)
                sock.shutdown(socket.SHUT_WR)
                while sock.recv(65_536):
                    pass
        except (ConnectionResetError, BrokenPipeError):
            pass  # it may be closed on
        except OSError as error:
            failures[errno.errorcode.get(error.errno or 0, str(error))] += 1
    return {"sent": len(pieces), "failures": failures}


FORGERY = b'2026-01-01T00:00:00.000Z info    stopped: exit code 0\n{"event": "host_bug"}'
NASTY = (
    b"\xff\xfe\x80 bad utf-8 \xc3\x28\r\n",
    b"\xed\xa0\x80 surrogate \xf4\x90\x80\x80\r\n",
    b"NUL \x00 in \x00 it\x00\r\n",
    b"\r\r\n\n\r\n\r\r\n",
    b"one\rtwo\nthree\r\nfour\n\rfive\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    bytes.fromhex("16030100fa010000f60303") + b"\x11" * 240,
    b"\x1b[2J\x1b[31mESC \x1b]0;title\x07 \x9b31m\r\n",
    b"PING \x1b[31m\r\nNOSUCH \x07\x08\x7f\r\n" + FORGERY + b"\r\n",
    b"\n" + FORGERY + b"\n",
    "\u2028\u2029\u202e\u2066".encode() + b"\r\n",
    b"%s%n%d {} {0.__class__} $(id) `id` \\x41\r\n",
    b"/nick \x1b[31mred\r\n/join #\x00\r\n/msg \r\n/me\r\n",
    b"\x00" * 5000,
    b"\r\n" * 5000,
)


def main() -> None:
    plan = json.loads(sys.argv[1])
    functions = (
        *(resets, trickle, unfinished, forgers, idle, stay),
        *(unread, torrent, knock, garbage),
    )
    say({each.__name__: each for each in functions}[plan.pop("do")](**plan))


if __name__ == "__main__":
    main()
