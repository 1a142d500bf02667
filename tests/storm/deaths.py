"""Workers that are killed, that kill themselves, and a supervisor that is killed."""

from __future__ import annotations

import errno
import os
import signal
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from storm.hosts import POLITE, StormHost, moment, soon
from storm.load import Failure, Result
from storm.rows import Trial, row
from support.address import connect
from support.hosting import FAULTY, freeze
from support.processes import Watch, children, cpu_seconds, of_session
from support.session import poison
from support.targets import parse


@dataclass(frozen=True, slots=True)
class Death:
    """A worker that was killed: when on the wall clock, and how many connections were its own."""

    pid: int
    slot: int
    at: float
    owned: int


def kill_one(trial: Trial, host: StormHost) -> Death | None:
    """Kill a ready worker; None if none is ready.

    It is stopped for the moment that it takes to count its connections.
    """
    alive = {child.pid for child in children(host.pid) if child.state != "Z"}
    ready = [(slot, pid) for slot, pid in host.workers.items() if pid in alive]
    if not ready:
        return None
    slot, pid = trial.random.choice(ready)
    try:
        freeze(pid)
    except (AssertionError, ProcessLookupError):
        return None
    owned = host.board.active[slot]  # one that is just being accepted is counted already
    at = time.time()  # before: the next one may be ready before this process goes on
    os.kill(pid, signal.SIGKILL)
    return Death(pid, slot, at, owned)


def back_after(host: StormHost, death: Death, seconds: float = 20.0) -> float:
    """Return after how many seconds a worker was ready in the slot of one that was killed."""

    def came() -> bool:
        return any(moment(event) >= death.at - 0.002 for event in of_slot())

    def of_slot() -> list[dict[str, object]]:
        ready = host.events("worker_ready", slot=death.slot)
        return [event for event in ready if event["pid"] != death.pid]

    if not soon(came, seconds):
        return seconds
    return min(moment(event) - death.at for event in of_slot() if moment(event) >= death.at - 0.002)


def unowned(failures: tuple[Failure, ...], deaths: list[Death]) -> list[Failure]:
    """Return failures of sessions that belonged to no worker that was killed."""
    killed = {death.pid for death in deaths}
    return [each for each in failures if each.owner is not None and each.owner not in killed]


def judge_kills(trial: Trial, result: Result, deaths: list[Death]) -> int:
    """Hold failures against what the killed workers had; return how much that was."""
    owned = sum(death.owned for death in deaths)
    foreign = unowned(result.failures, deaths)
    never = {cause: count for cause, count in result.counts.items() if cause in NEVER}
    trial.must(result.failed <= owned, f"{result.failed} failures, and only {owned} were owned")
    trial.must(not foreign, f"failures of others: {foreign[:3]}")
    trial.must(not never, f"failures that a killed worker does not explain: {never}")
    return owned


NEVER = ("refused", "timeout", "wrong")
"""What no death of a worker explains."""


