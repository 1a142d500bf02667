"""Does what another program could do with a host's name; sets its user first.

Usage: stranger.py UID MANNER NAME [COUNT], with one of these as MANNER:

    endless     takes the name, and answers without an end
    pages       takes the name, and answers page after page
    drips       takes the name, and answers a byte every millisecond
    silent      takes the name, and answers nothing
    knocks      tells the host of that name to stop, again and again, so many times

It prints `ready` when it has the name, or how many answers it was refused with.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import suppress


def answer(manner: str) -> Iterator[bytes]:
    """Yield what is answered, bit by bit."""
    page = b'{"ok": true, "result": {"workers": ["%s"]}, "next": 2}\n' % (b"A" * 1_000_000)
    while True:
        if manner == "silent":
            time.sleep(3600)
        elif manner == "drips":
            time.sleep(0.001)
            yield b"A"
        else:
            yield page if manner == "pages" else b"A" * 65_536


def take(address: str, manner: str) -> None:
    """Take the name, and answer whoever asks, each in a process of its own."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(address)
        sock.listen(8)
        print("ready", flush=True)
        while True:
            client, _ = sock.accept()
            if os.fork() == 0:
                with suppress(OSError):
                    for data in answer(manner):
                        client.sendall(data)
                os._exit(0)
            client.close()
            with suppress(ChildProcessError):
                os.waitpid(-1, os.WNOHANG)


def knock(address: str, count: int) -> None:
    """Tell the host to stop."""
    refused = 0
    for _ in range(count):
        with socket.socket(socket.AF_UNIX) as sock, suppress(OSError):
            sock.connect(address)
            with suppress(BrokenPipeError):
                sock.sendall(b'{"v": 1, "command": "stop", "args": {"quick": true}}\n')
            refused += b"not permitted" in sock.recv(4096)
    print(refused, flush=True)


def main() -> None:
    uid, manner, name, *count = sys.argv[1:]
    if int(uid) != os.getuid():
        os.setuid(int(uid))
    address = f"\0prefork/{name}"
    if manner == "knocks":
        knock(address, int(*count))
    else:
        take(address, manner)


if __name__ == "__main__":
    main()
