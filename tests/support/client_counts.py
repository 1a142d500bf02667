"""The counts of clients of a running host, read from outside."""

from __future__ import annotations

import os

from host.ipc.client_counts import MAX_ROWS, ClientCounts


def counted(supervisor: int) -> int:
    """Return how many connections a host's workers count, over all rows."""
    counts = ClientCounts(_open(supervisor), range(MAX_ROWS // 32))
    try:
        return counts.total()
    finally:
        counts.close()


def memory_of_counts(supervisor: int) -> int:
    """Return how many bytes of memory the counts take."""
    descriptor = _open(supervisor)
    try:
        return 512 * os.fstat(descriptor).st_blocks
    finally:
        os.close(descriptor)


def _open(supervisor: int) -> int:
    folder = f"/proc/{supervisor}/fd"
    for name in os.listdir(folder):
        if os.readlink(f"{folder}/{name}").startswith("/memfd:clients"):
            return os.open(f"{folder}/{name}", os.O_RDWR | os.O_CLOEXEC)
    raise FileNotFoundError("the host counts no clients")
