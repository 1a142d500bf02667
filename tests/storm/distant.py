"""Stops of hosts whose clients are far away: nobody who was let in may notice."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from storm.hosts import POLITE
from storm.load import Result
from storm.rows import SkippedError, Trial, row

RELAY = Path(__file__).parent / "relay.py"
DRAIN_SECONDS = 8.0
ADDRESSES = {4: "tcp://10.9.0.2:0", 6: "tcp://[fd09::2]:0"}


@dataclass(frozen=True, slots=True)
class Case:
    """One stop.

    Attributes:
        rtt_ms: the round trip.
        family: 4 or 6.
        cookies: whether the kernel always uses SYN cookies.
        ttl: the time to live that clients' packets begin with; 0 is the usual one.
        filtered: whether the host may use a filter of SYNs.
        reload: whether a reload gives up the listener; else the host stops.
    """

    rtt_ms: float
    family: int
    cookies: bool = False
    ttl: int = 0
    filtered: bool = True
    reload: bool = False


SOME = (
    Case(100, 4),
    Case(100, 6, cookies=True, ttl=255),
    Case(100, 4, filtered=False),
    Case(100, 4, filtered=False, reload=True),
)


def every_case() -> list[Case]:
    """Return each round trip with each family and what may be special about it, three times."""
    cases = []
    for rtt_ms in (0, 20, 100, 300):
        for family in (4, 6):
            cases += [Case(rtt_ms, family), Case(rtt_ms, family, cookies=True)]
            cases += [Case(rtt_ms, family, ttl=255), Case(rtt_ms, family, filtered=False)]
            cases += [Case(rtt_ms, family, reload=True)]
            cases += [Case(rtt_ms, family, filtered=False, reload=True)]
    return 3 * cases


@row(
    34,
    "graceful stop, and reload that gives up the listener, with clients at a round trip of 0, 20,"
    " 100, 300 ms, over IPv4 and IPv6; SYN cookies; clients with a time to live of 255; a host that"
    " may not use the SYN filter",
    "0 resets, 0 empty answers, 0 time-outs; never later than deadline + 0.5 s",
)
def distant_stops(trial: Trial) -> str:
    counts: Counter[str] = Counter()
    served, longest = 0, 0.0
    cases = []
    for case in trial.rounds(SOME, tuple(every_case())):
        cases.append(case)
        with distance(case) as (server, clients):
            here, seconds = _end_once(trial, case, server, clients)
        trial.must(not here.failed, f"{case}: {here.causes()}")
        counts.update(here.counts)
        served += here.served
        longest = max(longest, seconds)
    trial.in_time(longest - DRAIN_SECONDS, 0.5, "a stop was later than the deadline by")
    farthest = max(case.rtt_ms for case in cases)
    return (
        f"{len(cases)} stops and reloads, round trips up to {farthest:g} ms, {served:,} served:"
        f" {sum(counts.values())} failed; longest stop {longest:.2f} s of {DRAIN_SECONDS:g}"
    )


def _end_once(
    trial: Trial, case: Case, server: tuple[str, ...], clients: tuple[str, ...]
) -> tuple[Result, float]:
    """Stop listening under load; return what clients met with, and how long a stop took."""
    file, elsewhere = trial.folder / "host.toml", "tcp://127.0.0.1:0"
    file.write_text(f'listen = ["{ADDRESSES[case.family]}", "{elsewhere}"]\n')
    host = trial.start(
        POLITE,
        listen=(),
        flags=("--config", str(file)),
        settings={"lifecycle.drain_timeout_seconds": DRAIN_SECONDS},
        workers=2,
        wrapper=server,
        unprivileged=not case.filtered,
    )
    load = trial.load(
        host.addresses[0], loops=100, sessions=0, end_when_refused=True, wrapper=clients
    )
    load.under_way()
    time.sleep(trial.random.uniform(0.3, 0.6))
    if case.reload:
        file.write_text(f'listen = ["{elsewhere}"]\n')
        host.signal(signal.SIGHUP)
        host.wait_for("generation_ready")
        load.end(drain=15.0)
    began = time.monotonic()
    host.signal(signal.SIGTERM)
    code = host.wait(DRAIN_SECONDS + 10.0)
    seconds = time.monotonic() - began
    trial.must(code == 0, f"{case}: exit code {code}")
    result = load.end(drain=15.0)  # the same again, if they have ended
    trial.broken += host.finish()
    return result, seconds


@contextmanager
def distance(case: Case) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Make two namespaces; yield the commands that run a command in the server's, the clients'.

    Raises:
        SkippedError: they cannot be made here.
    """
    enter = shutil.which("nsenter")
    if enter is None:
        raise SkippedError("nsenter is not installed")
    plan = {"delay_ms": case.rtt_ms / 2, "cookies": case.cookies, "ttl": case.ttl}
    command = [sys.executable, "-I", "-S", str(RELAY), json.dumps(plan)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as relay:
        assert relay.stdout is not None
        assert relay.stderr is not None
        try:
            line = relay.stdout.readline()
            if not line:
                cause = relay.stderr.read().decode(errors="replace").strip().splitlines()
                raise SkippedError(f"no network namespaces here: {cause[-1] if cause else '?'}")
            paths = json.loads(line)
            server, clients = (
                (enter, f"--net={paths[name]}", "--") for name in ("server", "clients")
            )
            yield server, clients
        finally:
            relay.kill()
