"""Two network namespaces with a round trip between them, for as long as this process lives.

Argument, as JSON: `delay_ms`, each way; `cookies`, whether the server's kernel always uses SYN
cookies; `ttl`, the time to live that clients' packets begin with, 0 for the usual one; `loss`,
which part of all packets vanishes, as chance has it by the number `seed` (both may be left out).
Standard output has one line of JSON: the paths of the namespaces `server` and `clients`.

Each has a TUN device (the kernel's Documentation/networking/tuntap.rst); what one sends is written
to the other later. No interface or address of the machine is touched.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import random
import select
import signal
import struct
import subprocess
import sys
import time
from collections import deque
from pathlib import Path

CLONE_NEWNET = 0x40000000
PR_SET_PDEATHSIG = 1
TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
DEVICE = "tun0"
PACKETS_AT_ONCE = 256

_libc = ctypes.CDLL(None, use_errno=True)


def new_namespace() -> int:
    """Enter a new network namespace; return a descriptor that keeps it."""
    if _libc.unshare(CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return os.open("/proc/self/ns/net", os.O_RDONLY)


def device(host: int) -> int:
    """Make the device of this namespace, with the addresses of that host; return its descriptor."""
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", DEVICE.encode(), IFF_TUN | IFF_NO_PI))
    for words in (
        "link set lo up",
        f"link set {DEVICE} mtu 1500 txqueuelen 5000 up",
        f"addr add 10.9.0.{host}/30 dev {DEVICE}",
        f"-6 addr add fd09::{host}/64 dev {DEVICE} nodad",
    ):
        subprocess.run(["ip", *words.split()], check=True)
    return fd


def carry(one: int, other: int, delay: float, loss: float, chance: random.Random) -> None:
    """Carry packets both ways, each after so many seconds, but for a part that vanishes."""
    peer = {one: other, other: one}
    queues: dict[int, deque[tuple[float, bytes]]] = {one: deque(), other: deque()}
    poller = select.poll()
    for fd in queues:
        poller.register(fd, select.POLLIN)
    while True:
        due = min((queue[0][0] for queue in queues.values() if queue), default=None)
        wait = None if due is None else max(0.0, (due - time.monotonic()) * 1000)
        for fd, _ in poller.poll(wait):
            take(fd, queues[peer[fd]], delay)
        for fd, queue in queues.items():
            while queue and queue[0][0] <= time.monotonic():
                packet = queue.popleft()[1]
                if not loss or chance.random() >= loss:
                    os.write(fd, packet)


def take(fd: int, queue: deque[tuple[float, bytes]], delay: float) -> None:
    """Take what a device sends now."""
    try:
        for _ in range(PACKETS_AT_ONCE):
            queue.append((time.monotonic() + delay, os.read(fd, 2000)))
    except BlockingIOError:
        return


def main() -> None:
    plan = json.loads(sys.argv[1])
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    clients = new_namespace()
    if plan["ttl"]:
        Path("/proc/sys/net/ipv4/ip_default_ttl").write_text(str(plan["ttl"]))
    one = device(1)
    if plan["ttl"]:
        Path(f"/proc/sys/net/ipv6/conf/{DEVICE}/hop_limit").write_text(str(plan["ttl"]))
    server = new_namespace()
    if plan["cookies"]:
        Path("/proc/sys/net/ipv4/tcp_syncookies").write_text("2")
    other = device(2)
    paths = {"server": server, "clients": clients}
    print(json.dumps({name: f"/proc/{os.getpid()}/fd/{fd}" for name, fd in paths.items()}))
    sys.stdout.flush()
    chance = random.Random(plan.get("seed", 0))
    carry(one, other, plan["delay_ms"] / 1000, plan.get("loss", 0.0), chance)


if __name__ == "__main__":
    main()