@row(
    3,
    "1,000 random SIGKILLs of workers, 10 a second, under load",
    "failures at most those owned; back within 100 ms (p99)",
)
def kills(trial: Trial) -> str:
    host = trial.start(POLITE)
    load = trial.load(host.address)
    load.under_way()
    deaths: list[Death] = []
    backs: list[float] = []
    due = time.monotonic()
    while len(deaths) < trial.pick(40, 1000) and host.alive:
        due += 0.1
        time.sleep(max(0.0, due - time.monotonic()))
        if (death := kill_one(trial, host)) is not None:
            deaths.append(death)
            if len(deaths) > 1:
                backs.append(back_after(host, deaths[-2]))
    backs.append(back_after(host, deaths[-1]))
    trial.must(host.no_zombies(), "zombies are left")
    result = load.end(drain=1.0)
    owned = judge_kills(trial, result, deaths)
    backs.sort()
    p99 = backs[len(backs) * 99 // 100]
    trial.fast(p99, 0.100, "back after (p99)")
    return (
        f"{len(deaths):,} kills, {result.served:,} served: {result.failed:,} failed of {owned:,}"
        f" owned ({result.causes()}); back after {backs[len(backs) // 2] * 1000:.0f} ms (median),"
        f" {p99 * 1000:.0f} ms (p99)"
    )


@row(
    6,
    "a poison request: one client whose line ends a worker, twice a second, 1,000 times",
    "others (not on that worker) at least 99.9 % served; at most 8 spawns a slot in 10 s",
)
def poisoned(trial: Trial) -> str:
    host = trial.start(POLITE, flags=("--log-level", "debug"))
    load = trial.load(host.address, sessions=50)
    load.under_way()
    began = due = time.monotonic()
    wanted, limit = trial.pick(20, 1000), began + trial.seconds(12.0, 1200.0)
    deaths = 0
    while deaths < wanted and time.monotonic() < limit and host.alive:
        due = max(due + 0.5, time.monotonic())
        mark = host.mark()
        with suppress(OSError), connect(host.address, 5.0) as client:
            client.sendall(b"die\n")
            client.recv(1)
        deaths += soon(lambda since=mark: host.events("worker_died", since=since), 2.0)
        time.sleep(max(0.0, due - time.monotonic()))
    seconds = time.monotonic() - began
    trial.reduced = "" if deaths >= wanted else trial.reduced
    spawns = Counter(event["slot"] for event in host.events("worker_started"))
    result = load.end(drain=1.0)
    owned = owned_by(host, result)
    others = result.failed - owned
    share = result.served / max(1, result.served + others)
    rate = max(spawns.values()) / max(seconds, 10.0) * 10
    trial.must(share >= 0.999, f"only {share:.3%} of the others were served: {result.causes()}")
    trial.must(rate <= 8, f"{rate:.1f} spawns of a slot in 10 s")
    trial.must(not result.counts["timeout"], f"{result.counts['timeout']} waited for 10 s")
    return (
        f"{deaths:,} deaths in {seconds:.0f} s: {share:.3%} of {result.served + others:,} others"
        f" served, {owned:,} lost with their workers; longest wait {result.longest:.1f} s,"
        f" {rate:.1f} spawns a slot in 10 s"
    )


def owned_by(host: StormHost, result: Result) -> int:
    """Return how many failures were of workers that died.

    A client knows its worker once it has had an answer. One that fails before that was accepted by
    a worker that died at about that moment: what waits in the backlog is nobody's yet, and stays.
    """
    deaths = host.events("worker_died")
    killed = {event["pid"] for event in deaths}
    count = sum(failure.owner in killed for failure in result.failures)
    to_monotonic = time.monotonic() - time.time()
    moments = [moment(event) + to_monotonic for event in deaths]
    for failure in result.failures:
        if failure.owner is None and failure.cause not in NEVER:
            count += any(abs(each - failure.at) < 0.1 for each in moments)
    return count


DIES_YOUNG = """
import os
from host import hookimpl
@hookimpl
def on_readable(connection): connection.read()
@hookimpl
def on_worker_start(worker): worker.call_later(0.15, lambda: os._exit(3))
"""
NEVER_STARTS = """
from host import hookimpl
@hookimpl
def on_readable(connection): connection.read()
@hookimpl
def on_worker_start(worker): raise RuntimeError("not today")
"""


@row(
    7,
    "crash loop at start: an import error; a start that fails; death after 0.15 s",
    "at most 8 spawns a slot in 10 s, supervisor below 5 ms CPU a spawn, exit code ≠ 0 if nothing"
    " came up",
)
def crash_loop(trial: Trial) -> str:
    said = []
    for name, source in (("import", "import nothing_of_this_name\n"), ("start", NEVER_STARTS)):
        path = trial.folder / f"{name}_fails.py"
        path.write_text(source)
        host = trial.start(str(path), ready=False)
        began = time.monotonic()
        code = host.wait(20.0)
        said.append(f"{name} error: exit code {code} after {time.monotonic() - began:.1f} s")
        trial.must(code in (4, 6), f"exit code {code} for an {name} error")
        host.codes, host.other_output[:] = {4, 6}, []
    path = trial.folder / "dies_young.py"
    path.write_text(DIES_YOUNG)
    host = trial.start(str(path), flags=("--log-level", "debug"))
    host.codes = {0, 9}  # a worker that serves when the host stops may die before it has drained
    span, cpu = trial.pick(5.0, 10.0), cpu_seconds(host.pid)
    time.sleep(span)
    used = cpu_seconds(host.pid) - cpu
    spawns = Counter(event["slot"] for event in host.events("worker_started"))
    trial.must(host.alive, "the supervisor has ended")
    trial.must(max(spawns.values()) <= 8, f"{max(spawns.values())} spawns of a slot")
    # Not a share of the time, which the number of workers would decide: fork(2) of a process of
    # this size takes 2 ms, and four slots have 28 spawns in 10 s.
    each = used / spawns.total()
    trial.fast(each, 0.005, "CPU of the supervisor, for each spawn")
    return (
        f"{'; '.join(said)}; dies after 0.15 s: {max(spawns.values())} spawns a slot in"
        f" {span:.0f} s, supervisor {each * 1000:.1f} ms CPU a spawn ({used / span:.1%})"
    )


@contextmanager
def watching(host: StormHost) -> Iterator[list[Watch]]:
    """Watch the workers of a host."""
    watches = [Watch(child.pid) for child in children(host.pid)]
    try:
        yield watches
    finally:
        for watch in watches:
            watch.close()


@row(
    8,
    "supervisor SIGKILLed, 200 rounds, half with a hung worker",
    "every descendant gone within 1 s, port free",
)
def orphans(trial: Trial) -> str:
    longest, rounds = 0.0, 0
    for turn in trial.rounds(range(4), range(200)):
        rounds += 1
        settings = {"options.faulty.hook": "on_readable", "options.faulty.how": "hang"}
        host = trial.start(FAULTY, workers=3, settings=settings)
        host.codes = {-signal.SIGKILL}
        family, target = parse(host.address)
        with connect(host.address) as client:
            if turn % 2:
                poison(client)
            with watching(host) as watches:
                host.signal(signal.SIGKILL)
                began = time.monotonic()
                gone = all(
                    watch.ended(max(0.0, began + 5.0 - time.monotonic())) for watch in watches
                )
                longest = max(longest, time.monotonic() - began)
        trial.must(gone, f"round {turn}: a worker lived on")
        host.wait()
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            trial.must(probe.connect_ex(target) == errno.ECONNREFUSED, "somebody still listens")
        trial.must(not of_session(host.pid), f"round {turn}: something is left")
        trial.broken += host.finish()
    trial.fast(longest, 1.0, "the last one was gone after")
    return f"{rounds} rounds: all gone after {longest * 1000:.0f} ms at the latest"


@row(
    9,
    "supervisor stopped (SIGSTOP) for 10 s",
    "open sessions unharmed; new connections served within 100 ms after",
)
def supervisor_stopped(trial: Trial) -> str:
    host = trial.start(POLITE)
    load = trial.load(host.address, loops=0, every=0.1)
    load.under_way()
    clients = trial.bursts()
    freeze(host.pid)
    began = time.monotonic()
    clients.open(host.address, 100)
    time.sleep(max(0.0, began + trial.pick(2.0, 10.0) - time.monotonic()))
    clients.begin("exchange", group="", patience=10.0, leave=False)
    host.signal(signal.SIGCONT)
    result = clients.answer()
    stopped = time.monotonic() - began
    (during,) = load.waits("sessions", [(began, time.monotonic())])
    sessions = load.end()
    failed = sum(result["failures"].values())
    trial.must(not failed, f"{failed} of 100 new connections failed")
    trial.must(not sessions.failed, f"sessions failed: {sessions.causes()}")
    trial.must(during.count >= 200 * stopped, f"only {during.count} answers meanwhile")
    trial.must(not host.events("worker_died"), "a worker died")
    trial.fast(max(result["waits"]), 0.100, "last answer of 100 new connections after SIGCONT")
    return (
        f"{stopped:.0f} s: {during.count:,} answers to 200 sessions, {sessions.failed} failed; last"
        f" of 100 new ones {max(result['waits']) * 1000:.0f} ms after SIGCONT"
    )
