"""When memory runs out the kernel takes a worker, and the supervisor goes on."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from support.hosting import Start

pytestmark = pytest.mark.process


def adjustment(pid: int) -> int:
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())


def score(pid: int) -> int:
    return int(Path(f"/proc/{pid}/oom_score").read_text())


def test_workers_are_ended_before_their_supervisor(start: Start) -> None:
    host = start(workers=2)
    inherited = adjustment(host.pid)
    for generation in (1, 2, None):  # each generation is forked by another process image
        workers = host.workers.values()
        expected = [min(inherited + 300, 1000)] * 2
        assert [adjustment(pid) for pid in workers] == expected
        assert inherited == 1000 or min(score(pid) for pid in workers) > score(host.pid)
        if generation is not None:
            host.signal(signal.SIGHUP)
            host.wait_for("generation_ready", generation=generation)
    assert adjustment(host.pid) == inherited
    assert host.stop() == 0
