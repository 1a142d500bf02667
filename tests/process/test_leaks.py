"""After many cycles everything is where it was: descriptors, children, threads, memory."""

from __future__ import annotations

import os
import signal

import pytest

from support.hosting import Host, Load, Start, eventually
from support.processes import children, descriptors, resident_bytes, threads

pytestmark = pytest.mark.process

CYCLES = 50
GROWTH_BYTES = 2 << 20
"""What memory may grow by: arenas that the allocator has not given back (1 MiB each in Python
3.10 and later) and pages that are copied on first write. A leak of one connection object (about
1 KiB with its socket) in each of 50 × 100 connections would be 5 MiB."""


def inventory(host: Host) -> dict[str, object]:
    """Return what must not change: the pids do, so the slots are named."""
    found: dict[str, object] = {}
    everyone = {"supervisor": host.pid} | {str(s): pid for s, pid in host.workers().items()}
    for name, pid in everyone.items():
        kinds = [text.partition(":")[0] for text in descriptors(pid)]
        found[f"descriptors of {name}"] = sorted(kinds)
        found[f"threads of {name}"] = threads(pid)
    found["children"] = len(children(host.pid))
    return found


def memory(host: Host) -> dict[str, int]:
    everyone = {"supervisor": host.pid} | {str(s): pid for s, pid in host.workers().items()}
    return {name: resident_bytes(pid) for name, pid in everyone.items()}


def settled(host: Host) -> None:
    eventually(lambda: sum(host.board.active) == 0, "all connections have ended")


@pytest.mark.timing
@pytest.mark.parametrize("listen", [("tcp4",), ("unix",)])
def test_connections_leave_nothing_behind(
    start: Start, load: Load, listen: tuple[str, ...]
) -> None:
    host = start(listen=listen, workers=2)
    before: dict[str, object] = {}
    at_first: dict[str, int] = {}
    for cycle in range(CYCLES + 5):
        result = load.burst(host.address, 100)
        assert result["failures"] == {}
        load.close(reset=cycle % 5 == 4)
        settled(host)
        if cycle == 4:  # once everything has been used, it should stay as it is
            before, at_first = inventory(host), memory(host)
    assert inventory(host) == before
    growth = {name: size - at_first[name] for name, size in memory(host).items()}
    print(growth)
    assert max(growth.values()) <= GROWTH_BYTES


@pytest.mark.timing
def test_replaced_workers_leave_nothing_behind(start: Start, load: Load) -> None:
    host = start(listen=("tcp4", "unix"), workers=2)
    before: dict[str, object] = {}
    at_first = 0
    for cycle in range(CYCLES + 5):
        slot = cycle % 2
        mark = host.mark()
        os.kill(host.workers()[slot], signal.SIGKILL)
        host.wait_for("worker_ready", slot=slot, since=mark)
        if cycle % 10 == 4:
            result = load.burst(host.addresses[cycle % 2], 20)
            assert result["failures"] == {}
            load.close()
            settled(host)
        if cycle == 4:
            before, at_first = inventory(host), resident_bytes(host.pid)
    assert inventory(host) == before
    growth = resident_bytes(host.pid) - at_first
    print(f"the supervisor has grown by {growth} bytes")
    assert growth <= GROWTH_BYTES


def test_a_worker_inherits_nothing_of_its_siblings(start: Start) -> None:
    host = start(workers=4)
    kinds = {
        slot: sorted(text.partition(":")[0] for text in descriptors(pid))
        for slot, pid in host.workers().items()
    }
    assert kinds[1] == kinds[0]
    assert kinds[3] == kinds[0]
    inodes = [
        {text for text in descriptors(pid) if text.startswith("socket:")}
        for pid in host.workers().values()
    ]
    shared = inodes[0] & inodes[1] & inodes[2] & inodes[3]
    assert len(shared) == 1, "the listener, and nothing else"
    for one in range(4):
        for other in range(one):
            assert inodes[one] & inodes[other] == shared
