"""Graceful stops under load: nobody who was let in may notice."""

from __future__ import annotations

import signal
import time
from collections import Counter

from storm.hosts import POLITE, StormHost
from storm.load import Result
from storm.rows import Trial, row

DRAIN_SECONDS = 5.0


@row(
    20,
    "graceful stop under load, 300 stops over TCP4, TCP6 and Unix",
    "0 resets, 0 empty answers, 0 time-outs; never later than deadline + 0.5 s",
)
def stops(trial: Trial) -> str:
    counts: Counter[str] = Counter()
    served = farewells = 0
    longest, rounds = 0.0, 0
    for turn in trial.rounds(range(2), range(100)):
        rounds += 1
        for family in ("tcp4", "tcp6", "unix"):
            host = trial.start(
                POLITE,
                listen=(family,),
                settings={"lifecycle.drain_timeout_seconds": DRAIN_SECONDS},
                workers=1 + (turn + len(family)) % 4,
            )
            result, seconds = stop_once(trial, host)
            counts.update(result.counts)
            served += result.served
            farewells += result.farewells
            longest = max(longest, seconds)
            trial.broken += host.finish()
    trial.must(not counts, f"failures: {dict(counts)}")
    trial.in_time(longest - DRAIN_SECONDS, 0.5, "a stop was later than the deadline by")
    return (
        f"{3 * rounds} stops, {served:,} served, {farewells:,} sessions sent away:"
        f" {sum(counts.values())} failed; longest stop {longest:.2f} s of {DRAIN_SECONDS:g}"
    )


def stop_once(trial: Trial, host: StormHost) -> tuple[Result, float]:
    """Stop a host under load; return what clients met with, and how long it took."""
    load = trial.load(host.address, sessions=20, every=0.02, end_when_refused=True)
    load.under_way()
    time.sleep(trial.random.uniform(0.05, 0.3))
    began = time.monotonic()
    host.signal(signal.SIGTERM)
    code = host.wait(DRAIN_SECONDS + 10.0)
    seconds = time.monotonic() - began
    trial.must(code == 0, f"exit code {code}")
    trial.must(not host.events("connections_cut"), "connections were cut")
    return load.end(drain=15.0), seconds
