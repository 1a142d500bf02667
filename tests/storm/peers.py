"""Clients that are rude, slow, or talk nonsense."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable

from storm.hosts import StormHost, soon
from storm.load import Waits, pass_time
from storm.rows import Trial, row
from support.hosting import SUPPORT
from support.processes import cpu_seconds, descriptors, resident_bytes
from support.resting import all_have_left

BROADCASTING = str(SUPPORT / "broadcasting.py")
OTHERS = {"loops": 4, "sessions": 50, "pause": 0.02, "plain": True}
"""The others whose waits are compared: few enough that they do not wait for each other."""


def compared(trial: Trial, before: Waits, during: Waits, limit: float) -> str:
    """Hold the others' p99 during a fault against that before it."""
    ratio = during.p99 / max(before.p99, 1e-4)
    trial.fast(ratio, limit, "p99 of the others, times what it was")
    return f"p99 of the others {before.p99 * 1000:.1f} → {during.p99 * 1000:.1f} ms"


def unhandled(trial: Trial, host: StormHost) -> None:
    """No exception came out of a hook or of the host, and nobody ended."""
    for name in ("hook_failed", "host_bug", "worker_died"):
        found = host.events(name)
        trial.must(not found, f"{len(found)} {name}: {found[:1]}")
    trial.must(not host.other_output, f"output that is no event: {host.other_output[:2]}")


