"""Many connections at once, and workers that are stopped meanwhile."""

from __future__ import annotations

import statistics

from storm.rows import Trial, row
from support.hosting import WHOAMI, freeze, thaw

SIZES = (1, 2, 5, 10, 50, 200, 1000, 4000)


@row(
    1,
    "bursts of 1 to 4,000 connects, 1 to 8 workers",
    "0 stranded; last answer of 1,000 within 150 ms",
)
def bursts(trial: Trial) -> str:
    stranded = failed = opened = 0
    of_thousand: list[float] = []
    for workers in trial.pick((2, 4), (1, 2, 3, 4, 8)):
        host = trial.start(WHOAMI, workers=workers)
        clients = trial.bursts()
        for size in SIZES * trial.pick(1, 5):
            result = clients.burst(host.address, size)
            opened += size
            stranded += result["failures"].pop("timeout", 0)
            failed += sum(result["failures"].values())
            if size == 1000:
                of_thousand.append(max(result["waits"]))
            clients.close()
        trial.broken += host.finish()
    trial.must(not stranded, f"{stranded} stranded")
    trial.must(not failed, f"{failed} failed")
    typical = statistics.median(of_thousand)
    trial.fast(typical, 0.150, "last answer of 1,000, median of bursts")
    return (
        f"{stranded} of {opened:,} stranded, {failed} failed; last answer of 1,000 after"
        f" {typical * 1000:.0f} ms (median), {max(of_thousand) * 1000:.0f} ms (worst)"
    )


@row(
    2,
    "bursts of 20 with all but one of 4 workers stopped",
    "0 stranded; median delay at most 50 ms",
)
def frozen(trial: Trial) -> str:
    waits: list[float] = []
    stranded = 0
    rounds = trial.pick(5, 50)
    for turn in range(rounds):
        if turn % 10 == 0:
            host = trial.start(WHOAMI)
            clients = trial.bursts()
        stopped = [pid for slot, pid in host.workers.items() if slot != turn % 4]
        for pid in stopped:
            freeze(pid)
        result = clients.burst(host.address, 20)
        stranded += sum(result["failures"].values())
        waits += result["waits"]
        clients.close()
        mark = host.mark()
        for pid in stopped:
            thaw(pid)
        for pid in stopped:
            if host.events("worker_suspended", pid=pid):
                resumed = len(host.events("worker_suspended", pid=pid))
                host.wait_for("worker_caught_up", pid=pid, count=resumed)
        trial.must(not host.events("worker_died", since=mark), "a stopped worker died")
    median = statistics.median(waits)
    trial.must(not stranded, f"{stranded} stranded")
    trial.fast(median, 0.050, "median delay")
    return (
        f"{stranded} of {20 * rounds:,} stranded; delay {median * 1000:.0f} ms (median),"
        f" {max(waits) * 1000:.0f} ms (longest)"
    )
