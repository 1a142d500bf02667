"""The counts of clients of a running host, read from outside."""

from __future__ import annotations

import os

from host.ipc.client_counts import MAX_ROWS, ClientCounts
from support.processes import links_to


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
    for link in links_to("/memfd:clients", supervisor):
        return os.open(link, os.O_RDWR | os.O_CLOEXEC)
    raise FileNotFoundError("the host counts no clients")