@row(
    13,
    "10,000 clients that reset at a random byte",
    "0 unhandled exceptions, descriptors flat",
)
def resets(trial: Trial) -> str:
    host = trial.start("line", listen=("tcp4", "unix"))
    count = trial.pick(1000, 10_000)
    warm = [trial.crowd("resets", address, count=50, seed=0) for address in host.addresses]
    for crowd in warm:
        crowd.answer()
    all_have_left(host)
    before = {pid: len(descriptors(pid)) for pid in (host.pid, *host.workers.values())}
    failures: Counter[str] = Counter()
    crowds = [
        trial.crowd("resets", address, count=count // 2, seed=number)
        for number, address in enumerate(host.addresses)
    ]
    for crowd in crowds:
        failures.update(crowd.answer(600.0))
    all_have_left(host)
    after = {pid: len(descriptors(pid)) for pid in before}
    trial.must(before == after, f"descriptors {before} → {after}")
    refused = sum(failures[name] for name in ("ECONNREFUSED", "ETIMEDOUT"))
    trial.must(not refused, f"not let in: {dict(failures)}")
    unhandled(trial, host)
    held = sorted(set(after.values()))
    return f"{count:,} resets (TCP, Unix): 0 unhandled exceptions, descriptors {held} as before"


@row(
    14,
    "half-close, 1,000 rounds over TCP and Unix",
    "every pending byte delivered; no spin",
)
def half_close(trial: Trial) -> str:
    host = trial.start("echo", listen=("tcp4", "tcp6", "unix"))
    clients = trial.bursts()
    rounds = trial.pick(10, 1000)
    whole = 0
    for address in host.addresses:
        result = clients.half_close(address, rounds, 1_000_000 if rounds < 100 else 200_000)
        whole += result["whole"]
        trial.must(result["whole"] == rounds, f"{address.partition(':')[0]}: {result['failures']}")
    # A peer that has finished sending and does not read what is left for it.
    crowd = trial.crowd("unread", host.addresses[0], size=3_000_000, seconds=3.0)
    crowd.answer()
    pids = (host.pid, *host.workers.values())
    used = sum(map(cpu_seconds, pids))
    time.sleep(2.0)
    used = sum(map(cpu_seconds, pids)) - used
    trial.must(used <= 0.1, f"{used:.2f} s of CPU in 2 s while nobody reads")
    unhandled(trial, host)
    return (
        f"{whole:,} of {3 * rounds:,} whole; {used * 1000:.0f} ms of CPU in 2 s while a peer does"
        " not read"
    )


@row(
    15,
    "500 slow readers of a 1 MB/s broadcast, 60 s",
    "memory at most 1.1 × high water × readers; others' p99 < 2 ×",
)
def slow_readers(trial: Trial) -> str:
    host = trial.start(BROADCASTING, flags=("--set", "connection.high_water_bytes=262144"))
    load = trial.load(host.address, **OTHERS)
    load.under_way()
    before = pass_time(trial.pick(2.0, 10.0))
    resident = memory(host)
    readers, seconds = trial.pick(100, 500), trial.pick(5.0, 60.0)
    crowd = trial.crowd(
        "idle",
        host.address,
        count=readers,
        seconds=seconds,
        receive_bytes=4096,
        say_first="listen\n",
    )
    crowd.answer()
    during = pass_time(seconds - 1.0)
    growth = memory(host) - resident
    one, other = load.waits("loops", [before, during])
    crowd.answer(60.0)
    result = load.end()
    # In the short form the start-up of five processes counts for as much as the readers.
    limit = 1.1 * 262_144 * readers + trial.pick(16 << 20, 0)
    trial.must(growth <= limit, f"{growth / 2**20:.0f} MiB more, at most {limit / 2**20:.0f}")
    trial.must(not result.failed, f"others failed: {result.causes()}")
    unhandled(trial, host)
    return (
        f"{readers} readers: {growth / 2**20:.0f} MiB more in {seconds:.0f} s (limit"
        f" {limit / 2**20:.0f}); {compared(trial, one, other, 2.0)}"
    )


def memory(host: StormHost) -> int:
    """Return the resident memory of all processes of a host."""
    return sum(map(resident_bytes, (host.pid, *host.workers.values())))


@row(
    16,
    "5,000 clients with a byte every 5 s",
    "others 100 % served, p99 < 2 ×; slow ones closed within idle time-out + 1 s",
)
def tricklers(trial: Trial) -> str:
    deadline = trial.pick(3.0, 4.0)
    host = trial.start("echo", flags=("--set", f"limits.idle_timeout_seconds={deadline}"))
    load = trial.load(host.address, **OTHERS)
    load.under_way()
    before = pass_time(trial.pick(2.0, 10.0))
    count = trial.pick(500, 5000)
    seconds = trial.pick(6.0, 30.0)
    began = time.monotonic()
    crowd = trial.crowd("trickle", host.address, count=count, every=5.0, seconds=seconds)
    crowd.answer(60.0)
    result = crowd.answer(seconds + 30.0)
    during = (began, time.monotonic())
    one, other = load.waits("loops", [before, during])
    others = load.end()
    trial.must(result["closed"] == count, f"{result['left']} of {count} were not closed")
    oldest = max(result["ages"], default=0.0)
    trial.fast(oldest - deadline, 1.0, "closed later than the time-out by")
    early = min(result["ages"], default=0.0)
    trial.must(early >= deadline, f"closed too early, after {early:.2f} s")
    trial.must(not others.failed, f"others failed: {others.causes()}")
    unhandled(trial, host)
    return (
        f"{count:,} closed after {early:.1f} to {oldest:.1f} s (idle time-out {deadline:g}); others"
        f" {others.served:,} served, {others.failed} failed; {compared(trial, one, other, 2.0)}"
    )


@row(
    18,
    "bad UTF-8, NUL, CR/LF mixes, HTTP verbs, TLS hello, escape sequences, random bytes",
    "0 unhandled exceptions; a client's bytes never forge a log line or reach a terminal raw",
)
def nonsense(trial: Trial) -> str:
    sent = lines = 0
    rounds = trial.pick(50, 2000)
    checks: tuple[tuple[str, Callable[[str], bool]], ...] = (("json", is_json), ("text", is_text))
    for form, right in checks:
        for plugin in ("line", "chat", "echo"):
            log = trial.folder / f"{plugin}.{form}"
            log.touch()
            path = trial.folder / f"{plugin}-{form}.sock"
            flags = ("--log-format", form, "--set", "log.access=true")
            host = trial.start(
                plugin, listen=(f"unix:{path}",), workers=2, flags=flags, log=log, ready=False
            )
            trial.must(soon(path.exists, 10.0), "it does not start")
            result = trial.crowd(
                "garbage", f"unix:{path}", seed=trial.random.randrange(1000), rounds=rounds
            ).answer(300.0)
            trial.must(not result["failures"], f"{plugin}: {result['failures']}")
            sent += result["sent"]
            trial.broken += host.finish()
            text = log.read_bytes().decode("utf-8", "surrogateescape")
            for name in ("hook_failed", "host_bug", "worker_died", "hook on_", "Traceback"):
                trial.must(name not in text, f"{plugin}: {name} in the log")
            said = text.split("\n")[:-1]
            lines += len(said)
            wrong = [line for line in said if not right(line)]
            trial.must(not wrong, f"{plugin}, {form}: {wrong[:2]!r}")
    return f"{sent:,} pieces to line, chat and echo: 0 exceptions; {lines:,} log lines, none forged"


def is_json(line: str) -> bool:
    """Tell whether a line is an event of the host."""
    try:
        return line.isascii() and line.isprintable() and "event" in json.loads(line)
    except ValueError:
        return False


def is_text(line: str) -> bool:
    """Tell whether a line is one for people, with nothing that a terminal obeys."""
    begins = line.startswith("    ") or (line[4:5] == "-" and line[23:25] == "Z ")
    return begins and line.isprintable()
