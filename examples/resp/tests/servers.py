"""Servers on free ports of the loopback, and what they are asked with."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

REDIS = shutil.which("redis-server") or shutil.which("redis-check-rdb")
"""Both are one program, which goes by the name that it is called with; Debian has the second one in
the package redis-tools."""
_OWN = re.compile(
    rb"(\$6\r\nserver\r\n).*?(\$5\r\nproto\r\n:\d\r\n\$2\r\nid\r\n):\d+\r\n", re.DOTALL
)
"""What each server says of itself in reply to HELLO."""
_HELLO_ENDS = b"$7\r\nmodules\r\n*0\r\n"


@contextmanager
def redis_server(patience: float) -> Iterator[int]:
    """Run a redis-server that writes nothing to disk; give its port.

    Args:
        patience: how many seconds its end may take.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            ["redis-server", *settings, "--dir", folder],
            executable=REDIS,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            assert process.stdout is not None
            said = []
            for line in process.stdout:
                said.append(line)
                if "Ready to accept connections" in line:
                    break
            else:
                raise AssertionError("".join(said))
            yield port
        finally:
            process.terminate()
            process.communicate(timeout=patience)


def ask(port: int, requests: Sequence[bytes], *, version: int = 2, seconds: float = 20.0) -> bytes:
    """Send pieces one after the other; return all replies, up to the end that the server makes.

    Args:
        port: of the server, on the loopback.
        requests: what is sent, piece by piece; the last one makes the server close.
        version: of the protocol; the reply to HELLO, in which servers differ, is left out.
        seconds: how long a call on the socket may take.
    """
    with socket.create_connection(("127.0.0.1", port), seconds) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with client.makefile("rb") as replies:
            if version == 3:
                client.sendall(b"HELLO 3\r\n")
                said = b""
                while not said.endswith(_HELLO_ENDS):
                    said += replies.readline()
            for piece in requests:
                client.sendall(piece)
            return _OWN.sub(rb"\1\2", replies.read())
